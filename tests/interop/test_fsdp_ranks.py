# SPDX-License-Identifier: Apache-2.0
"""Compares what we put together from the pickles of FSDP's ranks with what torch itself gathers from the running ranks."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from test_ranks import same

RUNS = pathlib.Path(__file__).with_name("fsdp_runs.py")
# Cases by the number of ranks that write them.
WHOLE = {
    2: ["fsdp2", "dim1", "boxes", "fsdp1", "fsdp1mesh", "accelerate", "torch26", "torch28", "torch210"],
    3: ["fsdp2", "dim1", "boxes", "fsdp1", "torch26"],
    4: ["fsdp2", "hsdp", "tp", "boxes", "fsdp1", "accelerate", "tp26", "tp210"],
    8: ["fsdp2", "hsdp", "tp", "hsdptp", "boxes"],
}
ADAPTERS = [(2, "lora"), (8, "lora")]
REFUSED = [(2, "partial"), (2, "stages"), (2, "experts")]
EACH = [(world, case) for world, cases in WHOLE.items() for case in cases]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(world, case): the folder of a case, one of all that were written together."""
    out = tmp_path_factory.mktemp("fsdp")
    jobs = [f"{world}:" + ",".join(cases + [case for other, case in ADAPTERS + REFUSED if other == world]) for world, cases in WHOLE.items()]
    result = subprocess.run([sys.executable, RUNS, out, *jobs], capture_output=True, text=True, timeout=600, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return lambda world, case: out / f"{world}-{case}"


def expected_of(folder):
    return load_file(f"{folder}.safetensors")


def check_same(got, expected):
    assert got.keys() == expected.keys()
    for name in expected:
        assert same(got[name], expected[name]), name


@pytest.mark.parametrize("world, case", EACH)
def test_packed_equals_full_tensor(made, tmp_path, run, world, case):
    folder = made(world, case)
    run("st-pack", folder, "-o", tmp_path / "out.safetensors", "--verify")
    check_same(load_file(tmp_path / "out.safetensors"), expected_of(folder))
    names = run("st-inspect", "--names", folder).stdout.decode().splitlines()
    assert names == json.loads(pathlib.Path(f"{folder}.json").read_text())


@pytest.mark.parametrize("world, case", EACH + ADAPTERS)
def test_each_rank_is_sound_and_harmless(made, run, world, case):
    for file in sorted(made(world, case).glob("*_rank*")):
        result = run("st-inspect", "--check", file)
        assert b"unknown" not in result.stdout and b"dangerous" not in result.stdout


@pytest.mark.parametrize("world, case", [(3, "fsdp2"), (8, "hsdptp")])
def test_parts_and_casts(made, tmp_path, run, world, case):
    folder, options = made(world, case), ("--max-shard-size", "100", "--dtype", "f32")
    run("st-pack", folder, "-o", tmp_path / "one", *options)
    for part in ("2/2", "1/2"):
        run("st-pack", folder, "-o", tmp_path / "parts", *options, "--part", part)
    run("st-pack", folder, "-o", tmp_path / "parts", *options)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len([name for name in files if name.endswith(".safetensors")]) > 2
    assert files == sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes() for name in files)
    got = {}
    for path in (tmp_path / "one").glob("*.safetensors"):
        got |= load_file(path)
    check_same(got, {k: v.float() if v.is_floating_point() else v for k, v in expected_of(folder).items()})


@pytest.mark.parametrize("world, case", ADAPTERS)
def test_adapters_are_those_that_peft_saves(made, tmp_path, run, world, case):
    folder = made(world, case)
    reference = pathlib.Path(f"{folder}.peft")
    run("lora-extract", folder, "-o", tmp_path / "alpha", "--alpha", "6")
    check_same(load_file(tmp_path / "alpha" / "adapter_model.safetensors"), load_file(reference / "adapter_model.safetensors"))
    assert json.loads((tmp_path / "alpha" / "adapter_config.json").read_text())["lora_alpha"] == 6
    assert b"--alpha" in run("st-pack", folder, "-o", tmp_path / "without", code=4).stderr  # alpha is nowhere
    beside = shutil.copytree(folder, tmp_path / "beside")
    shutil.copy(reference / "adapter_config.json", beside)
    run("st-pack", beside, "-o", tmp_path / "packed")
    check_same(load_file(tmp_path / "packed" / "adapter_model.safetensors"), load_file(reference / "adapter_model.safetensors"))


def test_ranks_that_do_not_belong_together_are_refused(made, tmp_path, run):
    def refused(folder, *words):
        result = run("st-pack", folder, "-o", tmp_path / "out.safetensors", code=4)
        assert all(word in result.stderr.decode() for word in words), result.stderr.decode()
        assert run("st-inspect", folder, code=4)

    def copy_of(case, name):
        return shutil.copytree(made(2, case), tmp_path / name)

    first, second = "model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"
    torn = copy_of("fsdp2", "torn")
    (torn / second).unlink()
    refused(torn, "rank 1")
    swapped = copy_of("fsdp2", "swapped")
    (swapped / first).rename(swapped / "aside")
    (swapped / second).rename(swapped / first)
    (swapped / "aside").rename(swapped / second)
    refused(swapped, first)
    other = copy_of("fsdp2", "other")  # of a run that cuts along columns
    shutil.copy(made(2, "dim1") / second, other)
    refused(other, second)
    refused(made(2, "partial"), "summed", "Partial")
    refused(made(2, "stages"), "layers.1.weight", "pipeline")
    assert b"expert parallelism" in run("st-pack", made(2, "experts"), "-o", tmp_path / "out.safetensors", code=4).stderr
    run("st-pack", made(2, "fsdp2") / second, "-o", tmp_path / "out.safetensors", code=4)
    assert not (tmp_path / "out.safetensors").exists()
