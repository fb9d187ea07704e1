# SPDX-License-Identifier: Apache-2.0
"""Compares what we and the libraries themselves put together from the files of DeepSpeed's and torch's ranks."""
import os
import pathlib
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

RUNS = pathlib.Path(__file__).with_name("rank_runs.py")
# Cases by the number of ranks that write them.
CASES = {
    1: ["zero-2-fp32", "zero-1-engine", "dcp-boxes"],
    2: ["zero-1-frozen", "zero-2-frozen", "zero-3-frozen", "zero-3-lora", "zero-3-tied", "zero-2-aligned", "dcp-pieces", "dcp-fsdp1"],
    3: ["zero-1-groups", "zero-3-groups", "zero-2-robin", "zero-3-fp32", "zero-2-universal", "zero-3-universal", "dcp-boxes", "dcp-fsdp2"],
    4: ["zero-2-tied", "zero-3-plain", "dcp-boxes", "dcp-hsdp", "dcp-tp", "dcp-ranks"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """made(world, case): the folder of a case. Cases of one kind are written together; torch's FSDP crashes beside DeepSpeed."""
    folders = {}

    def make(world, case):
        kind = case.split("-")[0]
        if (world, kind) not in folders:
            folder = folders[world, kind] = tmp_path_factory.mktemp(f"{kind}{world}")
            result = subprocess.run([sys.executable, RUNS, folder, str(world), *(c for c in CASES[world] if c.startswith(kind))], capture_output=True,
                                    text=True, timeout=600, env=os.environ | {"DS_BUILD_OPS": "0", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"})
            assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
        return folders[world, kind] / case

    return make


def same(a, b):
    bits = lambda t: t.contiguous().as_strided((t.numel(),), (1,)).view(torch.uint8)
    return a.dtype == b.dtype and a.shape == b.shape and (a.numel() == 0 or bits(a).equal(bits(b)))


@pytest.mark.parametrize("world, case", [(world, case) for world, cases in CASES.items() for case in cases if case.startswith("zero")])
def test_zero(made, tmp_path, run, world, case):
    source, expected = made(world, case), load_file(f"{made(world, case)}.safetensors")
    variant = case.split("-")[2]
    if variant == "lora":
        (source / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
        expected = {f"base_model.model.{k.replace('.default', '')}": v for k, v in expected.items() if "lora_" in k}
        run("st-pack", source, "-o", tmp_path / "out", "--from", "zero")
        got = load_file(tmp_path / "out" / "adapter_model.safetensors")
        run("lora-extract", source, "-o", tmp_path / "adapter")
        assert (tmp_path / "adapter" / "adapter_model.safetensors").read_bytes() == (tmp_path / "out" / "adapter_model.safetensors").read_bytes()
    else:
        run("st-pack", source / "universal" if variant == "universal" else source, "-o", tmp_path / "out.safetensors", "--verify")
        got = load_file(tmp_path / "out.safetensors")
    if variant == "engine":
        assert expected.keys() <= got.keys()
        got = {name: got[name] for name in expected}
    if case != "zero-1-frozen":  # whose frozen weights zero_to_fp32 drops
        assert got.keys() == expected.keys()  # both names of a tied tensor: without a config nothing says that loaders tie them
    # zero_to_fp32 casts frozen weights and buffers; we keep what is stored.
    for name in got.keys() & expected.keys():
        assert same(got[name].float(), expected[name].float()), name
    trained = [name for name in got if got[name].dtype == torch.float32]
    assert trained and all(same(got[name], expected[name].reshape(got[name].shape)) for name in trained)


def test_frozen_weights_of_stage_1_are_kept(made, tmp_path, run):
    run("st-pack", made(2, "zero-1-frozen"), "-o", tmp_path / "one.safetensors")
    run("st-pack", made(2, "zero-2-frozen"), "-o", tmp_path / "two.safetensors")
    one, two = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two.safetensors")
    assert one.keys() == two.keys()
    assert same(one["up.weight"], two["up.weight"]) and one["up.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize("world, case", [(2, "zero-2-frozen"), (4, "zero-2-tied"), (3, "zero-1-groups"), (3, "zero-2-robin")])
def test_the_16_bit_copy_is_the_masters_rounded(made, tmp_path, run, world, case):
    run("st-pack", made(world, case), "-o", tmp_path / "out.safetensors", "--dtype", "bf16")
    for name, tensor in load_file(tmp_path / "out.safetensors").items():
        expected = load_file(f"{made(world, case)}.safetensors")[name]
        assert same(tensor, expected.bfloat16() if tensor.is_floating_point() else tensor), name


@pytest.mark.parametrize("world, case", [(world, case) for world, cases in CASES.items() for case in cases if case.startswith("dcp")])
def test_distributed_checkpoints(made, tmp_path, run, world, case):
    run("st-pack", made(world, case), "-o", tmp_path / "out.safetensors", "--from", "dcp", "--verify")
    got, expected = load_file(tmp_path / "out.safetensors"), load_file(f"{made(world, case)}.safetensors")
    assert got.keys() == expected.keys()
    assert all(same(got[name], expected[name]) for name in got)


@pytest.mark.parametrize("name", ["zero2-run", "zero3-run", "fsdp-run"])
def test_shipped_runs_load_from_pretrained(tmp_path, run, fixtures, name):
    run("st-pack", fixtures / name / "checkpoint-1", "-o", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    reference = fixtures / name / "reference.safetensors"
    expected = load_file(reference if reference.exists() else fixtures / "zero3-run" / "reference.safetensors")
    state = model.state_dict()
    assert all(same(state[k], v) for k, v in expected.items())
