# SPDX-License-Identifier: Apache-2.0
"""Starts training runs (trainer_runs.py), watches their processes, and waits for what they do."""
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

from conftest import BIN_DIR

HERE = pathlib.Path(__file__).resolve().parent
PYTHON = pathlib.Path(os.environ.get("PYTHON_PACKAGE", HERE.parents[1] / "tools/python"))
PATIENCE = 120  # seconds until something that must happen counts as missing, on a busy machine
GONE = 10  # seconds that children may outlive their trainer


def until(condition, seconds=PATIENCE, what="it did not happen"):
    """What the condition gives once that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, what() if callable(what) else what
        select.select([], [], [], 0.01)
    return found


def command(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def descendants(pid):
    """Ids of the processes below this one."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        try:
            children = (task / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            found += [int(child), *descendants(int(child))]
    return found


class Run:
    """One training run and its folder: `run` in it is output_dir."""

    def __init__(self, place, request):
        self.place, self.request = place, request

    @property
    def pid(self):
        return int(until(lambda: (self.place / "pid").exists() and (self.place / "pid").read_text().strip(), what="the run did not start"))

    @property
    def log(self):
        log = self.place / "log"
        return log.read_text() if log.exists() else ""

    @property
    def checkpoints(self):
        """Their steps."""
        return sorted(int(name.split("-")[1]) for name in os.listdir(self.place / "run") if name.startswith("checkpoint-"))

    @property
    def saves(self):
        return json.loads((self.place / "saves.json").read_text())

    @property
    def result(self):
        return json.loads((self.place / "result.json").read_text())

    def exit(self):
        """The exit status; negative for a signal."""
        until((self.place / "exit").exists, what=lambda: f"the run did not end:\n{self.log}")
        return int((self.place / "exit").read_text())

    def finish(self):
        assert self.exit() == 0, self.log
        return self

    def paused(self, step):
        until(lambda: (self.place / f"paused-{step}").exists() or (self.place / "exit").exists(), what=lambda: f"step {step} did not come:\n{self.log}")
        assert (self.place / f"paused-{step}").exists(), self.log
        return self

    def go_on(self):
        with open(self.place / "go-on", "w") as fifo:
            fifo.write("\n")

    def workers(self):
        """Our processes below the trainer."""
        return [pid for pid in descendants(self.pid) if "model_coreutils" in command(pid) or command(pid).startswith(str(BIN_DIR))]

    def kill(self, number):
        os.kill(self.pid, number)
        return self.exit()

    def end(self):
        if not (self.place / "exit").exists():
            for pid in [self.pid, *descendants(self.pid)]:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)
            self.exit()


class Trainers:
    """A process that has the libraries imported, and the runs it was asked for."""

    def __init__(self):
        # Tests that import the makers of tables leave transformers silent.
        environment = {**os.environ, "TRANSFORMERS_VERBOSITY": "warning", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "0"}
        # A shell that runs the tests in the background has them ignore Ctrl-C.
        trainer = ["env", "--default-signal=INT", sys.executable, HERE / "trainer_runs.py", "--serve"]
        self.process = subprocess.Popen(trainer, stdin=subprocess.PIPE, text=True, env=environment)
        self.runs = []

    def start(self, place, hub=None, environment={}, **request):
        """A run in the folder `place`, which may hold an earlier one; members of the request as trainer_runs.py knows them."""
        place.mkdir(exist_ok=True)
        for name in ("exit", "pid", "saves.json", "result.json"):
            (place / name).unlink(missing_ok=True)
        if not (place / "go-on").exists():
            os.mkfifo(place / "go-on")
        own = {"HOME": str(place), "PATH": f"{BIN_DIR}:{os.environ['PATH']}", "PYTHONPATH": str(PYTHON), "OMP_NUM_THREADS": "1", "no_proxy": "127.0.0.1",
               "TOKENIZERS_PARALLELISM": "false", "HF_HOME": str(place / "hf"), "LANG": "C.UTF-8"}
        if hub:
            own |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_testwrite"}
        request |= {"place": str(place), "path": [str(PYTHON), str(HERE)], "environment": {**own, **environment}}
        (place / "request.json").write_text(json.dumps(request))
        self.process.stdin.write(f"{place / 'request.json'}\n")
        self.process.stdin.flush()
        run = Run(place, request)
        self.runs.append(run)
        return run

    def stop(self):
        for run in self.runs:
            run.end()
        self.process.stdin.close()
        self.process.wait(PATIENCE)
