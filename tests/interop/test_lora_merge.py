# SPDX-License-Identifier: Apache-2.0
"""Compares st-pack --adapter with PEFT's merge_and_unload, for every kind of LoRA adapter that PEFT can merge."""
import copy
import json
import os
import pathlib
import subprocess

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from lora_models import ADAPTERS, load_model, make_adapter, make_base

BIN = pathlib.Path(os.environ["BIN_DIR"])


def pack(*arguments):
    return subprocess.run([BIN / "st-pack", *map(str, arguments)], capture_output=True, text=True, check=True)


def ulp(values, dtype):
    """The unit in the last place of `dtype` at each value."""
    info = torch.finfo(dtype)
    exponent = torch.floor(torch.log2(values.abs().clamp(min=info.smallest_normal).double()))
    return torch.exp2(exponent) * info.eps


def assert_merged(ours, theirs, base, dtype, ulps):
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        mine, want = ours[name], expected
        assert mine.dtype == want.dtype and mine.shape == want.shape, name
        old = base.get(name, want).double()
        if old.shape != want.shape:
            old = want.double()
        bound = torch.stack([old.abs(), (want.double() - old).abs(), want.double().abs()]).amax(0)
        # In fp32 the products' own rounding shows where values cancel; it is as large as for the largest values.
        bound = bound.amax() if dtype is torch.float32 else bound
        worst = ((mine.double() - want.double()).abs() / ulp(bound, dtype)).max().item() if want.numel() else 0
        assert worst <= ulps, f"{name}: {worst} units in the last place"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["f32", "bf16", "f16"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_merging_equals_peft(tmp_path, name, dtype):
    kind, options = ADAPTERS[name]
    base = make_base(kind, dtype, tmp_path / "base")
    make_adapter(base, options, tmp_path / "adapter")
    peft = PeftModel.from_pretrained(load_model(tmp_path / "base", dtype), tmp_path / "adapter")
    merged = peft.merge_and_unload()
    merged.save_pretrained(tmp_path / "theirs")
    pack(tmp_path / "base", "--adapter", tmp_path / "adapter", "-o", tmp_path / "ours", "--verify")
    ulps = 4 if dtype is torch.float32 else 2 if "dora" in name else 1
    assert_merged(load_file(tmp_path / "ours/model.safetensors"), load_file(tmp_path / "theirs/model.safetensors"),
                  load_file(tmp_path / "base/model.safetensors"), dtype, ulps)
    tie = [json.loads((tmp_path / side / "config.json").read_text()).get("tie_word_embeddings") for side in ("ours", "theirs")]
    assert bool(tie[0]) == bool(tie[1])
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=dtype, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokens = torch.tensor([[1, 3, 5, 90, 7]])
    model.to(dtype)
    with torch.no_grad():
        close = {torch.float32: 1e-5, torch.bfloat16: 0.05, torch.float16: 0.01}[dtype]
        assert torch.allclose(model(tokens).logits.float(), merged(tokens).logits.float(), atol=close)


# Members of adapter_config.json that choose other modules of an adapter than it has, or other scales.
PATTERNS = {
    "alpha-regex": dict(alpha_pattern={r"layers\.\d+\.self_attn\.q_proj": 32, "q_proj": 2, "v_.roj": 4}),
    "alpha-order": dict(alpha_pattern={"q_proj": 2, r"layers\.0\.self_attn\.q_proj": 32, "(down|v)_proj": 5}),
    "alpha-start": dict(alpha_pattern={"^q_proj": 32, "^model.*v_proj": 3, r".*\.0\..*": 7}),
    "target-regex": dict(target_modules=r"model\.layers\.\d+\.self_attn\.(q|v)_proj"),
    "target-lookahead": dict(target_modules=r"(?!.*\.1\.).*_proj"),
    "target-suffix": dict(target_modules=["self_attn.q_proj", "0.mlp.down_proj", ".*v_proj"]),
    "exclude-regex": dict(exclude_modules=r".*layers\.1\..*"),
    "exclude-names": dict(exclude_modules=["0.self_attn.q_proj", "mlp"]),
    "layers": dict(layers_to_transform=[1]),
    "layers-pattern": dict(layers_to_transform=0, layers_pattern="layer.?"),
    "all-linear": dict(target_modules="all-linear", exclude_modules=["q_proj"]),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_choose_modules_as_in_peft(tmp_path, name):
    make_adapter(make_base("llama", torch.float32, tmp_path / "base"), ADAPTERS["plain"][1], tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config | PATTERNS[name]))
    merged = PeftModel.from_pretrained(load_model(tmp_path / "base", torch.float32), tmp_path / "adapter").merge_and_unload()
    merged.save_pretrained(tmp_path / "theirs")
    said = pack(tmp_path / "base", "--adapter", tmp_path / "adapter", "-o", tmp_path / "ours").stderr
    assert ("left out" in said) == ("alpha" not in name), said
    assert_merged(load_file(tmp_path / "ours/model.safetensors"), load_file(tmp_path / "theirs/model.safetensors"),
                  load_file(tmp_path / "base/model.safetensors"), torch.float32, 4)


def test_ranks_of_single_modules_by_expressions(tmp_path):
    # Keys in the order that PEFT saves them in, sorted.
    options = dict(target_modules=["q_proj", "v_proj", "down_proj"], rank_pattern={r".*\.1\.self_attn\..*": 2, "q_proj": 3}, alpha_pattern={r".*\.1\..*": 11})
    base = make_base("llama", torch.float32, tmp_path / "base")
    make_adapter(base, options, tmp_path / "adapter")
    PeftModel.from_pretrained(load_model(tmp_path / "base", torch.float32), tmp_path / "adapter").merge_and_unload().save_pretrained(tmp_path / "theirs")
    pack(tmp_path / "base", "--adapter", tmp_path / "adapter", "-o", tmp_path / "ours")
    assert_merged(load_file(tmp_path / "ours/model.safetensors"), load_file(tmp_path / "theirs/model.safetensors"),
                  load_file(tmp_path / "base/model.safetensors"), torch.float32, 4)


def test_two_adapters_and_scales(tmp_path):
    base = make_base("llama", torch.float32, tmp_path / "base")
    make_adapter(copy.deepcopy(base), ADAPTERS["plain"][1], tmp_path / "a")
    make_adapter(copy.deepcopy(base), ADAPTERS["rslora"][1], tmp_path / "b", seed=3)
    peft = PeftModel.from_pretrained(base, tmp_path / "a", adapter_name="a")
    peft.load_adapter(tmp_path / "b", adapter_name="b")
    for module in peft.modules():
        if hasattr(module, "scale_layer") and "b" in getattr(module, "scaling", {}):
            module.set_scale("b", 0.25)
    merged = peft.merge_and_unload(adapter_names=["a", "b"])
    merged.save_pretrained(tmp_path / "theirs")
    pack(tmp_path / "base", "--adapter", tmp_path / "a", "--adapter", f"{tmp_path / 'b'}:0.25", "-o", tmp_path / "ours")
    assert_merged(load_file(tmp_path / "ours/model.safetensors"), load_file(tmp_path / "theirs/model.safetensors"),
                  load_file(tmp_path / "base/model.safetensors"), torch.float32, 2)


def test_parts_and_shards_give_the_same_bytes(tmp_path):
    make_adapter(make_base("llama", torch.bfloat16, tmp_path / "base"), ADAPTERS["dora"][1], tmp_path / "a")
    common = [tmp_path / "base", "--adapter", tmp_path / "a", "--max-shard-size", "20KB"]
    pack(*common, "-o", tmp_path / "whole")
    for part in ("1/2", "2/2"):
        pack(*common, "-o", tmp_path / "parts", "--part", part)
    pack(*common, "-o", tmp_path / "parts", "-j", "1")
    names = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "parts").iterdir()) and len(names) > 4
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
