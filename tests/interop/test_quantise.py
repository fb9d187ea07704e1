# SPDX-License-Identifier: Apache-2.0
"""st-pack --quantize beside the libraries whose schemes it writes: the same tensors and configs, and transformers loads them."""
import json
import types

import pytest
import torch
from quantised_models import FLOATS  # first: where the libraries are

from llmcompressor.entrypoints.model_free import model_free_ptq
from loguru import logger
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, LlamaConfig, LlamaForCausalLM, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.integrations.finegrained_fp8 import Fp8Quantize

PRESETS = {"fp8-dynamic": "FP8_DYNAMIC", "fp8-block": "FP8_BLOCK", "mxfp4": "MXFP4", "mxfp4a16": "MXFP4A16", "nvfp4": "NVFP4A16"}
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": False}
logger.disable("llmcompressor")


def same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        other = theirs[name]
        assert tensor.dtype == other.dtype and tensor.shape == other.shape, name
        differing = (tensor.contiguous().view(torch.uint8) != other.contiguous().view(torch.uint8)).sum()
        assert differing == 0, f"{name}: {differing} bytes of {tensor.nbytes}"


class Random:
    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = FLOATS[seed % 3]

    def pick(self, *values):
        return values[int(torch.randint(len(values), (1,), generator=self.generator))]

    def weight(self, rows, columns):
        """Of some of the kinds that meet special cases: zeros of both signs, rows of any magnitude, halves between two codes."""
        uniform = lambda *shape: torch.rand(*shape, generator=self.generator)
        weight = torch.randn(rows, columns, generator=self.generator) * 0.02
        kind = self.pick("plain", "plain", "zeros", "sparse", "magnitudes", "tiny", "ties")
        if kind == "zeros":
            weight[:: self.pick(1, 3)] = 0
        elif kind == "sparse":
            weight = torch.where(uniform(rows, columns) < 0.3, weight * 0, weight)
        elif kind == "magnitudes":
            weight *= 10 ** (uniform(rows, 1) * 12 - 8)
        elif kind == "tiny":
            weight *= 1e-6
        elif kind == "ties":
            weight = (torch.randint(-48, 49, (rows, columns), generator=self.generator) / 8).float()
        return weight.to(self.dtype)

    def model(self):
        hidden, inner = self.pick(32, 96, 160, 288, 544), self.pick(32, 64, 160, 224)
        shapes = {"mlp.gate": (4, hidden)}
        for attention in ("self_attn", "cross_attention"):
            shapes |= {f"{attention}.{p}_proj": (self.pick(1, 17, 130, 256), hidden) for p in "qkv"} | {f"{attention}.o_proj": (hidden, 64)}
        for mlp in ("mlp", "mlp.experts.0", "mlp.experts.1"):
            shapes |= {f"{mlp}.gate_proj": (inner, hidden), f"{mlp}.up_proj": (inner, hidden), f"{mlp}.down_proj": (hidden, inner)}
        shapes |= {f"block_sparse_moe.experts.0.{w}": (inner, hidden) for w in ("w1", "w3")} | {"self_attn.wq_a": (32, hidden), "self_attn.wkv_a_with_mqa": (48, hidden)}
        tensors = {f"model.layers.{layer}.{name}.weight": self.weight(*shape) for layer in (2, 10) for name, shape in shapes.items()}
        tensors |= {f"{name}.weight": self.weight(50, hidden) for name in ("model.embed_tokens", "lm_head")}
        return tensors | {"model.norm.weight": torch.ones(hidden, dtype=self.dtype), "model.layers.2.mlp.up_proj.bias": torch.ones(inner, dtype=self.dtype)}


def compare(run, folder, seed, scheme):
    base, ours, theirs = folder / "base", folder / "ours", folder / "theirs"
    base.mkdir(parents=True)
    save_file(Random(seed).model(), base / "model.safetensors", metadata={"format": "pt"})
    (base / "config.json").write_text(json.dumps(CONFIG | {"dtype": str(FLOATS[seed % 3])[6:]}))
    keep = "*.10.*.down_proj"
    run("st-pack", base, "-o", ours, "--quantize", scheme, "--keep", keep, "--names", "as-is")
    config = json.loads((ours / "config.json").read_text())
    ignore = config["quantization_config"]["ignore"]
    assert ignore[:2] == ["lm_head", "model.embed_tokens"] and ignore[-1] == "model.layers.10.mlp.gate" and len(ignore) == 7
    model_free_ptq(base, theirs, scheme=PRESETS[scheme], ignore=ignore, device="cpu")
    same(load_file(ours / "model.safetensors"), load_file(theirs / "model.safetensors"))
    assert config == json.loads((theirs / "config.json").read_text())


