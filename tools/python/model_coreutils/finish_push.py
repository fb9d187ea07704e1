# SPDX-License-Identifier: Apache-2.0
"""Finishes what a PushCallback could not push before its training ended.

    python -m model_coreutils.finish_push RUN

RUN is the output_dir of the training. The newest complete checkpoint, held or in RUN, is pushed as the callback was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Dict, List, Optional

from ._background import hold as holding
from ._background.desk import Desk, Message
from ._background.push import Outcome, Push
from ._errors import ProgramNotFound
from ._programs import find_program

PROGRAMS = ("ckpt-prune", "st-pack", "card-gen", "hub-push")
_CODES = {Outcome.PUSHED: 0, Outcome.LATER: 75, Outcome.NEVER: 5, Outcome.STOP: 6}


def main(arguments: List[str]) -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m model_coreutils.finish_push RUN", file=sys.stderr)
        return 2
    run = os.path.abspath(arguments[0])
    if not os.path.isdir(run):
        _say(f"{run} is not a folder")
        return 7
    try:
        programs = {program: find_program(program) for program in PROGRAMS}  # never those that a file names
    except ProgramNotFound as error:
        _say(str(error))
        return error.code
    codes = [_finish(run, room, programs) for room in holding.rooms(run)]
    done = [code for code in codes if code is not None]
    if not done:
        _say(f"{run}: nothing is left to push")
    return max(done, default=0)


def _finish(run: str, room: str, programs: Dict[str, str]) -> Optional[int]:
    """The exit code; None if there is nothing to push."""
    settings = _settings(room)
    if settings is None:
        return None
    lock = holding.lock(room)
    if lock is None:
        _say(f"another process pushes {run} to {settings['repo']} now")
        return 75
    try:
        with contextlib.suppress(OSError):
            os.chdir(settings["folder"])
        job = {**settings, "run": run, "room": room, "trainer": 0}
        outcome = asyncio.run(_push(job, programs))
    except OSError as error:  # such as a full disk
        _say(str(error))
        return 7
    finally:
        os.close(lock)
    return None if outcome is None else _CODES[outcome]


async def _push(settings: Message, programs: Dict[str, str]) -> Optional[Outcome]:
    return await Push(settings, Desk(programs, lambda message: _say(message["text"]))).once()


def _settings(room: str) -> Optional[Message]:
    """What the callback left. Only what this user wrote counts: it says where a token is sent."""
    path = os.path.join(room, "settings.json")
    try:
        with open(path) as file:
            if os.fstat(file.fileno()).st_uid != os.getuid():
                _say(f"{path} belongs to another user; it is not used")
                return None
            settings = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _say(f"{path}: {error}")
        return None
    if isinstance(settings, dict) and {"repo", "folder", "message", "pack", "card", "push", "command"} <= settings.keys():
        return settings
    _say(f"{path} is not what a PushCallback writes")
    return None


def _say(text: str) -> None:
    print(f"finish_push: {text}", file=sys.stderr)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
