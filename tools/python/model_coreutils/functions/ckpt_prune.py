# SPDX-License-Identifier: Apache-2.0
# Made by tools/python/make-functions from what ckpt-prune prints with --dump-options; don't edit.
from __future__ import annotations

from typing import Iterable, Literal, Optional, Union

from .._command import Command, Integers, StrPath
from .._report import Report

CKPT_PRUNE = Command(
    "ckpt-prune",
    "ckpt_prune",
    operands="run_dirs",
    flags="min max keep_epochs allow_unresumable recursive deep list need dry_run null quiet verbose",
    values=(
        "keep keep_last keep_best metric keep_every keep_within follow keep_optimizer_last max_total min_free torn "
        "torn_age trash pattern config paths threads"
    ),
    lists="keep_step pin",
    files="follow pin trash config",
    views="paths",
)


def ckpt_prune(
    *run_dirs: StrPath,
    # Keep what any of these names
    keep: Optional[int] = None,
    keep_last: Optional[int] = None,
    keep_best: Optional[int] = None,
    metric: Optional[str] = None,
    min: bool = False,
    max: bool = False,
    keep_every: Optional[int] = None,
    keep_epochs: bool = False,
    keep_within: Union[int, str, None] = None,
    keep_step: Integers = (),
    follow: Optional[StrPath] = None,
    pin: Union[int, StrPath, Iterable[Union[int, StrPath]]] = (),
    # Then
    keep_optimizer_last: Optional[int] = None,
    max_total: Union[int, str, None] = None,
    min_free: Union[int, str, None] = None,
    torn: Optional[Literal["keep", "remove", "aside"]] = None,
    torn_age: Union[int, str, None] = None,
    trash: Optional[StrPath] = None,
    allow_unresumable: bool = False,
    # Where
    recursive: bool = False,
    pattern: Optional[str] = None,
    deep: bool = False,
    config: Optional[StrPath] = None,
    # Look
    list: bool = False,
    paths: Optional[Literal["keep", "slim", "remove", "aside"]] = None,
    need: bool = False,
    # Common
    dry_run: bool = False,
    null: bool = False,
    threads: Optional[int] = None,
    quiet: bool = False,
    verbose: Union[bool, int] = False,
) -> Report:
    """Keep the checkpoints that are worth keeping, remove the others.

    Keep what any of these names:
      keep                 the last N
      keep_last            the same as keep
      keep_best            the best K by a metric
      metric               metric for keep-best (default: the run's own)
      min                  lower values are better
      max                  higher values are better
      keep_every           every step that is a multiple of STEPS
      keep_epochs          the last of each epoch
      keep_within          those saved within TIME (12h, 3d) of the newest
      keep_step            this step
      follow               the steps that RUN_DIR holds
      pin                  never touch this step, or those FILE lists

    Then:
      keep_optimizer_last  slim all but the last N to what inference needs
      max_total            remove the oldest until the rest fits in SIZE
      min_free             remove the oldest until SIZE is free
      torn                 incomplete ones: keep (default), remove or aside
      torn_age             leave the newest torn one alone for TIME (1h)
      trash                move them to DIR instead of deleting
      allow_unresumable    prune even if none can be resumed from

    Where:
      recursive            all runs at or below RUN_DIR (default: .)
      pattern              names of checkpoints (default: checkpoint-N)
      deep                 read every byte to find torn ones
      config               read options from FILE, as key = value

    Look:
      list                 only look; needs no rule
      paths                paths of those to keep, slim, remove or aside
      need                 ok is False when the next one would not fit

    Common:
      dry_run              print the plan and change nothing
      null                 names end with NUL, unescaped
      threads              threads (default: all)
      quiet                errors only
      verbose              print more

    Example: ckpt_prune("runs/x", keep=3, keep_best=1, dry_run=True)["runs"]
    See ckpt-prune(1).
    """
    return CKPT_PRUNE.report(locals())
