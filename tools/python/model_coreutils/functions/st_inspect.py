# SPDX-License-Identifier: Apache-2.0
# Made by tools/python/make-functions from what st-inspect prints with --dump-options; don't edit.
from __future__ import annotations

from typing import Literal, Optional, Union

from .._command import Command, StrPath, Strings
from .._report import Report

ST_INSPECT = Command(
    "st-inspect",
    "st_inspect",
    operands="paths",
    flags="tensors header stats hash diff combine ignore_dtype dry_run null quiet verbose",
    maybe="names tree metadata check dequantize",
    values="print base sort fail_on part rtol atol threads",
    lists="filter map",
    files="base",
    views="names header metadata tree",
    several="diff combine",
)


def st_inspect(
    *paths: StrPath,
    # Views
    tensors: bool = False,
    names: Union[bool, Literal["list", "auto", "as-is"]] = False,
    tree: Union[bool, int] = False,
    header: bool = False,
    metadata: Union[bool, str] = False,
    print: Optional[str] = None,
    stats: bool = False,
    hash: bool = False,
    check: Union[bool, Literal["loads", "spec", "hub"]] = False,
    base: Optional[StrPath] = None,
    diff: bool = False,
    # Selection
    filter: Strings = (),
    sort: Optional[Literal["name", "size", "offset", "dtype"]] = None,
    fail_on: Optional[str] = None,
    part: Optional[str] = None,
    combine: bool = False,
    dequantize: Union[bool, str] = False,
    # With --diff
    map: Strings = (),
    rtol: Optional[float] = None,
    atol: Optional[float] = None,
    ignore_dtype: bool = False,
    # Common
    dry_run: bool = False,
    null: bool = False,
    threads: Optional[int] = None,
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Report:
    """Show what weights, a model folder or a checkpoint hold, and whether it is sound.

    Takes one path, two with diff, several with combine. The document has what the views show; names, header,
    metadata and tree leave it empty and print into its `text` instead.

    Views:
      tensors       TSV: name dtype shape parameters bytes file offset
      names         names, one per line (list); with diff: auto or as-is
      tree          a tree of dotted names, with sums
      header        the header's exact bytes
      metadata      all metadata, or one value verbatim
      print         values of a tensor or a slice
      stats         min, max, mean, std, zeros, NaN, Inf
      hash          SHA-256 of files, tensors and content
      check         check against loads, spec (default) or hub
      base          with check: what an adapter changes in BASE
      diff          compare two inputs

    Selection:
      filter        only tensors with matching names
      sort          name, size, offset (default) or dtype
      fail_on       ok is False when stats finds any
      part          measure part I of N (stats, hash), as JSON
      combine       join parts (PATHs) into what one run prints
      dequantize    show quantised weights plain, in bf16, f16 or f32

    With --diff:
      map           rename the first input's tensors
      rtol          relative tolerance (0), as in torch.allclose
      atol          absolute tolerance (0)
      ignore_dtype  equal values in another dtype are the same

    Common:
      dry_run       print the plan and change nothing
      null          names end with NUL, unescaped
      threads       threads (default: all)
      quiet         errors only
      verbose       print more

    Example: st_inspect("out", check="hub").ok
    See st-inspect(1).
    """
    return ST_INSPECT.report(locals())
