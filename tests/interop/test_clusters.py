# SPDX-License-Identifier: Apache-2.0
"""The scripts of modelutils(7), CLUSTERS, run under the engines they are written for: GNU parallel, Open MPI, a one-node Slurm
that is set up here, and what the pods of a Kubernetes job would run. Each must produce the bytes of a single run."""
import filecmp
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest
from conftest import BIN_DIR, FIXTURES

PAGE = pathlib.Path(__file__).resolve().parents[2] / "man/modelutils.7"
MANY = "--max-shard-size 20KB"  # in place of 2GB: the checkpoint is small and should have shards


def script(name):
    """A script of the man page, as a reader would copy it."""
    found = re.search(rf'^\.\\" script {name}\n\.nf\n(.*?)^\.fi', PAGE.read_text(), re.DOTALL | re.MULTILINE)
    text = found.group(1).replace("\\-", "-").replace("\\e", "\\")
    assert "--max-shard-size 2GB" in text
    return text.replace("--max-shard-size 2GB", MANY)


def need(*programs):
    missing = [program for program in programs if not shutil.which(program)]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture
def place(tmp_path):
    """A folder with the checkpoint and a single run's output; `start` runs a script of the man page there."""

    class Place:
        path = tmp_path
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_", "PMI", "PARALLEL"))}

        def start(self, name):
            (tmp_path / name).write_text(script(name))
            result = subprocess.run(["sh", name], cwd=tmp_path, env=self.environment, capture_output=True, text=True, timeout=120)
            assert result.returncode == 0, result.stderr
            return result

        def check(self):
            names = sorted(os.listdir(tmp_path / "one"))
            assert sum(name.endswith(".safetensors") for name in names) >= 4
            assert sorted(os.listdir(tmp_path / "model")) == names
            assert filecmp.cmpfiles(tmp_path / "one", tmp_path / "model", names, shallow=False) == (names, [], [])
            assert not [name for name in os.listdir(tmp_path) if ".parts" in name or ".mu-" in name]

    shutil.copytree(FIXTURES / "full-run/checkpoint-40", tmp_path / "checkpoint-500")
    Place.environment["PATH"] = f"{BIN_DIR}:{os.environ['PATH']}"
    subprocess.run([BIN_DIR / "st-pack", "checkpoint-500", "-o", "one", *MANY.split()], cwd=tmp_path, check=True)
    return Place()


def test_parallel(place):
    need("parallel")
    (place.path / "nodes").write_text("2/:\n")  # this machine, without ssh
    result = place.start("parallel")
    assert [f"part {i}/4 of model" in result.stderr for i in (1, 2, 3, 4)] == [True] * 4
    assert "shards of" in result.stderr
    place.check()


def test_mpirun(place):
    need("mpirun")
    (place.path / "hosts").write_text("localhost slots=4\n")
    place.environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    result = place.start("mpirun")
    assert [f"part {i}/4 of model" in result.stderr for i in (1, 2, 3, 4)] == [True] * 4
    place.check()


# A stand-in for the cluster: the pods of an indexed job, one after the other and the last first.
KUBECTL = """#!{python}
import os, subprocess, sys, yaml
if sys.argv[1] == "apply":
    job = yaml.safe_load(sys.stdin)
    spec = job["spec"]
    assert job["apiVersion"] == "batch/v1" and spec["completionMode"] == "Indexed"
    (container,) = spec["template"]["spec"]["containers"]
    for index in reversed(range(spec["completions"])):
        subprocess.run(container["command"], env=os.environ | dict(JOB_COMPLETION_INDEX=str(index)), check=True)
else:
    assert sys.argv[1:4] == ["wait", "--for=condition=complete", "--timeout=24h"] and sys.argv[4] in ("job/pack", "job/finish")
"""


def test_kubernetes(place):
    pytest.importorskip("yaml")
    (place.path / "bin").mkdir()
    kubectl = place.path / "bin/kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable))
    kubectl.chmod(0o755)
    place.environment["PATH"] = f"{kubectl.parent}:{place.environment['PATH']}"
    result = place.start("kubernetes")
    assert [f"part {i}/4 of model" in result.stderr for i in (1, 2, 3, 4)] == [True] * 4
    shutil.rmtree(kubectl.parent)
    place.check()


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


CONFIGURATION = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


@pytest.fixture(scope="module")
def slurm():
    """A Slurm with only this machine, in its own folder; it ends with the tests."""
    need("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo")
    if os.geteuid() != 0:
        pytest.skip("a Slurm can only be set up as root")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons = []
    try:
        folder.chmod(0o755)  # the socket must be reachable
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(secrets.token_bytes(1024))
        (folder / "munge.key").chmod(0o400)
        host = socket.gethostname().split(".")[0]
        (folder / "slurm.conf").write_text(
            CONFIGURATION.format(folder=folder, host=host, controller=free_port(), daemon=free_port(), cpus=os.cpu_count()))
        environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        munge = [f"--{what}={folder}/munge.{suffix}" for what, suffix in
                 (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))]
        for command in (["munged", "--foreground", "--force", *munge], ["slurmctld", "-D"], ["slurmd", "-D"]):
            with open(folder / f"{command[0]}.out", "w") as log:
                daemons.append(subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
            until(lambda c=command: c[0] != "munged" or (folder / "munge.socket").exists(), folder)
        until(lambda: subprocess.run(["sinfo", "-ho", "%T"], env=environment, capture_output=True, text=True).stdout.strip() == "idle", folder)
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def until(condition, logs=None, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            text = "".join(path.read_text() for path in sorted(logs.glob("*.out"))) if logs else ""
            pytest.fail(f"nothing came of it in {seconds} s\n{text[-2000:]}")
        time.sleep(0.1)  # no engine reports by itself when it is ready


def queue_is_empty(environment):
    queue = subprocess.run(["squeue", "-h"], env=environment, capture_output=True, text=True, check=True)
    return queue.stdout == ""


def outputs(place):
    return "".join(path.read_text() for path in sorted(place.path.glob("slurm-*.out")))


def test_slurm_array_and_the_job_that_finishes(place, slurm):
    place.environment["SLURM_CONF"] = slurm["SLURM_CONF"]
    place.start("slurm-array")
    until(lambda: queue_is_empty(slurm))
    assert [f"part {i}/4 of model" in outputs(place) for i in (1, 2, 3, 4)] == [True] * 4, outputs(place)
    assert "taken from parts" in outputs(place)
    for path in place.path.glob("slurm-*.out"):
        path.unlink()
    place.check()


def test_srun_within_one_job(place, slurm):
    place.environment["SLURM_CONF"] = slurm["SLURM_CONF"]
    if os.cpu_count() < 2:
        pytest.skip("two tasks need two processors")
    (place.path / "srun").write_text(script("srun"))
    subprocess.run(["sbatch", "--wait", "srun"], cwd=place.path, env=place.environment, check=True, timeout=120)
    assert [f"part {i}/2 of model" in outputs(place) for i in (1, 2)] == [True] * 2, outputs(place)
    place.check()
