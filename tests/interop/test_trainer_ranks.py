# SPDX-License-Identifier: Apache-2.0
"""Our callbacks in trainings of several processes (gloo on the CPU), started as torchrun starts them and by torchrun itself."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from test_trainer_ends import SHORT, gone, pushing, weights_there
from trainer_fixture import HERE, alive, command, descendants, until


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start(trainers, folder, hub=None, nodes=1, **request):
    """Two processes, on one node or each on its own with a disk of its own."""
    port, runs = str(free_port()), []
    for rank in (0, 1):
        place = folder / f"rank-{rank}"
        place.mkdir(parents=True, exist_ok=True)
        run_folder = folder / f"node-{rank if nodes == 2 else 0}"
        run_folder.mkdir(exist_ok=True)
        if not (place / "run").is_symlink():
            (place / "run").symlink_to(run_folder)
        environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "RANK": str(rank), "GLOO_SOCKET_IFNAME": "lo",
                       "LOCAL_WORLD_SIZE": str(2 // nodes), "LOCAL_RANK": "0" if nodes == 2 else str(rank)}
        runs.append(trainers.start(place, hub, environment=environment, **request))
    return runs


def test_only_rank_0_has_workers(trainers, hub, tmp_path):
    options = dict(prune=dict(keep=2), push=dict(repo="ada/tiny"), arguments=SHORT)
    hub.fault("storage-put", "stall", times=-1)
    runs = start(trainers, tmp_path, hub, pause=[30], **options)
    runs[0].paused(30)
    workers = pushing(runs[0])
    assert not runs[1].workers()
    for run in runs:
        os.kill(run.pid, signal.SIGKILL)
    gone(workers)
    assert [run.exit() for run in runs] == [-signal.SIGKILL] * 2
    hub.admin("DELETE", "fault")
    runs = start(trainers, tmp_path, hub, resume=True, **options)
    for run in runs:
        run.finish()
    assert runs[0].result["begin"] == 30 and runs[0].checkpoints == [50, 60]
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(os.listdir(tmp_path / "node-0/checkpoint-60"))
    assert weights_there(hub, runs[0], 60)


@pytest.mark.full
def test_each_node_prunes_its_own(trainers, hub, tmp_path):
    """The first node has the model and pushes it. The Trainer saves no weights on the others."""
    runs = start(trainers, tmp_path, hub, nodes=2, pause=[30], prune=dict(keep=2), push=dict(repo="ada/tiny"), arguments={**SHORT, "save_on_each_node": True})
    runs[0].paused(30)
    until(lambda: all(run.workers() for run in runs), what="a node has no worker")
    assert [sum("push" in command(pid).split()[-1] for pid in run.workers()) for run in runs] == [1, 0]
    runs[0].go_on()
    assert [run.finish().checkpoints for run in runs] == [[50, 60]] * 2
    assert weights_there(hub, runs[0], 60)


@pytest.mark.full
def test_torchrun(hub, trainers, tmp_path):
    """The same by torchrun; SIGTERM to it reaches the ranks."""
    place = tmp_path / "place"
    place.mkdir()
    request = dict(place=str(place), path=[str(HERE)], prune=dict(keep=2), push=dict(repo="ada/tiny"), pause=[30], arguments=SHORT)
    os.mkfifo(place / "go-on")
    (place / "request.json").write_text(json.dumps(request))
    prepared = trainers.start(tmp_path / "unused", hub, arguments=dict(max_steps=1)).request["environment"]
    torchrun = [pathlib.Path(sys.executable).parent / "torchrun", "--nproc-per-node=2", f"--master-port={free_port()}", HERE / "trainer_runs.py", place / "request.json"]
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("HF_")}, **prepared}
    hub.fault("storage-put", "stall", times=-1)
    process = subprocess.Popen(torchrun, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=(place / "log").open("w"))
    until((place / "paused-30").exists, what=lambda: (place / "log").read_text())
    workers = until(lambda: (pids := [pid for pid in descendants(process.pid) if "model_coreutils" in command(pid)]) and len(pids) == 2 and pids)
    process.terminate()
    process.wait(60)
    gone(workers)
    hub.admin("DELETE", "fault")
    request |= dict(pause=[], resume=True)
    (place / "request.json").write_text(json.dumps(request))
    subprocess.run(torchrun, cwd=place, env=environment, check=True, timeout=300, capture_output=True)
    result = json.loads((place / "result.json").read_text())
    assert result["begin"] == 30 and result["step"] == 60
    assert sorted(os.listdir(place / "run")) == ["checkpoint-50", "checkpoint-60"]
    assert not any(map(alive, workers))
