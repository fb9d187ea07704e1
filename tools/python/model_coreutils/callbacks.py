# SPDX-License-Identifier: Apache-2.0
"""Two callbacks for transformers' Trainer and the trainers of TRL.

    trainer = SFTTrainer(..., callbacks=[PruneCallback(keep=3), PushCallback("owner/name")])

Both work in a process of their own, at the lowest priority, and never make training wait or fail. What is wrong with their
arguments, they say before the first step: ValueError for what can't be, ProgramNotFound, or the error of the program that
refuses. Everything later goes to the `transformers` logger, once for each event. Only one process of a job acts.
"""

from __future__ import annotations

import datetime
import functools
import os
import re
import shlex
import sys
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Union

from transformers import TrainerCallback
from transformers.utils import logging

from ._background import hold as holding
from ._background.check import ask, check
from ._background.link import Link, rooms
from ._background.nodes import lacks_other_ranks
from ._command import Command
from ._errors import TemporaryFailure
from ._programs import find_program
from .functions.card_gen import CARD_GEN
from .functions.ckpt_prune import CKPT_PRUNE
from .functions.hub_push import HUB_PUSH
from .functions.st_pack import ST_PACK

_logger = logging.get_logger("transformers.model_coreutils")

_PRUNE_WAIT_S = 60.0  # at the end, for the last run of ckpt-prune
_STARTS = 4  # of a worker that ends unexpectedly


def _quiet(method: Callable[..., None]) -> Callable[..., None]:
    """Nothing raises into training: a fault is logged, and what it was about is left out."""

    @functools.wraps(method)
    def call(self: _Background, *arguments: Any, **keywords: Any) -> None:
        try:
            method(self, *arguments, **keywords)
        except Exception as error:
            self._log_once(f"{method.__name__}: {error!r}")

    return call


