# SPDX-License-Identifier: Apache-2.0
"""`python -m model_coreutils PROGRAM ARGUMENTS...` becomes that program; alone it lists them."""

from __future__ import annotations

import os
import signal
import sys
from typing import List

from . import functions
from ._errors import ProgramError
from ._programs import PROGRAMS, find_program
from ._version import __version__

_USAGE = "Usage: python -m model_coreutils PROGRAM [ARGUMENTS...]"


def main(arguments: List[str]) -> int:
    if not arguments or arguments == ["--help"] or arguments == ["-h"]:
        print(_listing())
        return 0
    if arguments == ["--version"]:
        print("model_coreutils", __version__)
        return 0
    if arguments[0] not in PROGRAMS:
        print(f"model_coreutils: there is no program {arguments[0]!r}; the programs are {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    try:
        path = find_program(arguments[0])
    except ProgramError as error:
        print(f"model_coreutils: {error}", file=sys.stderr)
        return error.code
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and the program would inherit it
        signal.signal(ignored, signal.SIG_DFL)
    os.execv(path, arguments)


def _listing() -> str:
    lines = [_USAGE, ""]
    for program in PROGRAMS:
        summary = (getattr(functions, program.replace("-", "_")).__doc__ or "").splitlines()[0]
        lines.append(f"  {program:<13} {summary}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
