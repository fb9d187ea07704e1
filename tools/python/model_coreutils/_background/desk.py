# SPDX-License-Identifier: Apache-2.0
"""What the job of a worker is, and what it works with."""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence, Set

from .._report import document_of

Message = Dict[str, Any]

_PATIENCE_S = 6.0  # for a program to clean up


class Result(NamedTuple):
    code: int  # negative: the signal that ended it
    printed: bytes
    said: str  # the last line on stderr, without the program's name

    @property
    def document(self) -> Dict[str, Any]:
        return document_of(self.printed)


class Desk:
    """What a job has at hand: a way to run programs, and one to reach the trainer."""

    def __init__(self, programs: Dict[str, str], send: Callable[[Message], None]) -> None:
        self._programs = programs
        self._send = send
        self._troubles: Set[str] = set()
        self._idle = -1

    async def run(self, program: str, words: Sequence[str]) -> Result:
        """Runs a program to its end. One that can't be started looks like one that could not read its input (7)."""
        command, pipe = [self._programs[program], "--color=never", *words], asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
        except OSError as error:
            return Result(7, b"", f"cannot be started: {error}")
        try:
            printed, said = await process.communicate()
        except asyncio.CancelledError:
            await _end(process)
            raise
        lines = said.decode("utf-8", "replace").splitlines() or [""]
        last = lines[-1].removeprefix(f"{program}: ")
        code = process.returncode or 0
        return Result(code, printed, last or (f"ended by signal {-code}" if code < 0 else f"ended with exit code {code}"))

    def tell(self, text: str) -> None:
        self._send({"level": "info", "text": text})

    def warn(self, text: str) -> None:
        self._send({"level": "warning", "text": text})

    def trouble(self, kind: str, text: str) -> None:
        """Warns, once of each kind until all is well."""
        if kind not in self._troubles:
            self._troubles.add(kind)
            self.warn(text)

    def well(self, text: str) -> None:
        """Something worked. Said aloud where it ends a trouble; without a text, there is nothing to say."""
        if text:
            (self.warn if self._troubles else self.tell)(text)
        self._troubles.clear()

    def idle(self, number: int) -> None:
        if number != self._idle:
            self._idle = number
            self._send({"idle": number})

    def stopped(self) -> None:
        self._send({"stopped": True})


class Job:
    """What a worker does. `hear` is called with each message, `work` returns when all is done after "finish"."""

    def hear(self, message: Message) -> None:
        raise NotImplementedError

    async def work(self) -> None:
        raise NotImplementedError


async def _end(process: asyncio.subprocess.Process) -> None:
    try:
        process.terminate()
        await asyncio.wait_for(process.wait(), _PATIENCE_S)
    except ProcessLookupError:
        pass
    except asyncio.TimeoutError:
        process.kill()


async def rest(event: asyncio.Event, seconds: Optional[float] = None) -> bool:
    """Waits for an event, or for some time. Whether the event came."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except asyncio.TimeoutError:
        return False
    event.clear()
    return True
