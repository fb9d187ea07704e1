# SPDX-License-Identifier: Apache-2.0
"""The worker of PushCallback: packs the newest complete checkpoint, writes its card and pushes it.

Two loops share a queue: one asks ckpt-prune which holds are complete, the other pushes. A push that fails for now is tried
again, in pauses that grow, or with the next checkpoint; what the hub refuses for good ends it. What is held is dropped only when
it is pushed, when a newer complete one takes its place, or when it can't be published; so whatever is left, the next run pushes.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import os
from typing import Dict, Iterable, List, Optional

from . import hold as holding
from .desk import Desk, Job, Message, Result, rest
from .hold import Hold
from .queue import Queue

_LOOKS_S = (0.2, 30.0)  # between looks whether a checkpoint is complete: the first, doubled up to the last
_TRIES_S = (5.0, 300.0)  # between tries to push: likewise
_LAST_TRIES_S = 10.0  # the longest, once training is over
_PATIENCE_S = 30.0  # for the last checkpoint to become complete, once training is over
_LOCKED_S = 30.0  # until it is said that another process pushes


class Outcome(enum.Enum):
    PUSHED = "pushed"
    LATER = "later"  # try again
    NEVER = "never"  # not this checkpoint
    STOP = "stop"  # nothing more


_OUTCOMES = {0: Outcome.PUSHED, 7: Outcome.LATER, 75: Outcome.LATER, 2: Outcome.STOP, 6: Outcome.STOP}


def outcome_of(code: int) -> Outcome:
    """What an exit code of st-pack or hub-push means for a checkpoint. A program that was killed is tried again."""
    return Outcome.LATER if code < 0 or code > 128 else _OUTCOMES.get(code, Outcome.NEVER)


def _take_the_rest(origin: str, held: Hold) -> str:
    """Holds what other ranks wrote after a checkpoint was held. Why that fails; empty if it does not."""
    try:
        holding.mirror(origin, held.checkpoint)
    except OSError as error:  # such as a full disk, or a checkpoint that is removed now
        return str(error)
    return ""


class Push(Job):
    """Settings: run and room, folders; folder, where relative paths in options begin; trainer, the id of the process that makes
    holds; repo; message, with {step}; pack, card and push, options of the programs, card None for no card; command, which finishes
    the push; programs."""

    def __init__(self, settings: Message, desk: Desk) -> None:
        self._settings = settings
        self._run, self._room, self._repo = settings["run"], settings["room"], settings["repo"]
        self._desk = desk
        self._queue = Queue()
        self._saved, self._free = asyncio.Event(), asyncio.Event()  # something to judge; something to push
        self._number = 0
        self._finishing = self._stopped = False
        self._lock: Optional[int] = None
        self._rooms: Optional[List[str]] = None  # of the callbacks of this training, once it has saved
        self._why: Dict[Hold, str] = {}  # why a hold is not complete

    def hear(self, message: Message) -> None:
        self._number = message["n"]
        if message["do"] == "finish":
            self._finishing = True
            self._free.set()
        else:
            self._rooms = message["rooms"]
            self._queue.add(Hold(message["hold"], message["name"]))
        self._saved.set()

    async def work(self) -> None:
        await self._own_room()
        loops = [asyncio.ensure_future(self._judge_all()), asyncio.ensure_future(self._push_all())]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in done:
                loop.result()
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
        if not self._stopped:  # else finish_push needs to know how to push
            holding.leave_room(self._room)

    async def once(self) -> Optional[Outcome]:
        """Without a trainer: pushes the newest complete checkpoint, held or in the run, in one try. None if there is none."""
        self._take_over()
        verdicts = await self._verdicts(self._run)
        await self._judge()
        steps = [Hold(self._run, name) for name, why in verdicts.items() if not why and holding.CHECKPOINT.fullmatch(name)]
        newest = max(steps, key=lambda one: one.step, default=None)
        if newest and (self._queue.ready is None or newest.step > self._queue.ready.step):
            self._queue.add(holding.hold(self._room, newest.checkpoint)[0])
            await self._judge()
        taken = self._queue.take()
        if taken is None:
            return None
        self._desk.tell(f"pushing {taken.name} to {self._repo}")
        outcome = await self._push(taken)
        if outcome is Outcome.PUSHED:
            holding.remove_room(self._room)
        return outcome

    async def _own_room(self) -> None:
        """Waits until no other process pushes from here, then takes over what it left."""
        waited = 0.0
        while True:
            try:
                holding.make_room(self._room)
                self._lock = holding.lock(self._room)
                if self._lock is not None:
                    break
            except OSError as error:  # such as a full disk
                self._desk.trouble("room", f"nothing is pushed to {self._repo} for now: {error}")
            if waited == _LOCKED_S:
                self._desk.warn(f"another process pushes {self._run} to {self._repo}; waiting for it to end")
            waited += 0.5
            await asyncio.sleep(0.5)
        self._take_over()
        with contextlib.suppress(OSError), open(os.path.join(self._room, "settings.json"), "w") as file:
            json.dump(self._settings, file)

    def _take_over(self) -> None:
        holding.sweep(self._room, self._settings["trainer"])
        for left in holding.holds(self._room):
            self._queue.add(left)

    def _clear_other_rooms(self) -> None:
        """Removes what a run that was killed held for other places: nobody pushes there any more."""
        with contextlib.suppress(OSError):
            for room in holding.remove_stale_rooms(self._run, but=[self._room, *(self._rooms or [])]):
                self._desk.tell(f"removed what an earlier run held in {room}")

    # Completeness

    async def _judge_all(self) -> None:
        pause, others = None, True
        while True:
            if others and self._rooms is not None:
                others = False
                self._clear_other_rooms()
            if pause is None or self._saved.is_set():
                pause = _LOOKS_S[0]
            if self._queue.waiting:
                await self._judge()
            if self._queue.waiting:
                await rest(self._saved, pause)
                pause = min(2 * pause, _LOOKS_S[1])
                if pause == _LOOKS_S[1]:
                    self._say_incomplete(self._queue.waiting)
            else:
                pause = None
                await rest(self._saved)

    async def _judge(self) -> None:
        """Finds the newest complete one among those that wait."""
        if self._queue.forget([one for one in self._queue.waiting if not os.path.isdir(one.checkpoint)]):
            self._free.set()
        verdicts = await self._verdicts(self._run)
        for one in reversed(self._queue.waiting):
            origin = os.path.join(self._run, one.name)
            if one.name in verdicts and holding.same_save(one, origin):
                why = verdicts[one.name] or _take_the_rest(origin, one)
            else:  # its checkpoint is gone
                why = (await self._verdicts(one.folder)).get(one.name, "ckpt-prune does not list it")
            self._why[one] = why
            if not why and one in self._queue.waiting:
                self._drop(self._queue.complete(one))
                self._free.set()
                return

    def _say_incomplete(self, waiting: List[Hold]) -> None:
        for one in waiting[-1:]:
            self._desk.trouble("incomplete", f"{self._repo}: {one.name} is not pushed until it is complete: {self._why.get(one)}")

    async def _verdicts(self, run: str) -> Dict[str, str]:
        """Why each checkpoint of a run is not complete; empty for one that is."""
        result = await self._desk.run("ckpt-prune", ["--list", "--json", "--threads=1", "--", run])
        if not result.document:
            self._desk.trouble("ckpt-prune", f"{self._repo}: nothing is pushed for now: ckpt-prune: {result.said}")
        verdicts = {}
        for found in result.document.get("runs", []):
            for one in found["checkpoints"]:
                whole = one["condition"] != "torn" and not one["being_written"]
                verdicts[one["name"]] = "" if whole else one.get("why") or "it is being written"
        return verdicts

    def _drop(self, unneeded: Iterable[Hold]) -> None:
        for one in unneeded:
            self._why.pop(one, None)
            holding.drop(one)

    # Pushing

    async def _push_all(self) -> None:
        pause = _TRIES_S[0]
        while (held := await self._next()) is not None:
            outcome = await self._push(held)
            if outcome is Outcome.LATER:
                self._drop(self._queue.put_back())
                await rest(self._free, min(pause, _LAST_TRIES_S) if self._finishing else pause)
                pause = min(2 * pause, _TRIES_S[1])
                continue
            self._drop([self._queue.pushed()])
            pause = _TRIES_S[0]
            if outcome is Outcome.STOP:
                return self._stop()

    async def _next(self) -> Optional[Hold]:
        """The next hold to push, once there is one; None when nothing is left after "finish"."""
        due = None  # when incomplete ones are not waited for any more
        loop = asyncio.get_running_loop()
        while (taken := self._queue.take()) is None:
            if self._queue.empty:
                self._desk.idle(self._number)
                if self._finishing:
                    return None
            if self._finishing and due is None:
                due = loop.time() + _PATIENCE_S
            if due is not None and loop.time() > due and all(one in self._why for one in self._queue.waiting):
                self._give_up_waiting()
            else:
                await rest(self._free, 1.0 if self._finishing else None)
        return taken

    async def _push(self, held: Hold) -> Outcome:
        if not os.path.isdir(held.checkpoint):
            return Outcome.NEVER  # somebody removed it
        result = await self._pack(held)
        if result.code != 0:
            return self._failed(held, "st-pack", result)
        await self._write_card(held)
        message = self._settings["message"].replace("{step}", str(held.step))
        words = [*self._settings["push"], f"--message={message}", "--threads=1", "--no-progress", "--", held.packed, self._repo]
        result = await self._desk.run("hub-push", words)
        if result.code == 6:  # also when the repository goes away under a push; another push makes it anew
            result = await self._desk.run("hub-push", words)
        if result.code != 0:
            return self._failed(held, "hub-push", result)
        self._desk.well(f"pushed {held.name} to {result.printed.decode('utf-8', 'replace').strip()}")
        return Outcome.PUSHED

    async def _pack(self, held: Hold) -> Result:
        if os.path.isdir(held.packed):  # by an earlier try: it appears whole
            return Result(0, b"", "")
        words = [*self._settings["pack"], "--threads=1", "--no-progress", "--output", held.packed, "--", held.checkpoint]
        return await self._desk.run("st-pack", words)

    async def _write_card(self, held: Hold) -> None:
        """A card that can't be written does not keep the weights back."""
        if self._settings["card"] is None:
            return
        words = ["--in-place", "--run", held.checkpoint, *self._settings["card"], "--", held.packed]
        result = await self._desk.run("card-gen", words)
        if result.code != 0:
            self._desk.warn(f"{held.name} is pushed without a new card: card-gen: {result.said}")

    def _failed(self, held: Hold, program: str, result: Result) -> Outcome:
        outcome = outcome_of(result.code)
        what = f"{self._repo}: {held.name} is not pushed: {program}: {result.said}"
        if outcome is Outcome.LATER:
            self._desk.trouble(f"later {program} {result.code}", f"{what}; trying again")
        elif outcome is Outcome.NEVER:
            self._desk.trouble(f"never {program} {result.said.replace(held.name, '')}", f"{what}; the next checkpoint will be tried")
        else:
            self._desk.warn(f"{what}; nothing more will be pushed. When that is mended, this pushes: {self._settings['command']}")
        return outcome

    def _give_up_waiting(self) -> None:
        for one in self._queue.waiting:
            self._desk.warn(f"{self._repo}: {one.name} is not pushed: {self._why.get(one) or 'it is not complete'}")
        self._forget(self._queue.waiting)

    def _forget(self, unneeded: List[Hold]) -> None:
        self._queue.forget(unneeded)
        self._drop(unneeded)

    def _stop(self) -> None:
        self._forget(self._queue.waiting)
        if self._queue.take():
            self._drop([self._queue.pushed()])
        self._stopped = True
        self._desk.stopped()
