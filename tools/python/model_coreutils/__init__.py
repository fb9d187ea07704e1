# SPDX-License-Identifier: Apache-2.0
"""The programs of modelutils as functions: look at weights, pack them, extract the adapter, write the card, publish, prune.

    import model_coreutils as mc

    mc.st_pack("run/checkpoint-500", output="out", dtype="bf16")
    mc.card_gen("out", in_place=True, base="owner/base")
    if not mc.st_inspect("out", check="hub").ok:
        ...
    mc.hub_push("out", "owner/name")

Options are keyword arguments: dashes become `_`, Python's keywords get a trailing `_`, options that can be repeated take
lists, and options with an optional value take True or the value. Operands are positional; paths may be os.PathLike.

A function returns the JSON document of its program, a Report, which is a dict; card_gen() returns the card, a str. Both
have `ok`, which is False for exit code 1: a check found something, two things differ. PartlyDone (3), MalformedInput (4)
and the other classes of ProgramError are raised for the other codes. Notes and warnings go to the logger "model_coreutils".

The programs are those that pip installed with this package; MODEL_COREUTILS_BIN names another folder. Tokens come from
HF_TOKEN or `hf auth login`, never from an argument. `python -m model_coreutils PROGRAM ...` runs one as a shell does.

PruneCallback and PushCallback are for the Trainer of transformers, which is imported when one of them is asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, List

from ._errors import (
    InputOutputError,
    Interrupted,
    MalformedInput,
    PartlyDone,
    ProgramError,
    ProgramNotFound,
    Refused,
    RemoteRefused,
    TemporaryFailure,
    UsageError,
)
from ._programs import find_program
from ._report import Report, Text
from ._version import __version__
from .functions import card_facts, card_gen, card_lint, ckpt_prune, hub_push, lora_extract, st_inspect, st_pack

if TYPE_CHECKING:
    from .callbacks import PruneCallback as PruneCallback, PushCallback as PushCallback

_CALLBACKS = ("PruneCallback", "PushCallback")  # of transformers, which is imported when one of them is asked for

__all__ = [
    "InputOutputError",
    "Interrupted",
    "MalformedInput",
    "PartlyDone",
    "ProgramError",
    "ProgramNotFound",
    "Refused",
    "RemoteRefused",
    "Report",
    "TemporaryFailure",
    "Text",
    "UsageError",
    "__version__",
    "card_facts",
    "card_gen",
    "card_lint",
    "ckpt_prune",
    "find_program",
    "hub_push",
    "lora_extract",
    "st_inspect",
    "st_pack",
]


def __getattr__(name: str) -> Any:
    if name in _CALLBACKS:
        from . import callbacks

        return getattr(callbacks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> List[str]:
    """help(), which looks at all that is named here, needs no transformers."""
    return sorted([*globals(), *(_CALLBACKS if "transformers" in sys.modules else ())])
