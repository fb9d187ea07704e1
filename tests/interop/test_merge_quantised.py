# SPDX-License-Identifier: Apache-2.0
"""Adapters merged into quantised bases by st-pack, and by PEFT into what the library of the quantisation reads from the base."""
import json

import pytest
import torch
from quantised_models import E4M3, FP8BlockDequantizer, bnb, compressed_settings, decompressed, fp8_settings  # first: where the libraries are

from lora_models import ADAPTERS, CONFIGS, SIZES, load_model, make_adapter, make_base
from peft import PeftModel
from safetensors.torch import load_file, save_file
from test_lora_merge import assert_merged
from transformers import AutoModelForCausalLM, GptOssConfig
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

CONFIGS["gpt_oss_32"] = lambda: GptOssConfig(**{**SIZES, "intermediate_size": 32}, num_local_experts=2, num_experts_per_tok=1, head_dim=8)


def nf4(name, weight):
    packed, state = bnb.quantize_4bit(weight, quant_type="nf4", blocksize=64, compress_statistics=True)
    parts = {f"{name}.{part}": tensor for part, tensor in state.as_dict(packed=True).items()}
    # From the CPU's kernel, which short rows confuse, by one long row.
    state.shape = (1, weight.numel())
    return {name: packed} | parts, bnb.dequantize_4bit(packed, state).reshape(weight.shape)


def int8(name, weight):
    quantised, scales, _ = bnb.int8_vectorwise_quant(weight.half())
    module = name.removesuffix("weight")
    return {name: quantised, f"{module}SCB": scales, f"{module}weight_format": torch.tensor(0, dtype=torch.uint8)}, bnb.int8_vectorwise_dequant(quantised, scales).to(weight.dtype)