@pytest.mark.parametrize("scheme", PRESETS)
@pytest.mark.parametrize("seed", range(3))
def test_llm_compressor(run, tmp_path, seed, scheme):
    compare(run, tmp_path, seed, scheme)


@pytest.mark.full
@pytest.mark.parametrize("scheme", PRESETS)
@pytest.mark.parametrize("seed", range(3, 30))
def test_llm_compressor_more(run, tmp_path, seed, scheme):
    compare(run, tmp_path, seed, scheme)


def test_stacks_of_experts(run, tmp_path):
    """llm-compressor takes stacks apart into the same names."""
    base, random = tmp_path / "base", Random(0)
    base.mkdir()
    experts = "model.layers.0.mlp.experts."
    save_file({experts + "gate_up_proj": torch.stack([random.weight(128, 96) for _ in range(3)]), experts + "down_proj": torch.stack([random.weight(96, 64) for _ in range(3)])}, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps(CONFIG))
    for scheme, preset in PRESETS.items():
        run("st-pack", base, "-o", tmp_path / scheme, "--quantize", scheme)
        model_free_ptq(base, tmp_path / preset, scheme=preset, device="cpu")
        same(load_file(tmp_path / scheme / "model.safetensors"), load_file(tmp_path / preset / "model.safetensors"))


@pytest.mark.parametrize("seed", range(3))
def test_transformers_dialect(run, tmp_path, seed):
    random = Random(seed)
    tensors = {f"{n}.weight": random.weight(128 * random.pick(1, 2, 3), 128 * random.pick(1, 2)) for n in "abcdef"} | {"ragged.weight": random.weight(128, 96)}
    save_file(tensors, tmp_path / "base.safetensors")
    run("st-pack", tmp_path / "base.safetensors", "-o", tmp_path / "out.safetensors", "--quantize", "fp8")
    settings = types.SimpleNamespace(weight_block_size=(128, 128), scale_fmt=None)
    quantize, expected = Fp8Quantize(types.SimpleNamespace(quantization_config=settings)), {}
    for name, tensor in tensors.items():
        expected |= quantize._quantize_one(name, tensor)
    same(load_file(tmp_path / "out.safetensors"), expected)


@pytest.mark.parametrize("tied", [False, True])
def test_transformers_loads_it(run, tmp_path, tied):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=128, intermediate_size=256, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=tied)).bfloat16()
    model.save_pretrained(tmp_path / "base")
    ids = torch.arange(16)[None]
    logits = model(ids).logits.float()
    for scheme, most in {"fp8-dynamic": 0.1, "fp8-block": 0.1, "fp8": 0.1, "mxfp4": 0.4, "nvfp4": 0.3}.items():
        run("st-pack", tmp_path / "base", "-o", tmp_path / scheme, "--quantize", scheme)
        loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / scheme, dtype=torch.bfloat16, output_loading_info=True)
        assert not any(info.values()), info
        settings = json.loads((tmp_path / scheme / "config.json").read_text())["quantization_config"]
        assert settings.get("ignore", settings.get("modules_to_not_convert")) == ["lm_head", "model.embed_tokens"]
        error = (loaded(ids).logits.float() - logits).norm() / logits.norm()
        assert 0 < error < most, (scheme, error)


def test_transformers_loads_a_model_with_vision(run, tmp_path):
    """The tower, whose modules have other names in memory than in files, stays plain."""
    torch.manual_seed(0)
    text = {"vocab_size": 64, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4, "rope_scaling": {"type": "mrope", "mrope_section": [4, 6, 6]}}
    vision = {"depth": 1, "hidden_size": 64, "intermediate_size": 128, "num_heads": 4, "out_hidden_size": 128, "fullatt_block_indexes": [0]}
    Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False)).bfloat16().save_pretrained(tmp_path / "base")
    for scheme in ("fp8-dynamic", "nvfp4", "fp8"):
        run("st-pack", tmp_path / "base", "-o", tmp_path / scheme, "--quantize", scheme)
        _, info = AutoModelForImageTextToText.from_pretrained(tmp_path / scheme, dtype=torch.bfloat16, output_loading_info=True)
        assert not any(info.values()), info
