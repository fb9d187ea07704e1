# SPDX-License-Identifier: Apache-2.0
"""A program's own judgement of options, before training."""

from __future__ import annotations

import tempfile
from typing import Mapping, Sequence

from .._errors import ProgramError, UsageError
from .._run import run


def ask(program: str, arguments: Sequence[str], environment: Mapping[str, str] = {}) -> None:
    """Runs a program that changes nothing, without a network and without a word in the log. Raises ValueError if it calls the
    usage wrong, and its error for anything else that it can't do."""
    try:
        run(program, arguments, False, {**environment, "HF_HUB_OFFLINE": "1"}, log=lambda level, line: None)
    except UsageError as error:
        raise ValueError(str(error)) from error


# What the programs refuse in an empty folder, or without a network, where nothing is wrong with the options.
_EXPECTED = {"ckpt-prune": (), "st-pack": (4,), "card-gen": (3, 7, 75), "hub-push": (75,)}


def check(program: str, options: Sequence[str], *operands: str) -> None:
    """Raises what a program has against these options. "{}" in the operands is an empty folder."""
    with tempfile.TemporaryDirectory(prefix="model-coreutils-") as folder:
        try:
            ask(program, [*options, *(operand.replace("{}", folder) for operand in operands)])
        except ProgramError as error:
            if error.code not in _EXPECTED[program]:
                raise