def fp8(name, weight):
    scale = weight.float().abs().amax() / 448
    grid = torch.full((-(-weight.shape[0] // 128), -(-weight.shape[1] // 128)), scale)
    quantised = (weight.float() / scale).to(E4M3)
    return {name: quantised, f"{name}_scale_inv": grid}, FP8BlockDequantizer(dtype=weight.dtype)._create_dequantized_weight(quantised, grid)


COMPRESSED = compressed_settings("float-quantized", {"num_bits": 8, "type": "float", "strategy": "channel"})


def compressed(name, weight):
    scale = weight.abs().amax(1, keepdim=True) / 448
    quantised = (weight / scale).to(E4M3)
    return {name: quantised, f"{name}_scale": scale}, decompressed(COMPRESSED, {"weight": quantised, "weight_scale": scale}, weight.dtype)


def blocks(name, weight):
    generator = torch.Generator().manual_seed(len(name))
    e, i, o = weight.shape
    packed = torch.randint(0, 256, (e, o, i // 32, 16), dtype=torch.uint8, generator=generator)
    scales = torch.randint(116, 124, (e, o, i // 32), dtype=torch.uint8, generator=generator)
    return {f"{name}_blocks": packed, f"{name}_scales": scales}, convert_moe_packed_tensors(packed.clone(), scales.clone(), dtype=weight.dtype)


KINDS = {
    "nf4": (nf4, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}),
    "int8": (int8, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    "fp8": (fp8, fp8_settings([128, 128])),
    "compressed": (compressed, COMPRESSED),
    "mxfp4": (blocks, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}),
}


def is_quantised(kind, name):
    return name.endswith(("experts.gate_up_proj", "experts.down_proj")) if kind == "mxfp4" else "layers" in name and name.endswith("proj.weight")


def quantise(kind, base, quantised, plain):
    """Two folders made of the model `base`: quantised, and as the library reads that."""
    quantiser, settings = KINDS[kind]
    stored, read = {}, {}
    for name, tensor in load_file(base / "model.safetensors").items():
        new, read[name] = quantiser(name, tensor) if is_quantised(kind, name) else ({name: tensor}, tensor)
        stored |= new
    config = json.loads((base / "config.json").read_text())
    for folder, tensors, more in ((quantised, stored, {"quantization_config": settings}), (plain, read, {})):
        folder.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
        (folder / "config.json").write_text(json.dumps(config | more))
    return read


def compare(run, tmp_path, kind, model, options, dtype, ulps, *more):
    make_base(model, dtype, tmp_path / "base")
    read = quantise(kind, tmp_path / "base", tmp_path / "quantised", tmp_path / "plain")
    make_adapter(load_model(tmp_path / "plain", dtype), options, tmp_path / "adapter")
    PeftModel.from_pretrained(load_model(tmp_path / "plain", dtype), tmp_path / "adapter").merge_and_unload().save_pretrained(tmp_path / "theirs")
    said = run("st-pack", tmp_path / "quantised", "--adapter", tmp_path / "adapter", "-o", tmp_path / "ours", *more).stderr.decode()
    assert "dequanti" in said
    ours, theirs = load_file(tmp_path / "ours/model.safetensors"), load_file(tmp_path / "theirs/model.safetensors")
    assert_merged(ours, theirs, read, dtype, ulps)
    for name, tensor in read.items():
        if name in theirs and theirs[name].equal(tensor):
            assert ours[name].equal(tensor), name
    config = json.loads((tmp_path / "ours/config.json").read_text())
    assert "quantization_config" not in config and config["dtype"] == str(dtype)[6:]
    _, info = AutoModelForCausalLM.from_pretrained(tmp_path / "ours", dtype=dtype, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    return ours


@pytest.mark.parametrize("adapter", ["plain", "dora", "saved", "embedding"])
@pytest.mark.parametrize("kind", ["nf4", "fp8"])
def test_qlora(run, tmp_path, kind, adapter):
    model, options = ADAPTERS[adapter]
    compare(run, tmp_path, kind, model, options, torch.bfloat16, 2 if adapter == "dora" else 1)


@pytest.mark.parametrize("kind", ["int8", "compressed"])
def test_other_bases(run, tmp_path, kind):
    compare(run, tmp_path, kind, *ADAPTERS["patterns"], torch.bfloat16, 1)


def test_experts_of_gpt_oss(run, tmp_path):
    compare(run, tmp_path, "mxfp4", "gpt_oss_32", ADAPTERS["experts-gpt-oss"][1], torch.bfloat16, 1)


def test_parts_make_the_same(run, tmp_path):
    whole = compare(run, tmp_path, "nf4", *ADAPTERS["plain"], torch.bfloat16, 1)
    out = tmp_path / "cut"
    for part in ("1/3", "3/3", "2/3"):
        run("st-pack", tmp_path / "quantised", "--adapter", tmp_path / "adapter", "-o", out, "--part", part)
    run("st-pack", tmp_path / "quantised", "--adapter", tmp_path / "adapter", "-o", out)
    cut = load_file(out / "model.safetensors")
    assert cut.keys() == whole.keys() and all(cut[name].equal(whole[name]) for name in whole)


def test_another_type(run, tmp_path):
    """Made plain in that type, then merged: PEFT on the base that was loaded so."""
    make_base("llama", torch.bfloat16, tmp_path / "base")
    quantise("fp8", tmp_path / "base", tmp_path / "quantised", tmp_path / "plain")
    make_adapter(load_model(tmp_path / "plain", torch.bfloat16), ADAPTERS["plain"][1], tmp_path / "adapter")
    run("st-pack", tmp_path / "quantised", "--dequantize=f32", "--adapter", tmp_path / "adapter", "-o", tmp_path / "ours")
    run("st-pack", tmp_path / "quantised", "--dequantize=f32", "-o", tmp_path / "plain32")
    base = load_file(tmp_path / "plain32/model.safetensors")
    theirs = PeftModel.from_pretrained(load_model(tmp_path / "plain32", torch.float32), tmp_path / "adapter").merge_and_unload().state_dict()
    ours = load_file(tmp_path / "ours/model.safetensors")
    wide = {name: tensor for name, tensor in ours.items() if tensor.dtype == torch.float32}
    assert {name.rpartition("layers.")[2] for name in wide} >= {"0.self_attn.q_proj.weight", "1.mlp.down_proj.weight"}
    assert_merged(wide, {name: theirs[name] for name in wide}, base, torch.float32, 4)
