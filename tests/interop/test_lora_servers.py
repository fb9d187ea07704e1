# SPDX-License-Identifier: Apache-2.0
"""lora-extract --for: vLLM and SGLang, with their own code, and PEFT make of an adapter the deltas that PEFT makes of the one
that was trained."""
import copy
import json
import re
import warnings

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

import servers
import wheel_members
from test_lora_families import SMALL, TEXT, config_of
from test_lora_merge import ulp

EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
# Class: what is adapted.
CASES = {
    "LlamaForCausalLM": dict(target_modules=["q_proj", "v_proj", "down_proj"]),
    "Qwen2_5_VLForConditionalGeneration": dict(target_modules=r".*language_model.*\.(q_proj|o_proj|up_proj)"),
    "LlavaForConditionalGeneration": dict(target_modules=r".*language_model.*\.(k_proj|gate_proj)"),
    "MixtralForCausalLM": dict(target_modules=["q_proj", "o_proj"], target_parameters=EXPERTS),
    "Qwen3MoeForCausalLM": dict(target_modules=["v_proj"], target_parameters=EXPERTS),
    "DeepseekV3ForCausalLM": dict(target_modules=["kv_a_proj_with_mqa", "o_proj"], target_parameters=EXPERTS),
    "Qwen3VLMoeForConditionalGeneration": dict(target_modules=r".*language_model.*\.q_proj", target_parameters=EXPERTS),
    "GptOssForCausalLM": dict(target_modules=["q_proj"], target_parameters=EXPERTS),
}
SHAPES = {
    "uniform": {},
    "patterns": dict(rank_pattern={"q_proj": 2, "layers.1.self_attn.o_proj": 8, r"experts\.gate_up_proj": 3}, alpha_pattern={"down_proj": 7, "k_proj": 1, "v_proj": 3}),
    "rslora": dict(use_rslora=True, rank_pattern={"v_proj": 2, "o_proj": 6, "experts.down_proj": 2}),
    "gate-up-only": dict(target_parameters=EXPERTS[:1]),
    "down-only": dict(target_parameters=EXPERTS[1:]),
}
QUICK = {("LlamaForCausalLM", "rslora"), ("Qwen2_5_VLForConditionalGeneration", "patterns"), ("MixtralForCausalLM", "patterns"), ("DeepseekV3ForCausalLM", "down-only"), ("GptOssForCausalLM", "gate-up-only")}
# Every class in every shape that it can have.
ALL = [pytest.param(name, shape, marks=[] if (name, shape) in QUICK else pytest.mark.full) for name in CASES for shape in SHAPES if "target_parameters" in CASES[name] or not shape.endswith("-only")]


@pytest.fixture(scope="module")
def vllm():
    try:
        return servers.Vllm()
    except wheel_members.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def sglang():
    try:
        return servers.Sglang()
    except wheel_members.Unavailable as error:
        pytest.skip(str(error))


class Adapter:
    """A base, an adapter for it, and what merging it gives."""

    def __init__(self, name, options, folder):
        self.folder, self.cls = folder, getattr(transformers, name)
        torch.manual_seed(5)
        config = self.cls.config_class(**{**TEXT, **SMALL}) if name in ("LlamaForCausalLM", "GptOssForCausalLM") else config_of(self.cls)
        model = self.cls(config).eval()
        for parameter in model.parameters():
            parameter.data += torch.randn_like(parameter) * 0.02
        model.save_pretrained(folder / "base")
        peft = get_peft_model(copy.deepcopy(model), LoraConfig(r=4, lora_alpha=6, lora_dropout=0, **options))
        for key, parameter in peft.named_parameters():
            if "lora_" in key:
                parameter.data = torch.randn_like(parameter) * 0.1
        peft.save_pretrained(folder / "adapter")
        self.model = model
        self.base = {name: tensor.double() for name, tensor in load_file(folder / "base/model.safetensors").items()}
        self.merged = self.merge(folder / "adapter")

    def merge(self, adapter):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*adapter keys")
            merged = PeftModel.from_pretrained(copy.deepcopy(self.model), adapter).double().merge_and_unload()
        merged.save_pretrained(self.folder / "merged")
        return load_file(self.folder / "merged/model.safetensors")

    @property
    def leaves(self):
        """The last components of all modules."""
        names = [name.removesuffix(".weight") for name in self.base if name.endswith(".weight")]
        return {name.split(".experts.")[-1] if ".experts." not in name else "experts." + name.split(".experts.")[1] for name in names} | {name.rsplit(".", 1)[-1] for name in names} | {"experts"}

    def check(self, deltas):
        """All deltas, added to the tensors of the base, give the merged ones."""
        self.equal({name: tensor + deltas[name.removesuffix(".weight")] if name.removesuffix(".weight") in deltas else tensor for name, tensor in self.base.items()})
        assert {module + ".weight" for module in deltas} <= set(self.base)

    def equal(self, ours):
        """Both in fp64, so that what differs is more than the last place of fp32."""
        assert set(ours) == set(self.merged)
        for name, want in self.merged.items():
            bound = torch.stack([self.base[name].abs(), (want - self.base[name]).abs(), want.abs()]).amax()
            worst = ((ours[name] - want).abs() / ulp(bound, torch.float32)).max().item()
            assert worst <= 1, name


def make(name, shape, folder):
    return Adapter(name, {**CASES[name], **SHAPES[shape]}, folder)