class _Background(TrainerCallback):  # type: ignore[misc]
    """What both callbacks share: one worker, on one process of the job."""

    _link: Optional[Link] = None
    _acts = False
    _starts = 0

    def __getstate__(self) -> Dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_link", "_acts")}

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Waits until nothing is left to do, for at most `timeout` seconds. Whether nothing is left. For notebooks, where the
        interpreter does not end after training."""
        return self._link is None or self._link.wait(timeout)

    def _log(self, level: str, text: str) -> None:
        getattr(_logger, level)(f"{type(self).__name__}: {text}")

    def _log_once(self, text: str) -> None:
        said = self.__dict__.setdefault("_said", set())
        if text not in said:
            said.add(text)
            self._log("warning", text)

    def _begin(self, link: Link) -> None:
        """Starts a worker, unless that of an earlier training in this process does the same. One of another run does what is left."""
        self._acts, earlier = True, self._link
        if earlier is not None:
            if earlier.settings == link.settings and earlier.alive and not earlier.stopped:
                return
            if earlier.settings["run"] == link.settings["run"]:
                earlier.let_go()
            else:
                earlier.send(do="finish")
        self._link, self._starts = link, 1
        link.start()

    def _send(self, **message: Any) -> None:
        link = self._link
        if link is None or link.stopped:
            return
        link.read()
        if not link.alive and not link.stopped:
            if self._starts == _STARTS:
                return self._log_once("the worker ended unexpectedly again; it will not be started again")
            self._starts += 1
            self._log_once("the worker ended unexpectedly; it is started again")
            link.let_go()
            link.start()
        link.send(**message)

    @_quiet
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._link is not None:
            self._link.read()

    on_prediction_step = on_evaluate = on_log = on_step_end


class PruneCallback(_Background):
    """Keeps the checkpoints that are worth keeping and removes the others, by ckpt-prune, after each save.

    Kept are the last `keep`, the best `keep_best` by the run's own metric (if it evaluates), the newest that training can resume
    from, the best one of the Trainer, and what a PushCallback is pushing. Incomplete checkpoints are left alone and don't count.

    More options are those of ckpt-prune: metric="eval_f1", max=True, keep_every=1000, keep_optimizer_last=1, max_total="2TB",
    torn="aside", trash=DIR … With save_total_limit set too, the Trainer removes checkpoints during training, and PruneCallback
    acts at the end. With save_on_each_node it runs on each node.
    """

    def __init__(self, keep: Optional[int] = 3, keep_best: Optional[int] = 1, **options: Any) -> None:
        for name, value in (("keep", keep), ("keep_best", keep_best)):
            _require(value is None or _is_count(value), f"{name} is a number of 0 or more, or None, not {value!r}")
        self._words = _words(CKPT_PRUNE, {"keep": keep, "keep_best": keep_best}, options)
        check("ckpt-prune", ["--dry-run", *self._words], "--", "{}")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._acts = False
        if not (state.is_local_process_zero if args.save_on_each_node else state.is_world_process_zero):
            return
        if state.is_hyper_param_search:
            return self._log("warning", "does nothing during a hyperparameter search")
        self._run = os.path.abspath(args.output_dir)
        limit = args.save_total_limit
        limited = limit is not None and limit > 0
        if limited:
            self._log(
                "warning",
                f"save_total_limit={limit} is set too: the Trainer removes checkpoints by it during training, and "
                "PruneCallback prunes once, at the end. Leave save_total_limit out to prune after each save",
            )
        settings = {"run": self._run, "words": self._words, "only_last": limited, "programs": _paths("ckpt-prune")}
        unfinished = f"{self._run} is not pruned completely. This finishes it: ckpt-prune {shlex.join([*self._words, self._run])}"
        self._begin(Link("prune", settings, self._log, _PRUNE_WAIT_S, unfinished))

    @_quiet
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._acts:
            self._send(do="save", name=f"checkpoint-{state.global_step}", best=state.best_model_checkpoint, last=False)

    @_quiet
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._acts:
            self._send(do="save", name=None, best=state.best_model_checkpoint, last=True)


class PushCallback(_Background):
    """Publishes the newest complete checkpoint: st-pack makes a model folder of it, card-gen writes its card, hub-push pushes it.

    repo        owner/name
    every       at most one push in so many steps (500) or so much time ("30m", "2h"); default: each save, as far as the last push
                is done. The last checkpoint is always pushed
    private     make a new repository private (True) or public (False)
    revision    the branch (default: main)
    message     title of the commits; {step} stands for the step
    endpoint    another hub, or file://DIR for a cache folder, which needs no token
    dtype       cast the weights: "bf16" …
    base, dataset, license     for the card; base is asked for if the checkpoint does not show it
    pack, card, push           more options of st-pack, card-gen and hub-push, such as push={"limit_rate": "5MB"}; card=False
                writes no card
    final_wait  seconds that the end of the interpreter waits for the last push; 0: not at all

    While a checkpoint is pushed, its files are held by hard links, or copies where the file system has no links, in a hidden
    folder of the run. A run that was killed leaves them there, and the next one pushes them.
    """

    def __init__(
        self,
        repo: str,
        every: Union[None, int, str, datetime.timedelta] = None,
        *,
        private: Optional[bool] = None,
        revision: Optional[str] = None,
        message: str = "Training in progress, step {step}",
        endpoint: Optional[str] = None,
        dtype: Union[None, str, Sequence[str]] = None,
        base: Union[None, str, Sequence[str]] = None,
        dataset: Union[None, str, Sequence[str]] = None,
        license: Optional[str] = None,
        pack: Optional[Mapping[str, Any]] = None,
        card: Union[None, bool, Mapping[str, Any]] = None,
        push: Optional[Mapping[str, Any]] = None,
        final_wait: float = 600,
    ) -> None:
        _require(isinstance(repo, str) and repo != "", f"repo is owner/name, not {repo!r}")
        _require(isinstance(message, str), f"message is a text, not {message!r}")
        _require(_is_number(final_wait) and final_wait >= 0, f"final_wait is a number of seconds, not {final_wait!r}")
        _require(private is None or isinstance(private, bool), f"private is True, False or None, not {private!r}")
        self.repo, self.final_wait = repo, float(final_wait)
        self._steps, self._seconds = _pace(every)
        self._endpoint, self._revision, self._message = endpoint, revision, message
        self._pack = _words(ST_PACK, {"dtype": dtype}, pack)
        self._card = None
        if card is not False:
            own = {"repo": repo, "base": base, "dataset": dataset, "license": license}
            self._card = _words(CARD_GEN, own, None if card is True else card)
        self._push = _words(HUB_PUSH, {"private": private, "revision": revision, "endpoint": endpoint}, push)
        self._check()

    def _check(self) -> None:
        check("hub-push", ["--dry-run", *self._push, f"--message={self._message}"], "--", __file__, self.repo)
        check("st-pack", ["--dry-run", *self._pack], "--output={}/out", "--", "{}")
        if self._card is not None:
            check("card-gen", self._card, "--", "{}")

    @property
    def _to_folder(self) -> bool:
        return (self._endpoint or os.environ.get("HF_ENDPOINT", "")).startswith("file:")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._acts = False
        why = lacks_other_ranks(args)
        _require(not why, f"PushCallback: {why}")
        if not state.is_world_process_zero:
            return
        _require(not state.is_hyper_param_search, "PushCallback can't push the trials of a hyperparameter search")
        if not self._to_folder:
            _check_token(self._push, self.repo, _token(args))
        if args.push_to_hub:
            self._log(
                "warning",
                f"push_to_hub is set too: the Trainer pushes to {args.hub_model_id or 'its own repository'} itself, "
                f"PushCallback pushes to {self.repo} beside training",
            )
        self._run = os.path.abspath(args.output_dir)
        self._room = holding.room_of(self._run, self.repo, self._revision, self._endpoint)
        self._queued_step, self._queued_at = state.global_step, float("-inf")
        self._saved: Optional[str] = None  # the checkpoint saved last
        self._queued: Optional[str] = None  # and the one queued last
        command = shlex.join([sys.executable, "-m", "model_coreutils.finish_push", self._run])
        settings = {
            "run": self._run,
            "room": self._room,
            "folder": os.getcwd(),
            "trainer": os.getpid(),
            "repo": self.repo,
            "message": self._message,
            "pack": self._pack,
            "card": self._card,
            "push": self._push,
            "command": command,
            "programs": _paths("ckpt-prune", "st-pack", "card-gen", "hub-push"),
        }
        unfinished = f"the last checkpoint is not pushed to {self.repo} yet. This finishes the push: {command}"
        self._begin(Link("push", settings, self._log, self.final_wait, unfinished, _token(args)))

    @_quiet
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._acts:
            return
        self._saved = f"checkpoint-{state.global_step}"
        if self._is_due(state.global_step, time.monotonic()):
            self._queue(self._saved)

    @_quiet
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not self._acts:
            return
        if getattr(args, "enable_jit_checkpoint", False):  # what is saved on SIGTERM, before or after the last step, comes without on_save
            last = [f"checkpoint-{step}" for step in (state.global_step, state.global_step - 1)]
            self._saved = next((name for name in last if os.path.isdir(os.path.join(self._run, name))), self._saved)
        if self._saved is not None and self._saved != self._queued:
            self._queue(self._saved)

    _queued_step: int
    _queued_at: float

    def _is_due(self, step: int, now: float) -> bool:
        if self._steps is not None:
            return bool(step - self._queued_step >= self._steps)
        return now - self._queued_at >= self._seconds

    def _queue(self, name: str) -> None:
        """Holds a checkpoint and tells the worker."""
        if self._link is None or self._link.stopped:
            return
        self._queued, self._queued_at = name, time.monotonic()
        self._queued_step = int(name[len("checkpoint-") :])
        try:
            held, copied = holding.hold(self._room, os.path.join(self._run, name))
        except OSError as error:
            why = f"{error.strerror} ({self._run})"  # not the name of the file, which differs each time
            return self._log_once(f"checkpoints can't be held, so they are not pushed: {why}")
        if copied:
            self._log_once(f"the file system of {self._run} has no hard links, so each checkpoint is copied before training goes on")
        self._send(do="save", hold=held.folder, name=held.name, rooms=rooms())


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


# Options that a callback sets itself, or that would change what it is for.
_SET = {
    "ckpt-prune": "dry_run list paths need null recursive config follow pattern deep",
    "st-pack": "output dry_run null part force salvage dtype",
    "card-gen": "in_place run repo check lint fix explain preview plot base dataset license",
    "hub-push": "every message commit_message endpoint revision private type repo_type create_pr part dry_run verify delete",
}


def _words(command: Command, own: Mapping[str, Any], options: Optional[Mapping[str, Any]]) -> List[str]:
    """Options of a program: what the callback sets of them, and those that were given besides."""
    _require(options is None or isinstance(options, Mapping), f"options of {command.program} are a dict, not {options!r}")
    for name in options or {}:
        taken = name in f"{_SET[command.program]} threads quiet verbose".split()
        _require(not taken, f"the option {name!r} of {command.program} can't be set here")
    try:
        return command.options({**own, **(options or {})})
    except TypeError as error:
        raise ValueError(str(error)) from None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _pace(every: object) -> "tuple[Optional[int], float]":
    """Steps and seconds between pushes. A number of steps, or a time as hub-push --every takes it."""
    if every is None:
        return None, 0.0
    if _is_count(every) and every:
        return int(every), 0.0  # type: ignore[call-overload]
    if isinstance(every, datetime.timedelta) and every > datetime.timedelta():
        return None, every.total_seconds()
    if isinstance(every, str) and re.fullmatch(r"([0-9]+[smhdw])+|[0-9]+", every, re.ASCII):
        units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
        parts = re.findall(r"([0-9]+)([smhdw]?)", every)
        seconds = sum(int(count) * units[unit or "m"] for count, unit in parts)
        if seconds:
            return None, float(seconds)
    raise ValueError(f"every is a number of steps, such as 500, or a time, such as '30m' or '2h', not {every!r}")


def _paths(*programs: str) -> Dict[str, str]:
    return {program: find_program(program) for program in programs}


def _token(args: Any) -> Dict[str, str]:
    """The environment that gives hub-push the token of the training's arguments, if there is one."""
    return {"HF_TOKEN": args.hub_token} if getattr(args, "hub_token", None) else {}


def _check_token(options: List[str], repo: str, token: Mapping[str, str]) -> None:
    """hub-push looks for its token before it looks whether it may use the network; here it may not."""
    _require(
        os.environ.get("HF_HUB_OFFLINE", "").upper() not in ("1", "ON", "YES", "TRUE"),
        "PushCallback: HF_HUB_OFFLINE is set, so nothing would be pushed; unset it, or push to a folder: endpoint='file://DIR'",
    )
    try:
        ask("hub-push", [*options, "--", __file__, repo], token)
    except TemporaryFailure:
        pass  # it has one
