# SPDX-License-Identifier: Apache-2.0
"""Which files of a checkpoint this node has, as far as the arguments of the training show it."""

from __future__ import annotations

import os
from typing import Any, Optional

_LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS")  # torchrun, Open MPI, MPICH and Intel


def lacks_other_ranks(args: Any) -> str:
    """Why no node can push a whole checkpoint; empty if one can. With save_on_each_node, each node keeps to itself what its own
    ranks save, so where every rank saves its share of the model, none has all of it."""
    if not args.save_on_each_node or _nodes(args) == 1:
        return ""
    sharded = _sharded(args)
    return (
        f"save_on_each_node leaves each of several nodes with only its own ranks' files of {sharded}, so no node has a whole "
        "checkpoint to push; save to a folder that all nodes share, without save_on_each_node"
        if sharded
        else ""
    )


def _nodes(args: Any) -> Optional[int]:
    """How many there are; None for more than one, without a number."""
    local = next((int(os.environ[name]) for name in _LOCAL_SIZES if os.environ.get(name, "").isdigit()), 0)
    if args.world_size <= 1:
        return 1
    return max(1, args.world_size // local) if local else None


def _sharded(args: Any) -> str:
    """What saves a share of the checkpoint from each rank, if anything does."""
    if getattr(args, "deepspeed", None) or os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        return "DeepSpeed"
    if getattr(args, "fsdp", None):
        kind = (getattr(args, "fsdp_config", None) or {}).get("state_dict_type", "FULL_STATE_DICT")
    elif os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        default = "SHARDED_STATE_DICT" if os.environ.get("FSDP_VERSION") == "2" else "FULL_STATE_DICT"
        kind = os.environ.get("FSDP_STATE_DICT_TYPE", default)
    else:
        return ""
    return "" if str(kind).upper() in ("FULL_STATE_DICT", "1") else "FSDP"
