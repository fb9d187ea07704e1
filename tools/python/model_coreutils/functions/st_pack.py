# SPDX-License-Identifier: Apache-2.0
# Made by tools/python/make-functions from what st-pack prints with --dump-options; don't edit.
from __future__ import annotations

from typing import Literal, Optional, Union

from .._command import Command, Pairs, Paths, StrPath, Strings
from .._report import Report

ST_PACK = Command(
    "st-pack",
    "st_pack",
    operands="inputs",
    flags="weights_only force verify salvage dry_run null quiet verbose",
    maybe="dequantize",
    values=(
        "output max_shard_size from_ key base part fingerprint max_wait limit_rate connections quantize names experts "
        "names_from threads"
    ),
    lists="metadata adapter dtype keep select exclude rename",
    files="output base adapter names_from",
)


def st_pack(
    *inputs: StrPath,
    # Output
    output: StrPath,
    max_shard_size: Union[int, str, None] = None,
    metadata: Pairs = (),
    weights_only: bool = False,
    force: bool = False,
    verify: bool = False,
    from_: Optional[Literal["zero", "dcp"]] = None,
    key: Optional[str] = None,
    base: Optional[StrPath] = None,
    adapter: Paths = (),
    salvage: bool = False,
    # Beyond one machine
    part: Optional[str] = None,
    fingerprint: Optional[Literal["time", "content"]] = None,
    max_wait: Union[int, str, None] = None,
    limit_rate: Union[int, str, None] = None,
    connections: Optional[int] = None,
    # Tensors
    dtype: Pairs = (),
    dequantize: Union[bool, str] = False,
    quantize: Optional[str] = None,
    keep: Strings = (),
    select: Strings = (),
    exclude: Strings = (),
    rename: Strings = (),
    names: Optional[Literal["auto", "published", "as-is"]] = None,
    experts: Optional[Literal["split", "stack"]] = None,
    names_from: Optional[StrPath] = None,
    # Common
    dry_run: bool = False,
    null: bool = False,
    threads: Optional[int] = None,
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Report:
    """Write safetensors: pack, cast, select, rename, shard; publish a checkpoint.

    Output:
      output          a folder, a .safetensors or .npy file
      max_shard_size  start a new shard beyond SIZE (5GB); 0: never
      metadata        set a metadata key; K= removes it
      weights_only    leave out config, tokenizer and other files
      force           replace what exists
      verify          read the output again and compare it
      from_           use the ranks' files even beside whole weights
      key             where the model is in the tree of a checkpoint
      base            take config, tokenizer and lost weights from DIR
      adapter         merge this LoRA adapter
      salvage         take the tensors out of a dangerous pickle

    Beyond one machine:
      part            write part I of N; a run without it finishes
      fingerprint     how parts know the input: time (default), content
      max_wait        wait at most TIME for a failing hub (120s)
      limit_rate      receive at most SIZE a second
      connections     requests at once (default: 4 to 16)

    Tensors:
      dtype           cast to bf16, f16, f32, f64, f8_e4m3, f8_e5m2
      dequantize      make quantised weights plain, in bf16, f16 or f32
      quantize        to fp8[-dynamic|-block], mxfp4[a16] or nvfp4
      keep            quantize all but these modules
      select          only tensors with matching names
      exclude         skip tensors with matching names
      rename          rename tensors, as sed -E does
      names           auto (default), published or as-is
      experts         experts one by one, or stacked as in memory
      names_from      only the tensors that FILE names, one per line

    Common:
      dry_run         print the plan and change nothing
      null            names end with NUL, unescaped
      threads         threads (default: all)
      quiet           errors only
      verbose         print more

    Example: st_pack("checkpoint-500", output="out", dtype="bf16")
    See st-pack(1).
    """
    return ST_PACK.report(locals())
