# SPDX-License-Identifier: Apache-2.0
"""Keywords as options of a program, and a program's own judgement of them before training."""

from __future__ import annotations

import numbers
import os
import subprocess
import tempfile
from typing import Any, Iterable, List, Mapping, Sequence

from .._errors import ProgramError, error_of
from .._programs import find_program
from .._report import Report


def words(options: Mapping[str, Any]) -> List[str]:
    """{"keep_best": 1, "pin": [3, 4], "min": True} are --keep-best=1 --pin=3 --pin=4 --min. None and False give nothing."""
    found = []
    for keyword, value in options.items():
        option = "--" + str(keyword).rstrip("_").replace("_", "-")
        for one in _values(value):
            if one is None or one is False:
                continue
            if one is True:
                found.append(option)
            elif isinstance(one, (str, bytes, os.PathLike)):
                found.append(f"{option}={os.fsdecode(one)}")
            elif isinstance(one, numbers.Real):
                found.append(f"{option}={one}")
            else:
                raise ValueError(f"{keyword} takes one value or a list of them, not {one!r:.60}")
    return found


def _values(value: Any) -> List[Any]:
    """Those of a list, or of any other iterable; a mapping is made of KEY=VALUE."""
    if isinstance(value, Mapping):
        return [f"{key}={one}" for key, one in value.items()]
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, os.PathLike)):
        return list(value)
    return [value]


def ask(program: str, arguments: Sequence[str], environment: Mapping[str, str] = {}) -> None:
    """Runs a program that changes nothing, without a network. Raises ValueError if it calls the usage wrong, and its error
    for anything else than success."""
    whole = {**os.environ, **environment, "HF_HUB_OFFLINE": "1"}
    command = [find_program(program), "--color=never", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=whole)
    if done.returncode == 0:
        return
    lines = done.stderr.decode("utf-8", "surrogateescape").splitlines()
    messages = [line[len(program) + 2 :] if line.startswith(program + ": ") else line for line in lines[-1:]]
    error = error_of(done.returncode, messages, Report(program=program, exit_code=done.returncode, messages=tuple(lines)))
    if done.returncode == 2:
        raise ValueError(str(error)) from error
    raise error


# What the programs say of an empty folder, or without a network, where nothing is wrong with the options.
_EXPECTED = {"ckpt-prune": (1,), "st-pack": (4,), "card-gen": (3, 7, 75), "hub-push": (75,)}


def check(program: str, options: Sequence[str], *operands: str) -> None:
    """Raises what a program has against these options. "{}" in the operands is an empty folder."""
    with tempfile.TemporaryDirectory(prefix="model-coreutils-") as folder:
        try:
            ask(program, [*options, *(operand.replace("{}", folder) for operand in operands)])
        except ProgramError as error:
            if error.code not in _EXPECTED[program]:
                raise
