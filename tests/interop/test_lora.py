# SPDX-License-Identifier: Apache-2.0
"""Compares lora-extract, from full state dicts, with PeftModel.save_pretrained, for every kind of LoRA adapter."""
import copy
import json
import os
import pathlib
import shutil
import subprocess

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lora_models import ADAPTERS, make_adapter, make_base, randomize

BIN = pathlib.Path(os.environ["BIN_DIR"])


def extract(*arguments, code=0):
    done = subprocess.run([BIN / "lora-extract", *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr


def same_tensors(ours, theirs):
    mine, want = load_file(ours / "adapter_model.safetensors"), load_file(theirs / "adapter_model.safetensors")
    assert set(mine) == set(want)
    for name in want:
        assert mine[name].dtype == want[name].dtype and torch.equal(mine[name], want[name]), name


@pytest.mark.parametrize("form", ["bin", "safetensors"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_a_full_state_dict_gives_what_peft_saves(tmp_path, name, form):
    kind, options = ADAPTERS[name]
    peft = make_adapter(make_base(kind, torch.float32, tmp_path / "base"), options, tmp_path / "theirs")
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tmp_path / "theirs/adapter_config.json", run)
    state = {key: value.clone().contiguous() for key, value in peft.state_dict().items()}
    if form == "bin":
        torch.save(state, run / "pytorch_model.bin")
    else:
        save_file(state, run / "model.safetensors", {"format": "pt"})
    extract(run, "-o", tmp_path / "ours")
    want = load_file(tmp_path / "theirs/adapter_model.safetensors")
    if "embedding" in name or name in ("conv1d", "tied-output"):
        # PEFT saves the base weight of adapted embeddings too, which no other reader wants.
        want = {key: value for key, value in want.items() if "base_layer" not in key}
    mine = load_file(tmp_path / "ours/adapter_model.safetensors")
    assert set(mine) == set(want)
    for key in want:
        assert mine[key].dtype == want[key].dtype and torch.equal(mine[key], want[key]), key
    assert (tmp_path / "ours/adapter_config.json").read_bytes() == (tmp_path / "theirs/adapter_config.json").read_bytes()
    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32), tmp_path / "ours")
    tokens = torch.tensor([[1, 3, 5, 90, 7]])
    with torch.no_grad():
        assert torch.allclose(again(tokens).logits, peft(tokens).logits, atol=1e-6)


@pytest.mark.parametrize("decoration", ["module.{}", "_orig_mod.{}", "_fsdp_wrapped_module.{}", "module._orig_mod.{}", "_forward_module.{}", "state_dict.{}", "model.{}"])
def test_decorated_names(tmp_path, decoration):
    peft = make_adapter(make_base("llama", torch.float32, tmp_path / "base"), ADAPTERS["dora"][1], tmp_path / "theirs")
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(tmp_path / "theirs/adapter_config.json", run)
    state = {decoration.format(key.replace(".layers.1.", ".layers.1._checkpoint_wrapped_module.")): value for key, value in peft.state_dict().items()}
    torch.save(state, run / "pytorch_model.bin")
    extract(run, "-o", tmp_path / "ours")
    same_tensors(tmp_path / "ours", tmp_path / "theirs")


def test_several_adapters_in_one_state_dict(tmp_path):
    peft = make_adapter(make_base("llama", torch.float32, tmp_path / "base"), ADAPTERS["saved"][1], None)
    peft.add_adapter("other", LoraConfig(r=2, lora_alpha=3, task_type="CAUSAL_LM", target_modules=["q_proj", "o_proj"], modules_to_save=["lm_head"]))
    for _, parameter in peft.named_parameters():
        parameter.requires_grad_(True)
    torch.manual_seed(3)
    randomize(peft)
    peft.save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "theirs/other/adapter_config.json").exists()
    run = tmp_path / "run"
    run.mkdir()
    torch.save(peft.state_dict(), run / "pytorch_model.bin")
    shutil.copy(tmp_path / "theirs/adapter_config.json", run)
    (run / "other").mkdir()
    shutil.copy(tmp_path / "theirs/other/adapter_config.json", run / "other")
    assert "default, other" in extract(run, "-o", tmp_path / "none", code=4)
    assert "default, other" in extract(run, "--adapter", "third", "-o", tmp_path / "none", code=4)
    extract(run, "--adapter", "default", "-o", tmp_path / "default")
    same_tensors(tmp_path / "default", tmp_path / "theirs")
    extract(run, "--adapter", "other", "-o", tmp_path / "other")
    same_tensors(tmp_path / "other", tmp_path / "theirs/other")
    assert (tmp_path / "other/adapter_config.json").read_bytes() == (tmp_path / "theirs/other/adapter_config.json").read_bytes()
    # As PEFT keeps it: a folder below that of the default one.
    extract(tmp_path / "theirs", "--adapter", "other", "-o", tmp_path / "below")
    same_tensors(tmp_path / "below", tmp_path / "theirs/other")


@pytest.mark.parametrize("name", ["plain", "patterns", "dora", "embedding", "saved"])
def test_a_config_is_made_where_none_was_left(tmp_path, name):
    options = dict(ADAPTERS[name][1])
    options.pop("alpha_pattern", None)
    base = make_base("llama", torch.float32, tmp_path / "base")
    peft = make_adapter(copy.deepcopy(base), options, tmp_path / "theirs")
    run = tmp_path / "run"
    run.mkdir()
    torch.save(peft.state_dict(), run / "pytorch_model.bin")
    assert "--alpha" in extract(run, "-o", tmp_path / "ours", code=4)
    extract(run, "-o", tmp_path / "ours", "--alpha", "6", "--base-id", "owner/base")
    config = json.loads((tmp_path / "ours/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "owner/base" and config["r"] == 4
    again = PeftModel.from_pretrained(base, tmp_path / "ours")
    tokens = torch.tensor([[1, 3, 5, 90, 7]])
    with torch.no_grad():
        assert torch.allclose(again(tokens).logits, peft(tokens).logits, atol=1e-6)
