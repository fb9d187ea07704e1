# SPDX-License-Identifier: Apache-2.0
"""Runs a program, without a shell and without standard input.

What it prints is read to its end. What it says on stderr goes line by line to the logger "model_coreutils" while it runs:
notes as INFO, warnings as WARNING. An error becomes the message of the exception, and a DEBUG line; where there is none
(exit code 1), it is a WARNING. KeyboardInterrupt, or any other exception meanwhile, ends the program first.
"""

from __future__ import annotations

import json
import logging
import re
import subprocess
import threading
from typing import IO, Any, Dict, List, Sequence

from ._errors import error_of
from ._programs import find_program
from ._report import Report

_logger = logging.getLogger("model_coreutils")

# Programs colour their name in front of a message by its kind. Names from files are escaped, so nothing else has an escape.
_STYLE = re.compile("\x1b\\[([0-9;]*)m")
_OF_AN_ERROR = "1;31"
_PATIENCE_S = 10.0


class Run:
    """A program that was started. Call finish() or stop()."""

    def __init__(self, program: str, arguments: Sequence[str]) -> None:
        """`arguments` are those of the command line; raises ProgramNotFound."""
        self.program = program
        command = [find_program(program), "--color=always", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None and self.process.stderr is not None
        self._stdout: IO[bytes] = self.process.stdout
        self._messages = _Messages(program, self.process.stderr)

    def finish(self, as_json: bool = True) -> Report:
        """Waits for the end. `as_json`: what is printed is a document. Raises the error of an exit code other than 0 and 1."""
        try:
            with self._stdout:
                printed = self._stdout.read().decode("utf-8", "surrogateescape")
            code = self.process.wait()
            self._messages.join()
        except BaseException:
            self.stop()
            raise
        document = _document(printed) if as_json else {}
        messages = self._messages
        report = Report(
            document,
            program=self.program,
            exit_code=code if code >= 0 else 128 - code,
            messages=tuple(messages.lines),
            text="" if document else printed,
        )
        messages.log_errors(logging.WARNING if code in (0, 1) else logging.DEBUG)
        if code in (0, 1):
            return report
        raise error_of(code, messages.errors, report)

    def stop(self) -> None:
        """Ends the program: it cleans up, and is killed if that takes too long."""
        self.process.terminate()
        try:
            self.process.wait(_PATIENCE_S)
        except BaseException:
            self.process.kill()
            self.process.wait()
        self._messages.join()


class _Messages:
    """The lines of stderr, read in a thread."""

    def __init__(self, program: str, stream: IO[bytes]) -> None:
        self.lines: List[str] = []
        self.errors: List[str] = []  # those that say what is wrong, without the program's name
        self._prefix = program + ": "
        self._stream = stream
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
            self.errors.append(plain[len(self._prefix) :])
        elif style or not plain.startswith(self._prefix):  # a warning, or not the program itself but what loads it
            _logger.warning("%s", plain)
        else:
            _logger.info("%s", plain)

    def join(self) -> None:
        self._thread.join()

    def log_errors(self, level: int) -> None:
        for error in self.errors:
            _logger.log(level, "%s%s", self._prefix, error)


def _document(printed: str) -> Dict[str, Any]:
    """The JSON document that was printed; nothing if it is not one."""
    try:
        document = json.loads(printed)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
