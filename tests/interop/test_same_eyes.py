# SPDX-License-Identifier: Apache-2.0
"""A model is the same under the names that transformers has in memory and under those it publishes: for st-inspect --diff, for
lora-extract between two models, and for adapters that st-pack merges."""
import json
import os
import pathlib
import subprocess

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from test_lora_families import random_model, tune
from test_lora_merge import assert_merged

BIN = pathlib.Path(os.environ["BIN_DIR"])
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
# What adapters are for: linear layers, and parameters of experts.
CLASSES = {
    "MixtralForCausalLM": (["q_proj"], EXPERTS), "Qwen3MoeForCausalLM": (["v_proj"], EXPERTS), "DeepseekV3ForCausalLM": (["o_proj"], EXPERTS), "GptOssForCausalLM": (["q_proj"], EXPERTS),
    "GraniteMoeForCausalLM": (["q_proj"], None), "LlavaForConditionalGeneration": (["q_proj", "fc1"], None), "Qwen2_5_VLForConditionalGeneration": (["q_proj", "qkv"], None),
    "Gemma3ForConditionalGeneration": (["q_proj"], None), "GPTNeoXForCausalLM": (["query_key_value", "lm_head"], None),
}


def run(code, *arguments):
    done = subprocess.run([BIN / arguments[0], *map(str, arguments[1:])], capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def in_memory(model, folder):
    folder.mkdir()
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def make(name, path):
    """The model, and its folders under both kinds of names."""
    model = random_model(name)
    model.save_pretrained(path / "published")
    in_memory(model, path / "memory")
    return model


def make_adapter(model, modules, parameters, path):
    torch.manual_seed(4)
    peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=4, target_modules=modules, target_parameters=parameters))
    for key, parameter in peft.named_parameters():
        if "lora_" in key:
            parameter.data = torch.randn_like(parameter) * 0.1
    peft.save_pretrained(path)
    peft.unload()


def assert_merges_as_peft(name, path, adapter, *sides):
    base = getattr(transformers, name).from_pretrained(path / "published")
    PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(path / "theirs")
    for side in sides or ("published", "memory"):
        run(0, "st-pack", path / side, "--adapter", adapter, "-o", path / "ours", "--force")
        assert_merged(load_file(path / "ours/model.safetensors"), load_file(path / "theirs/model.safetensors"), load_file(path / "published/model.safetensors"), torch.float32, 4)


@pytest.mark.parametrize("name", CLASSES)
def test_both_kinds_of_names_are_one_model(tmp_path, name):
    model = make(name, tmp_path)
    for a, b in (("memory", "published"), ("published", "memory")):
        run(0, "st-inspect", "--diff", tmp_path / a, tmp_path / b)
    make_adapter(model, *CLASSES[name], tmp_path / "adapter")
    assert_merges_as_peft(name, tmp_path, tmp_path / "adapter")
    tune(model)
    in_memory(model, tmp_path / "memory-tuned")
    model.save_pretrained(tmp_path / "published-tuned")
    run(1, "st-inspect", "--diff", tmp_path / "memory", tmp_path / "published-tuned")
    found = []
    for a, b in (("published", "published"), ("published", "memory"), ("memory", "published"), ("memory", "memory")):
        run(0, "lora-extract", "--base", tmp_path / a, "--tuned", tmp_path / f"{b}-tuned", "--rank", "4", "--dtype", "f32", "-o", tmp_path / "out", "--force")
        found.append((load_file(tmp_path / "out/adapter_model.safetensors"), json.loads((tmp_path / "out/adapter_config.json").read_text())))
    for tensors, config in found[1:]:
        assert tensors.keys() == found[0][0].keys() and all(torch.equal(tensors[key], found[0][0][key]) for key in tensors)
        assert config == found[0][1]


@pytest.mark.parametrize("name,container,leaves", [("MixtralForCausalLM", "block_sparse_moe", ("w1", "w2", "w3")), ("Qwen3MoeForCausalLM", "mlp", ("gate_proj", "down_proj", "up_proj"))])
def test_adapters_of_single_experts_merge_into_stacks(tmp_path, name, container, leaves):
    make(name, tmp_path)
    published = load_file(tmp_path / "published/model.safetensors")
    torch.manual_seed(5)
    tensors = {}
    for key, value in published.items():
        if f".{container}.experts." in key or key.endswith("q_proj.weight"):
            module = "base_model.model." + key.removesuffix(".weight")
            tensors[module + ".lora_A.weight"] = torch.randn(2, value.shape[1]) * 0.1
            tensors[module + ".lora_B.weight"] = torch.randn(value.shape[0], 2) * 0.1
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file(tensors, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 8, "target_modules": ["q_proj", *leaves], "task_type": "CAUSAL_LM"}))
    assert_merges_as_peft(name, tmp_path, adapter)


@pytest.mark.parametrize("parameter", EXPERTS)
def test_factors_of_one_parameter_alone(tmp_path, parameter):
    """PEFT then has one wrapper, whose names don't tell which parameter it is."""
    make_adapter(make("MixtralForCausalLM", tmp_path), ["q_proj"], [parameter], tmp_path / "adapter")
    assert_merges_as_peft("MixtralForCausalLM", tmp_path, tmp_path / "adapter")
