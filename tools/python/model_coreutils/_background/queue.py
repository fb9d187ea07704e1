# SPDX-License-Identifier: Apache-2.0
"""Which checkpoint is pushed next: the newest complete one. Values only, no files and no processes.

A hold waits until it is known to be complete, is then ready until the push before it ends, and is taken while it is pushed.
Only one is ready: a newer one that is complete takes its place. Holds are in the order in which they were saved, which is not
that of their steps where a run went back to an earlier checkpoint.
"""

from __future__ import annotations

from typing import List, Optional

from .hold import Hold


class Queue:
    def __init__(self) -> None:
        self.waiting: List[Hold] = []
        self.ready: Optional[Hold] = None
        self.taken: Optional[Hold] = None

    @property
    def empty(self) -> bool:
        return not (self.waiting or self.ready or self.taken)

    def add(self, hold: Hold) -> None:
        if hold not in (self.ready, self.taken):
            self.waiting = sorted({*self.waiting, hold})

    def complete(self, hold: Hold) -> List[Hold]:
        """A waiting hold is complete. Returns those that are not needed any more."""
        older = [one for one in self.waiting if one < hold]
        self.waiting = [one for one in self.waiting if one > hold]
        if self.ready and self.ready > hold:
            return [*older, hold]
        dropped = [*older, self.ready] if self.ready else older
        self.ready = hold
        return dropped

    def take(self) -> Optional[Hold]:
        self.taken, self.ready = self.ready, None
        return self.taken

    def pushed(self) -> Hold:
        """The hold that was taken is done with."""
        assert self.taken is not None
        hold, self.taken = self.taken, None
        return hold

    def put_back(self) -> List[Hold]:
        """The hold that was taken is to be tried again, unless there is a newer one. Returns those not needed any more."""
        hold = self.pushed()
        if self.ready:
            return [hold]
        self.ready = hold
        return []

    def forget(self, holds: List[Hold]) -> bool:
        """Holds that wait are not needed any more. Whether there were any."""
        self.waiting = [one for one in self.waiting if one not in holds]
        return bool(holds)
