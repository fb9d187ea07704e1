# SPDX-License-Identifier: Apache-2.0
"""PEFT reads the adapter that lora-extract finds between two models, and base plus adapter give the tuned model."""
import json
import os
import pathlib
import subprocess

import numpy
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lora_models import CONFIGS, make_base

BIN = pathlib.Path(os.environ["BIN_DIR"])
TOKENS = torch.tensor([[1, 3, 5, 90, 7]])


def extract(base, tuned, out, *arguments):
    done = subprocess.run([BIN / "lora-extract", "--base", base, "--tuned", tuned, "-o", out, "--json", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def tune(base, path, rank, dtype, skip=("norm", "ln", "embed", "wte", "wpe", "lm_head", "bias")):
    """A copy of `base` with an update of that rank on every matrix but those named."""
    torch.manual_seed(5)
    tuned = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for name, parameter in tuned.named_parameters():
        if parameter.dim() == 2 and not any(part in name for part in skip):
            parameter.data += torch.randn(parameter.shape[0], rank) @ torch.randn(rank, parameter.shape[1]) * 0.02
        if parameter.dim() == 3:  # experts, which files keep apart and PEFT puts together again
            parameter.data += torch.randn(*parameter.shape[:2], rank) @ torch.randn(parameter.shape[0], rank, parameter.shape[2]) * 0.02
    tuned.to(dtype).save_pretrained(path)
    return tuned.float()


@pytest.mark.parametrize("kind", ["llama", "tied", "qwen2", "gpt2", "moe", "gpt_oss", "gpt_oss_square", "llama4", "llama4_square"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
def test_peft_reads_it_and_gives_the_tuned_models_logits(tmp_path, kind, dtype):
    make_base(kind, dtype, tmp_path / "base")
    tuned = tune(tmp_path / "base", tmp_path / "tuned", 3, dtype)
    report = extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", "--rank", "8", "--dtype", "f32")
    assert report["modules"] and not report["lost"]
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
    with torch.no_grad():
        before = (base(TOKENS).logits - tuned(TOKENS).logits).abs().max()
        peft = PeftModel.from_pretrained(base, tmp_path / "out")
        left = (peft(TOKENS).logits - tuned(TOKENS).logits).abs().max()
    assert left <= {torch.float32: 1e-4, torch.bfloat16: 0.3, torch.float16: 0.03}[dtype] * before


def test_errors_are_those_of_the_exact_decomposition(tmp_path):
    make_base("llama", torch.bfloat16, tmp_path / "base")
    tune(tmp_path / "base", tmp_path / "tuned", 20, torch.bfloat16)
    report = extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", "--rank", "6", "--dtype", "f32")
    old, new = (load_file(tmp_path / side / "model.safetensors") for side in ("base", "tuned"))
    for module in report["modules"]:
        name = module["name"] + ".weight"
        values = numpy.linalg.svd((new[name].double() - old[name].double()).numpy(), compute_uv=False)
        optimum = numpy.sqrt((values[6:] ** 2).sum() / (values**2).sum())
        assert optimum * (1 - 1e-6) <= module["error"] <= optimum * 1.0025
        assert module["values"][:6] == pytest.approx(values[:6], rel=1e-3)


@pytest.mark.parametrize("rank", [2, 5])
def test_auto_finds_the_rank_under_rounding(tmp_path, rank):
    make_base("llama", torch.bfloat16, tmp_path / "base")
    tune(tmp_path / "base", tmp_path / "tuned", rank, torch.bfloat16)
    report = extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", "--rank", "auto")
    assert {module["rank"] for module in report["modules"]} == {rank}


def test_embeddings_norms_and_biases_go_along(tmp_path):
    make_base("qwen2", torch.float32, tmp_path / "base")
    tuned = tune(tmp_path / "base", tmp_path / "tuned", 2, torch.float32, skip=())
    for name, parameter in tuned.named_parameters():
        if parameter.dim() == 1:
            parameter.data += 0.01 * torch.randn_like(parameter)
    tuned.save_pretrained(tmp_path / "tuned")
    for how in ("lora", "full"):
        report = extract(tmp_path / "base", tmp_path / "tuned", tmp_path / how, "--rank", "4", "--embeddings", how, "--bias", "all", "--full-modules", "*norm")
        assert not report["lost"]
        peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32), tmp_path / how)
        with torch.no_grad():
            assert torch.allclose(peft(TOKENS).logits, tuned(TOKENS).logits, atol=1e-4), how


def perturbed(base, path, seed, *parts):
    """A copy of `base` with an update of rank 2 on the parameters whose names contain one of `parts`."""
    torch.manual_seed(seed)
    tuned = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for name, parameter in tuned.named_parameters():
        if any(part in name for part in parts) and not name.endswith("bias"):
            parameter.data += torch.randn(*parameter.shape[:-1], 2) @ torch.randn(*parameter.shape[:-2], 2, parameter.shape[-1]) * 0.02
    tuned.save_pretrained(path)
    return tuned


def logits_with(base, adapter):
    with torch.no_grad():
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)(TOKENS).logits


@pytest.mark.parametrize("kind", ["gpt_oss", "llama4"])
@pytest.mark.parametrize("changed, arguments, parameters, lost", [
    (["layers.1.{mlp}.experts.down_proj"], [], ["{mlp}.experts.down_proj", "{mlp}.experts.gate_up_proj"], 0),
    (["experts.gate_up_proj", "experts.down_proj"], ["--exclude", "*.experts.gate_up_proj"], ["{mlp}.experts.down_proj"], 2),
    (["experts.gate_up_proj"], ["--exclude", "*.experts.down_proj"], ["{mlp}.experts.gate_up_proj"], 0),
    (["experts.gate_up_proj"], ["--exclude", "model.layers.0.*"], ["model.layers.1.{mlp}.experts.down_proj", "model.layers.1.{mlp}.experts.gate_up_proj"], 1),
    (["layers.0.{mlp}.router"], [], ["model.layers.0.{mlp}.router.weight"], 0),
], ids=["one-stack", "without-gate-up", "without-down", "one-layer", "one-router"])
def test_stacks_of_experts_that_changed_in_part(tmp_path, kind, changed, arguments, parameters, lost):
    mlp = {"gpt_oss": "mlp", "llama4": "feed_forward"}[kind]
    make_base(kind, torch.float32, tmp_path / "base")
    names = [name.format(mlp=mlp) for name in changed]
    perturbed(tmp_path / "base", tmp_path / "tuned", 4, *names)
    report = extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", "--rank", "3", "--dtype", "f32", *arguments)
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert config["target_parameters"] == [name.format(mlp=mlp) for name in parameters] and config["target_modules"] == []
    assert len(report["lost"]) == lost
    # What merging gives is the tuned model except for what was left out, and PEFT sees the same.
    subprocess.run([BIN / "st-pack", tmp_path / "base", "--adapter", tmp_path / "out", "-o", tmp_path / "merged"], check=True, capture_output=True)
    old, new, merged = (load_file(tmp_path / side / "model.safetensors") for side in ("base", "tuned", "merged"))
    for name, tensor in merged.items():
        expected = old if name in report["lost"] else new
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        assert torch.allclose(logits_with(tmp_path / "base", tmp_path / "out"), model(TOKENS).logits, atol=1e-5)


def test_parts_of_a_stack_make_the_same_bytes(tmp_path):
    make_base("gpt_oss", torch.float32, tmp_path / "base")
    perturbed(tmp_path / "base", tmp_path / "tuned", 4, "experts.", "q_proj")
    arguments = ["--rank", "3", "--kernel", "avx2"]
    extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "one", *arguments)
    for part in ("2/3", "1/3", "3/3"):
        subprocess.run([BIN / "lora-extract", "--base", tmp_path / "base", "--tuned", tmp_path / "tuned", "-o", tmp_path / "out", "--part", part, *arguments], check=True)
    extract(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", *arguments)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
