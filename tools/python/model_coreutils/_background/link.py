# SPDX-License-Identifier: Apache-2.0
"""The trainer's end of a worker: starts it, sends it a line for each save, and logs what it says.

Nothing here waits before the interpreter ends: the pipes are not blocking, and there is no thread, since threads and the forks
of data loaders don't go together. What the worker said is read at each step instead.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import time
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from typing import Any, Callable, Dict, List, Mapping, Optional

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_CODE = "import sys; sys.path.insert(0, sys.argv[1]); from model_coreutils._background.worker import main; main(sys.argv[2])"
_PATIENCE_S = 10.0  # for a worker that was told to end


class Link:
    """A worker, alive or not, from start() on. `settings` is what the worker's job reads, `environment` what its environment has
    besides the trainer's, `log` takes a level and a text, and `unfinished` is the warning for work that is left when the interpreter
    ends."""

    def __init__(
        self,
        kind: str,
        settings: Dict[str, Any],
        log: Callable[[str, str], None],
        final_wait: float,
        unfinished: str,
        environment: Mapping[str, str] = {},
    ) -> None:
        self.kind, self.settings, self.log, self.environment = kind, settings, log, environment
        self.final_wait, self.unfinished = final_wait, unfinished

    def start(self) -> None:
        """Starts the worker, or another one after let_go()."""
        self.stopped = False  # the worker has no use for more
        self._sent = self._done = 0  # numbers of messages
        self._rest = b""  # of a line
        self._owner = os.getpid()
        # Isolated and without site: no module of the user's folder, and nothing that the environment installs, can get in.
        command = [sys.executable, "-I", "-S", "-c", _CODE, _PACKAGE, self.kind]
        pipe, whole = subprocess.PIPE, {**os.environ, **self.environment}
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, bufsize=0, start_new_session=True, env=whole)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        for end in (self._in, self._out):
            os.set_blocking(end.fileno(), False)
        self._write(self.settings)
        _open.append(self)
        if parent_process() is not None:  # one that multiprocessing forked, as notebook_launcher does, ends without atexit
            Finalize(None, _finish_all, exitpriority=0)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do, as far as read."""
        return self.stopped or self._done == self._sent

    def send(self, **message: Any) -> None:
        self._sent += 1
        self._write({"n": self._sent, **message})

    def _write(self, message: Dict[str, Any]) -> None:
        try:
            os.write(self._in.fileno(), json.dumps(message).encode() + b"\n")
        except (BlockingIOError, BrokenPipeError, ValueError):
            pass  # a worker that hangs or is gone: read() and `alive` tell

    def read(self) -> None:
        """Logs what the worker has said so far."""
        if self._owner != os.getpid():
            return  # a fork of the trainer
        while True:
            try:
                read = os.read(self._out.fileno(), 1 << 16)
            except (BlockingIOError, ValueError):
                return
            if not read:
                return self._out.close()
            *lines, self._rest = (self._rest + read).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, message: Dict[str, Any]) -> None:
        if "text" in message:
            self.log(message["level"], message["text"])
        self._done = message.get("idle", self._done)
        self.stopped = self.stopped or message.get("stopped", False)

    def wait(self, seconds: Optional[float]) -> bool:
        """Reads until nothing is left to do, for at most some time. Whether nothing is left."""
        end = None if seconds is None else time.monotonic() + seconds
        self.read()
        while not self.idle and not self._out.closed:
            left = 3600.0 if end is None else end - time.monotonic()
            if left <= 0:
                break
            select.select([self._out], [], [], min(left, 3600.0))  # which may be infinite
            self.read()
        return self.idle

    def finish(self) -> None:
        """Lets the worker end when it has done what is left, and waits for that as long as was asked for. Then ends it."""
        if self._owner != os.getpid():
            return
        was_idle = done = False
        try:
            self.read()
            was_idle = self.idle
            if not was_idle and self.final_wait > 0 and self.kind == "push":
                limit = f" at most {self.final_wait:g} s" if math.isfinite(self.final_wait) else ""
                self.log("warning", f"waiting{limit} for the last push; Ctrl-C ends the wait")
            self.send(do="finish")
            done = self.wait(max(self.final_wait, _PATIENCE_S) if was_idle else self.final_wait)
        except KeyboardInterrupt:
            pass
        if not (done or was_idle):
            self.log("warning", self.unfinished)
        self._end()

    def let_go(self) -> None:
        """Ends the worker without a wait; another one goes on with what is left."""
        with contextlib.suppress(ValueError):  # it could not be started again
            _open.remove(self)
        if self.alive:
            self._process.terminate()
        self._in.close()
        self._out.close()

    def _end(self) -> None:
        """The worker ends on its own when nothing is left to do."""
        try:
            if not self.idle:
                self._process.terminate()
            self._process.wait(_PATIENCE_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            with contextlib.suppress(ProcessLookupError, KeyboardInterrupt):
                os.killpg(self._process.pid, signal.SIGKILL)  # its programs are in its group
                self._process.wait()
        self._in.close()
        self.read()


_open: List[Link] = []


def rooms() -> List[str]:
    """Where the callbacks of this process hold checkpoints, whether or not their workers have begun."""
    return [link.settings["room"] for link in _open if link.kind == "push"]


@atexit.register
def _finish_all() -> None:
    """Pushes first: what they held is pruned afterwards."""
    links = sorted(_open, key=lambda one: one.kind == "prune")
    _open.clear()
    for link in links:
        link.finish()
