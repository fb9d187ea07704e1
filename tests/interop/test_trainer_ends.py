# SPDX-License-Identifier: Apache-2.0
"""How training with our callbacks ends: by a signal, with a Hub that hangs, with a worker that is gone, on a full disk. Nothing of ours outlives
the trainer, nothing raises into it, and the next run goes on."""
import hashlib
import os
import re
import select
import signal
import subprocess

import pytest

from trainer_fixture import GONE, alive, command, until

SHORT = dict(max_steps=60, eval_strategy="no", metric_for_best_model=None)

full = pytest.mark.full


@pytest.fixture
def hanging(hub):
    hub.fault("storage-put", "stall", times=-1)
    yield hub
    hub.admin("DELETE", "fault")  # else the connections that hang would hold it


def pushed(hub):
    """Whether the Hub has a commit by now, beside the one that a new repository begins with."""
    try:
        return len(hub.repo("ada/tiny")["revisions"]["main"]["commits"]) > 1
    except OSError:
        return False


def weights_there(hub, run, step):
    """Whether the Hub has the weights of this checkpoint."""
    digest = hashlib.sha256((run.place / f"run/checkpoint-{step}/model.safetensors").read_bytes()).hexdigest()
    return pushed(hub) and hub.files("ada/tiny").get("model.safetensors") == digest


def ours_in(run):
    """What we have in the run folder."""
    return [name for name in os.listdir(run.place / "run") if name.startswith(".")]


def pushing(run):
    """The processes of ours once hub-push is at work."""
    return until(lambda: (found := run.workers()) and any("hub-push" in command(pid).split(" ")[0] for pid in found) and found,
                 what=lambda: f"nothing is pushed:\n{run.log}")


def gone(pids, seconds=GONE):
    until(lambda: not any(map(alive, pids)), seconds, "processes of ours outlive the trainer")


@pytest.mark.parametrize("number, final_wait", [(signal.SIGKILL, 600), pytest.param(signal.SIGTERM, 600, marks=full), (signal.SIGINT, 1)])
def test_a_trainer_that_dies(trainers, hanging, tmp_path, number, final_wait):
    def start(final_wait=600, **more):
        push = dict(repo="ada/tiny", final_wait=final_wait)
        return trainers.start(tmp_path / "place", hanging, prune=dict(keep=2), push=push, arguments=SHORT, **more)

    run = start(final_wait, pause=[30]).paused(30)
    workers = pushing(run)
    assert run.kill(number) == -number
    gone(workers)
    hanging.admin("DELETE", "fault")
    run = start(resume=True).finish()
    assert run.result["begin"] == 30 and run.checkpoints == [50, 60]
    assert weights_there(hanging, run, 60) and not ours_in(run)


@full
def test_a_second_interrupt(trainers, hanging, tmp_path):
    """Whoever presses Ctrl-C again does not want to wait for the push."""
    run = trainers.start(tmp_path / "place", hanging, pause=[30], push=dict(repo="ada/tiny", final_wait=600), arguments=SHORT).paused(30)
    workers = pushing(run)
    os.kill(run.pid, signal.SIGINT)
    until(lambda: "KeyboardInterrupt" in run.log, what="the first one does nothing")

    def again():
        if alive(run.pid):
            os.kill(run.pid, signal.SIGINT)
            select.select([], [], [], 0.5)
        return (run.place / "exit").exists()

    until(again, what=lambda: f"it still waits:\n{run.log}")
    gone(workers)
    assert command_in(run)


def test_descriptors_in_other_hands(trainers, hanging, tmp_path):
    """A process that was forked from the trainer keeps its pipes open, and ours end all the same."""
    run = trainers.start(tmp_path / "place", hanging, fork={5: True}, pause=[30], prune=dict(keep=2), push=dict(repo="ada/tiny"), arguments=SHORT).paused(30)
    workers = [pid for pid in pushing(run)]
    forked = int((run.place / "forked").read_text())
    try:
        run.kill(signal.SIGKILL)
        gone([pid for pid in workers if pid != forked])
        assert alive(forked)
    finally:
        os.kill(forked, signal.SIGKILL)


def command_in(run):
    """The command that finishes the push, out of the warning that names it."""
    found = re.findall(r"This finishes the push: (.*)", run.log)
    assert len(found) == 1, run.log
    return found[0]


