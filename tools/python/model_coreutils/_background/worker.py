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
from typing import Any, Awaitable, Callable, Dict, List

from .desk import Desk, Job, Message
from .prune import Prune
from .push import Push

_JOBS: Dict[str, Callable[[Message, Desk], Job]] = {"prune": Prune, "push": Push}
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "ppc64le": 273, "riscv64": 30, "s390x": 282}


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
        asyncio.run(serve(_JOBS[kind]))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        _write({"level": "warning", "text": f"fault in {os.path.basename(place.filename)}:{place.lineno}: {error!r}"})
        sys.exit(70)
