# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, a class for each exit code of the programs (EXIT STATUS in modelutils(7))."""

from __future__ import annotations

import signal
from typing import Dict, List, Optional, Tuple, Type

from ._report import Report


class ProgramError(Exception):
    """A program ended with an exit code other than 0 and 1, or could not be started.

    program   its name, such as "st-pack"
    code      its exit code
    message   what it said is wrong, without its name
    messages  all it said on stderr, in lines
    report    what it printed; empty if it printed nothing
    """

    def __init__(self, program: str, code: int, message: str, report: Optional[Report] = None) -> None:
        super().__init__(program, code, message, report)
        self.program = program
        self.code = code
        self.message = message
        self.report: Report = Report(program=program, exit_code=code) if report is None else report

    @property
    def messages(self) -> Tuple[str, ...]:
        return self.report.messages

    def __str__(self) -> str:
        return f"{self.program}: {self.message}"


class UsageError(ProgramError):
    """2: wrong usage, such as options that exclude one another."""


class PartlyDone(ProgramError):
    """3: partly done; `report` lists what was done."""


class MalformedInput(ProgramError):
    """4: an input is malformed, unsafe or of an unsupported kind."""


class Refused(ProgramError):
    """5: refused by a safety rule; nothing was changed."""


class RemoteRefused(ProgramError):
    """6: the remote refused for good: authentication, permission, validation, conflict."""


class InputOutputError(ProgramError):
    """7: input or output failed: missing file, permission, disk full."""


class TemporaryFailure(ProgramError):
    """75: try again later: network, rate limit, lock held."""


class Interrupted(ProgramError):
    """The program was ended by the signal `signal`; `code` is 128 and its number, as shells have it."""

    @property
    def signal(self) -> int:
        return self.code - 128


class ProgramNotFound(ProgramError):
    """The program is not where this package looks for it, or can't be started here."""


_CLASSES: Dict[int, Type[ProgramError]] = {
    2: UsageError,
    3: PartlyDone,
    4: MalformedInput,
    5: Refused,
    6: RemoteRefused,
    7: InputOutputError,
    75: TemporaryFailure,
}


def error_of(returncode: int, errors: List[str], report: Report) -> ProgramError:
    """The error for how a program ended, by its return code as subprocess has it. `errors` are the messages that say what
    is wrong, without the program's name."""
    if returncode < 0:
        name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else f"signal {-returncode}"
        said = "".join(f": {error}" for error in errors[-1:])
        return Interrupted(report.program, 128 - returncode, f"ended by {name}{said}", report)
    last = [line.removeprefix(f"{report.program}: ") for line in report.messages[-1:]]
    message = "\n".join(errors or last) or f"ended with exit code {returncode}"
    return _CLASSES.get(returncode, ProgramError)(report.program, returncode, message, report)
