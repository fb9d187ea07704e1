# SPDX-License-Identifier: Apache-2.0
"""Runs a program, without a shell and without standard input.

What it prints is read to its end. What it says on stderr goes line by line to the logger "model_coreutils" while it runs:
notes as INFO, warnings as WARNING. An error becomes the message of the exception, and a DEBUG line; where there is none
(exit code 1), it is a WARNING. KeyboardInterrupt, or any other exception meanwhile, ends the program first.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import threading
from typing import IO, Callable, List, Mapping, Sequence

from ._errors import error_of
from ._programs import find_program
from ._report import Report, document_of

_logger = logging.getLogger("model_coreutils")

# Programs colour their name in front of a message by its kind. Names from files are escaped, so nothing else has an escape.
_STYLE = re.compile("\x1b\\[([0-9;]*)m")
_OF_AN_ERROR = "1;31"
_PATIENCE_S = 10.0


def _log(level: int, line: str) -> None:
    _logger.log(level, "%s", line)


def run(
    program: str,
    arguments: Sequence[str],
    as_json: bool = True,
    environment: Mapping[str, str] = {},
    log: Callable[[int, str], None] = _log,
) -> Report:
    """Runs a program with these arguments of the command line to its end. `as_json`: what it prints is a document;
    `environment`: what its environment has besides ours. Raises ProgramNotFound, or the error of an exit code other than 0 and 1."""
    command, pipe = [find_program(program), "--color=always", *arguments], subprocess.PIPE
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, env={**os.environ, **environment})
    assert process.stdout is not None and process.stderr is not None
    try:
        messages = _Messages(program, process.stderr, log)
        with process.stdout:
            printed = process.stdout.read().decode("utf-8", "surrogateescape")
        code = process.wait()
        messages.join()
    except BaseException:
        _end(process)
        raise
    document = document_of(printed) if as_json else {}
    report = Report(
        document,
        program=program,
        exit_code=code if code >= 0 else 128 - code,
        messages=tuple(messages.lines),
        text="" if document else printed,
    )
    messages.log_errors(logging.WARNING if code in (0, 1) else logging.DEBUG)
    if code in (0, 1):
        return report
    raise error_of(code, messages.errors, report)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a program: it cleans up, and is killed if that takes too long."""
    process.terminate()
    try:
        process.wait(_PATIENCE_S)
    except BaseException:
        process.kill()
        process.wait()


class _Messages:
    """The lines of stderr, read in a thread."""

    def __init__(self, program: str, stream: IO[bytes], log: Callable[[int, str], None]) -> None:
        self.lines: List[str] = []
        self.errors: List[str] = []  # those that say what is wrong, without the program's name
        self._prefix = program + ": "
        self._stream, self._log = stream, log
        self._thread = threading.Thread(target=self._read, name=f"stderr of {program}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                self._take(line.decode("utf-8", "surrogateescape").rstrip("\n"))

    def _take(self, line: str) -> None:
        style, plain = _STYLE.match(line), _STYLE.sub("", line)
        self.lines.append(plain)
        if style and style[1] == _OF_AN_ERROR:
            self.errors.append(plain.removeprefix(self._prefix))
        elif style or not plain.startswith(self._prefix):  # a warning, or not the program itself but what loads it
            self._log(logging.WARNING, plain)
        else:
            self._log(logging.INFO, plain)

    def join(self) -> None:
        self._thread.join()

    def log_errors(self, level: int) -> None:
        for error in self.errors:
            self._log(level, self._prefix + error)
