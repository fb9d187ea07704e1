# SPDX-License-Identifier: Apache-2.0
"""The process beside training: reads lines of JSON from the trainer, runs programs one after the other, and sends back lines.

From the trainer, on stdin: first the settings, then {"n": 7, "do": "save", …} for each save and {"n": 8, "do": "finish"} at
the end, after which the worker ends once there is nothing left to do. If stdin ends or SIGTERM comes, what runs is terminated,
and the worker is gone within ten seconds; what it leaves is for the next run.

To the trainer, on stdout: {"level": "warning", "text": …} for the log, {"idle": 7} when nothing is left to do of message 7 and
those before it, {"stopped": true} when there is no use in more messages.

It has a session of its own, so that Ctrl-C in the terminal reaches only the trainer, which then decides. It runs at the lowest
priority for processor and disk, and so do the programs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import signal
import sys
import traceback
from typing import Any, Awaitable, Callable, Dict, List, NamedTuple, Optional, Sequence, Set

Message = Dict[str, Any]

_PATIENCE_S = 6.0  # for a program to clean up
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "ppc64le": 273, "riscv64": 30, "s390x": 282}


class Result(NamedTuple):
    code: int  # negative: the signal that ended it
    printed: bytes
    said: str  # the last line on stderr, without the program's name

    @property
    def document(self) -> Optional[Dict[str, Any]]:
        try:
            found = json.loads(self.printed)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


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
        last = lines[-1][len(program) + 2 :] if lines[-1].startswith(program + ": ") else lines[-1]
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


async def serve(make: Callable[[Message, Desk], Job]) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    first = await reader.readline()
    if not first:
        return
    settings = json.loads(first)
    job = make(settings, Desk(settings["programs"], _write))
    await _until_one_ends([job.work(), _listen(reader, job), _outlive(os.getppid()), ended.wait()])


async def _until_one_ends(work: List[Awaitable[Any]]) -> None:
    tasks = [asyncio.ensure_future(one) for one in work]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    for task in done:
        task.result()  # raises what it raised


async def _listen(reader: asyncio.StreamReader, job: Job) -> None:
    """Returns when the trainer is gone."""
    while True:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            return
        job.hear(json.loads(line))


async def _outlive(parent: int) -> None:
    """Returns when the trainer is gone. Processes that it forked may keep the pipe open."""
    while os.getppid() == parent:
        await asyncio.sleep(1)


def _write(message: Message) -> None:
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except BrokenPipeError:
        pass  # the end of stdin tells as well


def _lower_priority() -> None:
    """As nice -n 19 and ionice -c idle; where that is not to be had, it is done without. A kernel that shares the processors
    out among sessions must be told for the session, too."""
    os.nice(19)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write("19")
    try:
        import ctypes

        one_process, idle = 1, 3 << 13  # linux/ioprio.h
        ctypes.CDLL(None).syscall(_IOPRIO_SET[platform.machine()], one_process, 0, idle)
    except (OSError, ImportError, KeyError, AttributeError):
        pass


def main(kind: str) -> None:
    _lower_priority()
    try:
        if kind == "prune":
            from .prune import Prune as make
        else:
            from .push import Push as make  # type: ignore[assignment]
        asyncio.run(serve(make))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        _write({"level": "warning", "text": f"fault in {os.path.basename(place.filename)}:{place.lineno}: {error!r}"})
        sys.exit(70)
