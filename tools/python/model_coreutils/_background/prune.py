# SPDX-License-Identifier: Apache-2.0
"""The worker of PruneCallback: runs ckpt-prune after each save.

Which checkpoints are complete, ckpt-prune decides. If the one just saved is not, because other ranks are still writing, what
is complete is pruned, and ckpt-prune is run again a little later. It is also run again when a push that held a checkpoint is
over, since held checkpoints are pinned.
"""

from __future__ import annotations

import asyncio
import os
from typing import List, Optional, Set

from .desk import Desk, Job, Message, Result, rest
from .hold import CHECKPOINT, held

_PAUSES_S = (0.2, 30.0)  # between looks at a checkpoint that is not complete: the first, doubled up to the last
_BUSY_S = 2.0  # another ckpt-prune is at work
_PINS_S = 2.0  # between looks at what is held
_PATIENCE_S = 30.0  # for the last checkpoint to become complete, once training is over


class Prune(Job):
    """Settings: run, the run's folder; words, options of ckpt-prune; programs; only_last, to act at the end alone."""

    def __init__(self, settings: Message, desk: Desk) -> None:
        self._run, self._words = settings["run"], settings["words"]
        self._only_last = settings.get("only_last", False)
        self._desk = desk
        self._heard = asyncio.Event()
        self._number = 0
        self._saved: Optional[str] = None  # newest checkpoint
        self._best: Optional[str] = None
        self._last = False  # training is over
        self._finishing = False
        self._pins: Set[str] = set()

    def hear(self, message: Message) -> None:
        self._number = message["n"]
        if message["do"] == "finish":
            self._finishing = self._last = True
        else:
            self._saved, self._best, self._last = message["name"] or self._saved, message["best"], message["last"]
        self._heard.set()

    async def work(self) -> None:
        loop = asyncio.get_running_loop()
        pause, due = None, None  # until the next look; when the last checkpoint is not waited for any more
        while True:
            await self._news(pause)
            number, finishing = self._number, self._finishing
            if finishing and due is None:
                due = loop.time() + _PATIENCE_S
            again = await self._look(pause)
            if due is not None and loop.time() > due:
                again = None
            pause = again
            if again is None and number == self._number:
                self._desk.idle(number)
                if finishing:
                    return

    async def _news(self, pause: Optional[float]) -> None:
        """Returns when there is a message, when the pause is over, or when a push that held a checkpoint is."""
        while not await rest(self._heard, pause or (_PINS_S if self._pins else None)):
            if pause or self._held() != self._pins:
                return

    def _held(self) -> Set[str]:
        return {one.name for one in held(self._run)}

    async def _look(self, last_pause: Optional[float]) -> Optional[float]:
        """Prunes. Returns after how many seconds to look again, if at all."""
        if self._only_last and not self._last:
            return None
        self._pins = self._held()
        result = await self._desk.run("ckpt-prune", [*self._words, *self._pin_words(), "--json", "--threads=1", "--", self._run])
        if result.code == 75:
            return _BUSY_S
        self._report(result)
        if self._is_complete(result):
            return None
        first, longest = _PAUSES_S
        return min(2 * last_pause, longest) if last_pause else first

    def _pin_words(self) -> List[str]:
        names = self._pins | ({os.path.basename(self._best)} if self._best else set())
        steps = sorted(int(match[1]) for match in map(CHECKPOINT.fullmatch, names) if match)
        return [f"--pin={step}" for step in steps]

    def _report(self, result: Result) -> None:
        if result.code != 0:
            return self._desk.trouble(result.said, f"ckpt-prune: {result.said}")
        checkpoints = [one for run in result.document.get("runs", []) for one in run["checkpoints"]]
        removed = ", ".join(one["name"] for one in checkpoints if one["verb"] == "remove")
        self._desk.well(f"removed {removed}" if removed else "")

    def _is_complete(self, result: Result) -> bool:
        """Whether the newest save is complete, or gone. Without a report there is nothing to wait for."""
        for run in result.document.get("runs", []):
            for one in run["checkpoints"]:
                if one["name"] == self._saved:
                    return one["condition"] != "torn" and not one["being_written"]
        return True
