# SPDX-License-Identifier: Apache-2.0
"""Shares of ranks, written by DeepSpeed and torch, made whole by us and by the libraries themselves."""
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

RUNS = pathlib.Path(__file__).with_name("sharded_runs.py")


def make(kind, out, *arguments):
    out.mkdir()
    result = subprocess.run([sys.executable, RUNS, kind, out, *map(str, arguments)], capture_output=True, text=True, timeout=300,
                            env=os.environ | {"DS_BUILD_OPS": "0", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"})
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return load_file(out / "expected.safetensors")


def same(a, b):
    bits = lambda t: t.contiguous().as_strided((t.numel(),), (1,)).view(torch.uint8)
    return a.dtype == b.dtype and a.shape == b.shape and (a.numel() == 0 or bits(a).equal(bits(b)))


@pytest.mark.parametrize("world, stage, variant", [(3, 1, "groups"), (4, 2, "tied"), (1, 2, "fp32"), (3, 3, "groups"), (2, 3, "frozen"), (2, 2, "frozen")])
def test_zero(tmp_path, run, world, stage, variant):
    expected = make("zero", tmp_path / "run", world, stage, variant)
    run("st-pack", tmp_path / "run", "-o", tmp_path / "out.safetensors", "--from", "zero", "--verify")
    got = load_file(tmp_path / "out.safetensors")
    if variant == "tied":
        kept = {"embed.weight", "head.weight"} - (set(expected) - set(got))
        assert len(kept) == 1 and set(expected) - set(got) <= {"embed.weight", "head.weight"}
    else:
        assert set(got) == set(expected)
    # zero_to_fp32 casts frozen weights and buffers; we keep what is stored.
    for name, tensor in got.items():
        assert same(tensor.float(), expected[name].float()), name
    assert all(same(got[name], expected[name]) for name in got if expected[name].dtype == torch.float32 and got[name].dtype == torch.float32)


def test_lora_under_zero_is_an_adapter(tmp_path, run):
    expected = make("zero", tmp_path / "run", 2, 3, "lora")
    (tmp_path / "run" / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 2}')
    run("st-pack", tmp_path / "run", "-o", tmp_path / "out", "--from", "zero")
    got = load_file(tmp_path / "out" / "adapter_model.safetensors")
    lora = {f"base_model.model.{k.replace('.default', '')}": v for k, v in expected.items() if "lora_" in k}
    assert set(got) == set(lora) and all(same(got[k], lora[k]) for k in lora)


@pytest.mark.parametrize("world", [1, 3, 4])
def test_distributed_checkpoints(tmp_path, run, world):
    expected = make("dcp", tmp_path / "run", world)
    run("st-pack", tmp_path / "run", "-o", tmp_path / "out.safetensors", "--from", "dcp", "--verify")
    got = load_file(tmp_path / "out.safetensors")
    assert set(got) == set(expected)
    assert all(same(got[name], expected[name]) for name in got)


@pytest.mark.parametrize("name", ["zero2-run", "zero3-run", "fsdp-run"])
def test_shipped_runs_load_from_pretrained(tmp_path, run, fixtures, name):
    if not (fixtures / name).exists():
        pytest.skip("not shipped")
    run("st-pack", fixtures / name / "checkpoint-1", "-o", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    expected = load_file(fixtures / name / "reference.safetensors") if (fixtures / name / "reference.safetensors").exists() else load_file(fixtures / "zero3-run" / "reference.safetensors")
    state = model.state_dict()
    assert all(same(state[k], v) for k, v in expected.items())