@pytest.mark.parametrize("final_wait", [0, pytest.param(1, marks=full)])
def test_a_hub_that_hangs_at_the_end(trainers, hanging, tmp_path, final_wait):
    run = trainers.start(tmp_path / "place", hanging, pause=[60], push=dict(repo="ada/tiny", final_wait=final_wait), arguments=SHORT).paused(60)
    workers = pushing(run)
    run.go_on()
    run.finish()
    gone(workers)
    assert not pushed(hanging)
    line = command_in(run)
    hanging.admin("DELETE", "fault")
    subprocess.run(line, shell=True, cwd="/", env=run.request["environment"], check=True, capture_output=True, timeout=120)
    assert weights_there(hanging, run, 60)


@full
def test_the_interpreter_waits_for_the_push(trainers, hub, tmp_path):
    """With a Hub that answers, what is queued at the end arrives while the interpreter waits."""
    run = trainers.start(tmp_path / "place", hub, push=dict(repo="ada/tiny", final_wait=100), arguments=SHORT).finish()
    assert weights_there(hub, run, 60) and not ours_in(run) and "finishes the push" not in run.log


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_workers_that_are_stopped_or_killed(trainers, hub, tmp_path, number):
    """Training goes on to its end. Workers that are gone are started again."""
    final_wait = 0 if number == signal.SIGSTOP else 600
    push = dict(repo="ada/tiny", final_wait=final_wait)
    run = trainers.start(tmp_path / "place", hub, pause=[10], prune=dict(keep=2), push=push, arguments={**SHORT, "max_steps": 300}).paused(10)
    workers = run.workers()
    for pid in workers:
        os.kill(pid, number)
    run.go_on()
    until(lambda: (run.place / "result.json").exists() or (run.place / "exit").exists(), what=lambda: f"the training stops:\n{run.log}")
    assert (run.place / "result.json").exists(), run.log
    for pid in filter(alive, workers):
        os.kill(pid, signal.SIGCONT)
    assert run.exit() == 0 and "Traceback" not in run.log
    gone(workers)
    assert number == signal.SIGSTOP or (run.checkpoints == [290, 300] and weights_there(hub, run, 300))


@pytest.mark.parametrize("patch", ["full_disk", pytest.param("read_only", marks=full), pytest.param("no_links", marks=full)])
def test_disks(trainers, hub, tmp_path, patch):
    """Without room or permission for what we keep in the run, training goes on, and the log says so once."""
    run = trainers.start(tmp_path / "place", hub, patch=patch, prune=dict(keep=2), push=dict(repo="ada/tiny", final_wait=60), arguments=SHORT).finish()
    assert "Traceback" not in run.log and run.checkpoints == [50, 60]
    reasons = {"read_only": "Read-only file system", "full_disk": "No space left on device", "no_links": "Operation not permitted"}
    assert len(re.findall(reasons[patch], run.log)) == (0 if patch == "no_links" else 1), run.log
    assert patch != "no_links" or weights_there(hub, run, 60)


def test_a_save_waits_for_nothing(trainers, hanging, tmp_path):
    run = trainers.start(tmp_path / "place", hanging, patch="no_waiting", prune=dict(keep=2), push=dict(repo="ada/tiny", final_wait=0), arguments=SHORT).finish()
    assert "WAITED" not in run.log


@full
def test_a_checkpoint_on_sigterm(trainers, hub, tmp_path):
    """With enable_jit_checkpoint the Trainer saves when SIGTERM comes, and ends by itself. There is no on_save then."""
    arguments = {**SHORT, "max_steps": 1_000_000, "save_steps": 30, "logging_steps": 1000, "enable_jit_checkpoint": True}
    run = trainers.start(tmp_path / "place", hub, pause=[30], prune=dict(keep=1), push=dict(repo="ada/tiny", every=1_000_000), arguments=arguments).paused(30)
    os.kill(run.pid, signal.SIGTERM)
    run.go_on()
    step = run.finish().result["step"]
    (last,) = run.checkpoints
    assert 30 < step - 1 <= last <= step and weights_there(hub, run, last)


@full
def test_two_trainings_with_one_callback(trainers, hub, tmp_path):
    """train() twice in one interpreter, as in a notebook."""
    run = trainers.start(tmp_path / "place", hub, prune=dict(keep=2), push=dict(repo="ada/tiny"), twice=90, arguments=SHORT).finish()
    assert run.checkpoints == [80, 90] and weights_there(hub, run, 90)
