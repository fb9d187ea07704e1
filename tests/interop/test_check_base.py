# SPDX-License-Identifier: Apache-2.0
"""st-inspect --check --base agrees with PEFT on which parameters of a base an adapter changes, by published names and those of memory."""
import copy
import json

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from lora_models import ADAPTERS, load_model, make_adapter, make_base, randomize
from test_lora_families import config_of

EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
# Class: (target_modules, target_parameters).
FAMILIES = {
    "MixtralForCausalLM": (["q_proj"], EXPERTS),
    "DeepseekV3ForCausalLM": (["kv_b_proj", "down_proj"], EXPERTS),
    "GptOssForCausalLM": (["v_proj"], EXPERTS),
    "GPTNeoXForCausalLM": (["query_key_value"], None),
    "Qwen2_5_VLForConditionalGeneration": (["q_proj", "qkv"], None),
    "LlavaForConditionalGeneration": ("all-linear", None),
    "Gemma3ForConditionalGeneration": (["q_proj"], None),
    "Qwen3VLMoeForConditionalGeneration": (["v_proj"], EXPERTS),
}


def judged(run, adapter, base, code=0):
    document = json.loads(run("st-inspect", "--json", "--check", "--base", base, adapter, code=code).stdout)
    return document["base"], {finding["rule"] for finding in document["findings"]}


def changed_by_peft(before, after):
    """How many parameters are in tensors that PEFT's merge changes."""
    return sum(tensor.numel() for name, tensor in before.items() if name in after and not torch.equal(tensor, after[name]))


@pytest.mark.parametrize("name", ADAPTERS)
def test_every_kind_of_adapter(tmp_path, run, name):
    kind, options = ADAPTERS[name]
    make_adapter(make_base(kind, torch.float32, tmp_path / "base"), options, tmp_path / "adapter")
    report, rules = judged(run, tmp_path / "adapter", tmp_path / "base")
    assert not rules
    assert report["modules"] == report["changed_modules"] > 0
    peft = PeftModel.from_pretrained(load_model(tmp_path / "base", torch.float32), tmp_path / "adapter")
    before = load_file(tmp_path / "base/model.safetensors")
    after = peft.merge_and_unload().state_dict()
    # A head that was tied and is trained whole is in no file of the base.
    unties = kind in ("tied", "gpt2") and "modules_to_save" in options
    if report["names"] == "as-is" and not report["changed_rows"] and not unties and not options.get("bias") and "lora_bias" not in options:
        assert report["changed_parameters"] == changed_by_peft(before, after)
    run("st-pack", tmp_path / "base", "--adapter", tmp_path / "adapter", "-o", tmp_path / "merged")


@pytest.mark.parametrize("name", FAMILIES)
def test_names_of_files_and_of_memory(tmp_path, run, name):
    modules, parameters = FAMILIES[name]
    cls = getattr(transformers, name)
    torch.manual_seed(4)
    model = cls(config_of(cls)).eval()
    model.save_pretrained(tmp_path / "published")
    (tmp_path / "memory").mkdir()
    torch.save(model.state_dict(), tmp_path / "memory/pytorch_model.bin")
    (tmp_path / "memory/config.json").write_text((tmp_path / "published/config.json").read_text())
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    peft = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, lora_alpha=4, target_modules=modules, target_parameters=parameters))
    randomize(peft)
    peft.save_pretrained(tmp_path / "adapter")
    wanted = changed_by_peft(before, peft.merge_and_unload().state_dict())
    for side in "memory", "published":
        report, rules = judged(run, tmp_path / "adapter", tmp_path / side)
        assert not rules and not [note for note in report["notes"] if note.get("rule") == "AD-PARTIAL"]
        assert report["changed_parameters"] == wanted


def rewrite(path, change):
    tensors = change(load_file(path))
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("what", ["zero", "prefix", "size", "rank"])
def test_what_peft_does_not_apply(tmp_path, run, what):
    kind, options = ADAPTERS["plain"]
    make_adapter(make_base(kind, torch.float32, tmp_path / "base"), options, tmp_path / "adapter")
    weights = tmp_path / "adapter/adapter_model.safetensors"
    rule = {"zero": "AD-NOOP", "prefix": "AD-NAMES", "size": "AD-SHAPE", "rank": "AD-RANK"}[what]
    if what == "zero":
        rewrite(weights, lambda tensors: {key: tensor * ("lora_B" not in key) for key, tensor in tensors.items()})
    elif what == "prefix":  # of a module around the model that PEFT does not know
        rewrite(weights, lambda tensors: {key.replace("base_model.model.", "base_model.model.policy.inner."): tensor for key, tensor in tensors.items()})
    elif what == "size":
        rewrite(weights, lambda tensors: {key: tensor.repeat(*(1 if size == 4 else 2 for size in tensor.shape)) for key, tensor in tensors.items()})
    else:
        config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
        (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(config | {"r": 8}))
    report, rules = judged(run, tmp_path / "adapter", tmp_path / "base", code=1)
    assert rules == {rule} and report["changed_modules"] == 0
    base = load_model(tmp_path / "base", torch.float32)
    before = {key: tensor.clone() for key, tensor in base.state_dict().items()}
    if what in ("size", "rank"):
        with pytest.raises(RuntimeError, match="size mismatch"):
            PeftModel.from_pretrained(base, tmp_path / "adapter")
    else:
        assert changed_by_peft(before, PeftModel.from_pretrained(base, tmp_path / "adapter").merge_and_unload().state_dict()) == 0