def experts_of(adapter):
    names = {name.split(".")[-2] for name in adapter.base if re.search(r"\.experts\.\d+\.", name)}
    return ["w1", "w2", "w3"] if "w1" in names else ["gate_proj", "down_proj", "up_proj"]


def pair_of(loras, container, experts):
    """The deltas of PEFT's pair for all experts, [experts, out, in], as vLLM's _stack_moe_lora_weights takes it apart."""
    found = []
    for name in (container + ".base_layer", container):
        lora = loras[name]
        a = lora.lora_a.reshape(experts, -1, lora.lora_a.shape[-1]).double()
        b = lora.lora_b.reshape(lora.lora_b.shape[0], -1, experts).permute(2, 0, 1).double()
        found.append(lora.scaling * (b @ a))
    return found


@pytest.mark.parametrize("name, shape", ALL)
def test_vllm(tmp_path, run, vllm, name, shape):
    adapter = make(name, shape, tmp_path)
    said = run("lora-extract", tmp_path / "adapter", "--for", "vllm", "--base", tmp_path / "base", "-o", tmp_path / "out").stderr.decode()
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert not config.get("target_parameters")
    tensors = load_file(tmp_path / "out/adapter_model.safetensors")
    assert config["target_modules"] == sorted({re.sub(r"\.base_layer$", "", name.split(".lora_")[0]).rsplit(".", 1)[-1] for name in tensors})
    rank = max([config["r"], *config["rank_pattern"].values()])
    assert f"rank {rank}: vLLM needs --max-lora-rank 8" in said
    stacked = name in ("GptOssForCausalLM", "Qwen3VLMoeForConditionalGeneration")
    deltas = vllm.deltas(tmp_path / "out", adapter.leaves, experts_of(adapter), stacked, max_rank=8)
    if stacked:
        for container in {name.removesuffix(".base_layer") for name in deltas if "experts" in name}:
            stacks = [container + ".gate_up_proj", container + ".down_proj"]
            for stack, delta in zip(stacks, pair_of(deltas, container, 4)):
                old = adapter.base[stack]
                delta = delta if delta.shape == old.shape and "GptOss" not in name else delta.transpose(1, 2)
                adapter.base[stack + ".weight"] = adapter.base.pop(stack)
                adapter.merged[stack + ".weight"] = adapter.merged.pop(stack)
                deltas[stack] = delta
            deltas.pop(container), deltas.pop(container + ".base_layer")
    adapter.check(deltas)


@pytest.mark.parametrize("name, shape", [case for case in ALL if "GptOssForCausalLM" not in case.values])
def test_sglang(tmp_path, run, sglang, name, shape):
    adapter = make(name, shape, tmp_path)
    run("lora-extract", tmp_path / "adapter", "--for", "sglang", "--base", tmp_path / "base", "-o", tmp_path / "out")
    config = json.loads((tmp_path / "out/adapter_config.json").read_text())
    assert not config["rank_pattern"] and not config["alpha_pattern"] and not config["use_rslora"]
    spellings = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}

    def published(module):
        if ".experts." in module and "w1" in experts_of(adapter):
            return module.rsplit(".", 1)[0] + "." + spellings[module.rsplit(".", 1)[1]]
        return module

    if name == "Qwen3VLMoeForConditionalGeneration":
        for side in (adapter.base, adapter.merged):
            for stack in [name for name in side if name.endswith(tuple(EXPERTS))]:
                parts = side.pop(stack)
                for expert, matrix in enumerate(parts):
                    container, leaf = stack.rsplit(".", 1)
                    for part, rows in zip(["gate_proj", "up_proj"] if leaf == "gate_up_proj" else [leaf], matrix.chunk(2) if leaf == "gate_up_proj" else [matrix]):
                        side[f"{container}.{expert}.{part}.weight"] = rows
    deltas = sglang.deltas(tmp_path / "out", 2, lambda module: adapter.base[published(module) + ".weight"].shape[0])
    adapter.check({published(module): delta for module, delta in deltas.items()})


@pytest.mark.parametrize("name, shape", ALL)
def test_peft_and_back(tmp_path, run, name, shape):
    adapter = make(name, shape, tmp_path)
    said = run("lora-extract", tmp_path / "adapter", "--for", "peft", "--base", tmp_path / "base", "-o", tmp_path / "same")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (tmp_path / "same" / file).read_bytes() == (tmp_path / "adapter" / file).read_bytes(), said
    want = load_file(tmp_path / "adapter/adapter_model.safetensors")
    for server in ("vllm", "sglang"):
        if server == "sglang" and name == "GptOssForCausalLM":
            continue
        run("lora-extract", tmp_path / "adapter", "--for", server, "--base", tmp_path / "base", "-o", tmp_path / server)
        run("lora-extract", tmp_path / server, "--for", server, "--base", tmp_path / "base", "-o", tmp_path / f"{server}-again")
        for file in ("adapter_model.safetensors", "adapter_config.json"):
            assert (tmp_path / f"{server}-again" / file).read_bytes() == (tmp_path / server / file).read_bytes()
        run("lora-extract", tmp_path / server, "--for", "peft", "--base", tmp_path / "base", "-o", tmp_path / f"{server}-back")
        adapter.equal(adapter.merge(tmp_path / f"{server}-back"))
        if server == "sglang" and shape in ("patterns", "rslora"):
            continue
        back = load_file(tmp_path / f"{server}-back/adapter_model.safetensors")
        assert set(back) == set(want) and all(torch.equal(back[key], want[key]) for key in want)
