# SPDX-License-Identifier: Apache-2.0
"""One quantised weight in every layout: how files hold it, what config.json says, and what the library that made the layout reads from it.
Values are random bits where every pattern is valid, so that what a quantiser never writes is compared as well."""
import dataclasses
import json
import sys

import torch

sys.path.append(f"{sys.prefix}/quantisation")  # see quantisation.txt

import bitsandbytes.functional as bnb  # noqa: E402
import torchao.quantization as ao  # noqa: E402
from bitsandbytes.backends.default.ops import _dequantize_4bit_compute  # noqa: E402
from compressed_tensors.compressors import BaseCompressor  # noqa: E402
from compressed_tensors.entrypoints.convert.converters.autoawq import AutoAWQConverter  # noqa: E402
from compressed_tensors.entrypoints.convert.converters.fp8block_dequantizer import FP8BlockDequantizer  # noqa: E402
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme  # noqa: E402
from torchao.quantization.granularity import PerBlock  # noqa: E402
from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict, unflatten_tensor_state_dict  # noqa: E402
from transformers.integrations.finegrained_fp8 import Fp8Dequantize  # noqa: E402
from transformers.integrations.mxfp4 import convert_moe_packed_tensors  # noqa: E402

X = "model.layers.0.mlp.up_proj"
E4M3, E5M2, E8M0 = torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu
FLOATS = [torch.bfloat16, torch.float16, torch.float32]


@dataclasses.dataclass
class Stored:
    tensors: dict  # as in the file
    settings: dict | None  # quantization_config
    plain: dict  # name -> what it is when plain, for a target type
    metadata: dict = dataclasses.field(default_factory=dict)


class Random:
    """Draws that a seed decides."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def below(self, low, high):
        return int(torch.randint(low, high, (1,), generator=self.generator))

    def pick(self, choices):
        return choices[self.below(0, len(choices))]

    def bits(self, shape, dtype):
        """Any bits; of two NaNs none can be told from the other, so they are left out."""
        size = torch.empty(0, dtype=dtype).element_size()
        raw = torch.randint(0, 256, (*shape[:-1], shape[-1] * size), dtype=torch.uint8, generator=self.generator).view(dtype)
        return raw if not dtype.is_floating_point or dtype == E8M0 else torch.where(raw.float().isfinite(), raw.float(), 0.5).to(dtype)

    def scales(self, shape, dtype, low=-14.0, high=1.0):
        """Powers of two at random, times something that needs every bit of the type."""
        if dtype in (torch.uint8, E8M0):
            return torch.randint(100, 140, shape, dtype=torch.uint8, generator=self.generator).view(dtype)
        exponents = torch.rand(shape, generator=self.generator) * (high - low) + low
        return (exponents.exp2() * (1 + torch.rand(shape, generator=self.generator))).to(dtype)

    def normal(self, shape, dtype):
        return torch.randn(shape, generator=self.generator).to(dtype)


# --- fp8: 8-bit floats times a grid of scales ---

def fp8_settings(block):
    return {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": block, "modules_to_not_convert": ["lm_head"]}


def of_bytes(scales):
    """Scales of the type E8M0 that are stored as integers."""
    return scales.view(E8M0) if scales.dtype == torch.uint8 else scales


def fp8_blocks(scale_type):
    def make(random, target):
        block = random.pick([[128, 128], [128, 128], [32, 64], [1, 16]])
        r, c = random.below(1, 2 * block[0] + 40), random.below(1, 2 * block[1] + 40)
        weight, scales = random.bits((r, c), E4M3), random.scales((-(-r // block[0]), -(-c // block[1])), scale_type)
        plain = FP8BlockDequantizer(weight_block_size=tuple(block), dtype=target)._create_dequantized_weight(weight, of_bytes(scales))
        return Stored({f"{X}.weight": weight, f"{X}.weight_scale_inv": scales}, fp8_settings(block), {f"{X}.weight": plain})
    return make


def fp8_divisible(scale_type):
    """The grid that transformers makes of them; it takes no other."""
    def make(random, target):
        block = random.pick([[16, 16], [128, 128], [64, 32]])
        grid = (random.below(1, 4), random.below(1, 4))
        weight, scales = random.bits((grid[0] * block[0], grid[1] * block[1]), E4M3), random.scales(grid, scale_type)
        plain = Fp8Dequantize(None)._dequantize_one(weight, scales, target)
        return Stored({f"{X}.weight": weight, f"{X}.weight_scale_inv": scales, f"{X}.activation_scale": torch.tensor(0.5)}, fp8_settings(block), {f"{X}.weight": plain})
    return make


def fp8_one_scale(random, target):
    weight, scale = random.bits((random.below(1, 90), random.below(1, 90)), E4M3), random.scales((), random.pick([torch.bfloat16, torch.float32]))
    plain = Fp8Dequantize(None)._dequantize_one(weight, scale, target)
    return Stored({f"{X}.weight": weight, f"{X}.weight_scale_inv": scale, f"{X}.activation_scale": torch.tensor(0.5)},
                  fp8_settings(None) | {"activation_scheme": "static"}, {f"{X}.weight": plain})


def fp8_experts(random, target):
    block, name = random.pick([[16, 16], [128, 128]]), "model.layers.0.mlp.experts.gate_up_proj"
    grid = (random.below(1, 4), random.below(1, 4), random.below(1, 3))
    weight, scales = random.bits((grid[0], grid[1] * block[0], grid[2] * block[1]), E4M3), random.scales(grid, torch.float32)
    plain = torch.stack([Fp8Dequantize(None)._dequantize_one(w, s, target) for w, s in zip(weight, scales)])
    return Stored({name: weight, f"{name}_scale_inv": scales}, fp8_settings(block), {name: plain})


def fp8_pairs(ending):
    """DeepSeek-V4's experts: two numbers of four bits in a byte."""
    def make(random, target):
        module, r, groups = "model.layers.0.ffn.experts.3.w1", random.below(1, 40), random.below(1, 5)
        weight, scales = random.bits((r, groups * 16), torch.int8), random.scales((r, groups), E8M0)
        plain = Fp8Dequantize(None)._dequantize_one(weight, scales, target)
        return Stored({f"{module}.weight": weight, f"{module}.{ending}": scales}, fp8_settings([128, 128]), {f"{module}.weight": plain})
    return make


# --- compressed-tensors ---

def compressed_settings(form, weights, **group):
    weights = {"dynamic": False, "group_size": None, "symmetric": True, "type": "int"} | weights
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None, "format": form} | group}}


def decompressed(settings, tensors, target):
    """By the compressor of the format, as CompressedTensorsDequantizer calls it."""
    group = settings["config_groups"]["group_0"]
    scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**group["weights"]), format=group["format"])
    compressor = BaseCompressor.get_value_from_registry(group["format"])
    needed = {name: tensors[name].clone() for name in compressor.compression_param_names(scheme)}
    zeros = needed.get("weight_zero_point")
    if zeros is not None and zeros.dtype == torch.int32:  # it fails on a single row of words
        needed["weight_zero_point"] = torch.cat([zeros, torch.zeros_like(zeros[:1])])
    return compressor.decompress(needed, scheme)["weight"].to(target)


def compressed(settings, tensors, target, also=()):
    plain = decompressed(settings, tensors, target)
    return Stored({f"{X}.{name}": tensor for name, tensor in (tensors | dict(also)).items()}, settings, {f"{X}.weight": plain})


def float_quantized(strategy):
    def make(random, target):
        scale_type, r, c = random.pick(FLOATS), random.below(1, 300), random.below(1, 300)
        block = random.pick([[128, 128], [32, 16]])
        shape = {"channel": (r, 1), "tensor": (1,), "block": (-(-r // block[0]), -(-c // block[1]))}[strategy]
        settings = compressed_settings("float-quantized", {"num_bits": 8, "type": "float", "strategy": strategy} | ({"block_structure": block} if strategy == "block" else {}))
        tensors = {"weight": random.bits((r, c), E4M3), "weight_scale": random.scales(shape, scale_type)}
        return compressed(settings, tensors, target, {"input_scale": torch.tensor([0.5])})
    return make


def int_quantized(strategy, symmetric):
    def make(random, target):
        r, groups, size = random.below(1, 90), random.below(1, 4), random.pick([8, 16])
        c = groups * size if strategy == "group" else random.below(1, 90)
        shape = {"channel": (r, 1), "tensor": (1,), "group": (r, groups)}[strategy]
        settings = compressed_settings("int-quantized", {"num_bits": 8, "strategy": strategy, "symmetric": symmetric, "group_size": size if strategy == "group" else None})
        tensors = {"weight": random.bits((r, c), torch.int8), "weight_scale": random.scales(shape, random.pick(FLOATS))}
        if not symmetric:
            tensors["weight_zero_point"] = random.bits(shape, torch.int8)
        return compressed(settings, tensors, target)
    return make


def packed_tensors(random, bits, symmetric, group):
    """Of words with any bits, also where no value is. `group`: columns under one scale, or None."""
    r, groups = random.below(1, 70), random.below(1, 5) if group else 1
    c = groups * group if group else random.below(1, 150)
    tensors = {"weight_packed": random.bits((r, -(-c * bits // 32)), torch.int32), "weight_scale": random.scales((r, groups), random.pick(FLOATS)),
               "weight_shape": torch.tensor([r, c])}
    if not symmetric:
        tensors["weight_zero_point"] = random.bits((-(-r * bits // 32), groups), torch.int32)
    return tensors


def packed_settings(bits, symmetric, group, **more):
    return compressed_settings("pack-quantized", {"num_bits": bits, "symmetric": symmetric, "strategy": "group" if group else "channel", "group_size": group} | more)


def pack_quantized(bits, symmetric, grouped):
    def make(random, target):
        group = random.pick([8, 24, 32, 128]) if grouped else None
        return compressed(packed_settings(bits, symmetric, group), packed_tensors(random, bits, symmetric, group), target)
    return make


def pack_quantized_by_index(random, target):
    """With weight_g_idx, which the library knows no more: the columns are put in the order of their groups, and back."""
    bits, symmetric, group = random.pick([3, 4, 8]), random.pick([True, False]), random.pick([8, 32])
    settings, tensors = packed_settings(bits, symmetric, group, actorder="group"), packed_tensors(random, bits, symmetric, group)
    r, c = tensors["weight_shape"].tolist()
    index = (torch.arange(c) // group)[torch.randperm(c, generator=random.generator)].int()
    one = lambda column: decompressed(packed_settings(bits, symmetric, None), tensors | {  # every column with its own scale
        "weight_scale": tensors["weight_scale"][:, index[column]:index[column] + 1],
        "weight_zero_point": tensors.get("weight_zero_point", torch.zeros(1, c, dtype=torch.int32))[:, index[column]:index[column] + 1]}, target)[:, column]
    plain = torch.stack([one(column) for column in range(c)], 1)
    return Stored({f"{X}.{name}": tensor for name, tensor in (tensors | {"weight_g_idx": index}).items()}, settings, {f"{X}.weight": plain})


def nvfp4(random, target):
    r, groups = random.below(1, 60), random.below(1, 9)
    settings = compressed_settings("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16, "scale_dtype": "torch.float8_e4m3fn"})
    tensors = {"weight_packed": random.bits((r, groups * 8), torch.uint8), "weight_scale": random.bits((r, groups), E4M3), "weight_global_scale": random.scales((1,), torch.float32, 3, 14)}
    return compressed(settings, tensors, target, {"input_global_scale": torch.ones(1)})


def mxfp4(random, target):
    r, groups = random.below(1, 60), random.below(1, 9)
    settings = compressed_settings("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"})
    return compressed(settings, {"weight_packed": random.bits((r, groups * 16), torch.uint8), "weight_scale": random.bits((r, groups), torch.uint8)}, target)


def mxfp8(random, target):
    r, groups = random.below(1, 60), random.below(1, 9)
    settings = compressed_settings("mxfp8-quantized", {"num_bits": 8, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"})
    return compressed(settings, {"weight": random.bits((r, groups * 32), E4M3), "weight_scale": random.bits((r, groups), torch.uint8)}, target)


# --- gpt-oss ---

def gpt_oss(random, target):
    name, e, r, groups = "model.layers.0.mlp.experts.gate_up_proj", random.below(1, 4), random.below(1, 40), random.below(1, 5)
    blocks = random.bits((e, r, groups, 16), torch.uint8)
    scales = torch.randint(*random.pick([(0, 255), (100, 140)]), (e, r, groups), dtype=torch.uint8, generator=random.generator)
    plain = convert_moe_packed_tensors(blocks.clone(), scales.clone(), dtype=target)
    return Stored({f"{name}_blocks": blocks, f"{name}_scales": scales}, {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}, {name: plain})


# --- bitsandbytes ---

def bitsandbytes4(kind, nested):
    def make(random, target):
        shape = (random.below(1, 90), random.below(1, 200))
        size, storage = random.pick([64, 64, 128, 256, 2048]), random.pick([torch.uint8, torch.uint8, torch.bfloat16, torch.float32])
        weight = random.normal(shape, random.pick(FLOATS))
        if -(-weight.numel() // 2) % storage.itemsize:
            storage = torch.uint8
        packed, state = bnb.quantize_4bit(weight, blocksize=size, quant_type=kind, compress_statistics=nested, quant_storage=storage)
        parts = state.as_dict(packed=True)
        if kind == "nf4" and shape[1] % size == 0:
            plain = bnb.dequantize_4bit(packed, state).to(target)
        else:  # its kernel for CPUs is wrong for rows that don't end with a block, and gives FP4 negative zeros, so this is the one that others are tested against
            absmax = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset if nested else state.absmax
            with torch.compiler.set_stance("force_eager"):
                plain = _dequantize_4bit_compute(packed.view(torch.uint8).flatten(), absmax, state.code, size, shape, state.dtype).to(target)
        settings = {"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": nested,
                    "bnb_4bit_quant_storage": str(storage)[6:]}
        return Stored({f"{X}.weight": packed} | {f"{X}.weight.{name}": part for name, part in parts.items()}, settings, {f"{X}.weight": plain})
    return make


def bitsandbytes8(random, target):
    weight, scales = random.bits((random.below(1, 90), random.below(1, 90)), torch.int8), random.scales((90,), torch.float32)
    scales = scales[:weight.shape[0]].clone()
    plain = bnb.int8_vectorwise_dequant(weight, scales).to(target)
    return Stored({f"{X}.weight": weight, f"{X}.SCB": scales, f"{X}.weight_format": torch.tensor(0, dtype=torch.uint8)},
                  {"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}, {f"{X}.weight": plain})


# --- GPTQ and AWQ ---

def unpacked(words, bits):
    """Each word's values, lowest bits first, in a new last dimension."""
    return (words.long() & 0xFFFFFFFF)[..., None] >> torch.arange(0, 32, bits) & (1 << bits) - 1


def gptq(bits, form):
    """As gptqmodel's dequantize_weight does it: zeros of the first form are one too small in every word, and carry over."""
    def make(random, target):
        per_word, groups = 32 // bits, random.below(1, 4)
        r, c = random.below(1, 5) * per_word, groups * random.pick([32, 64])
        qweight, qzeros = random.bits((c // per_word, r), torch.int32), random.bits((groups, r // per_word), torch.int32)
        scales = random.scales((groups, r), random.pick([torch.float16, torch.bfloat16]))
        size, how = c // groups, random.pick(["index", "order", "absent"])
        index = (torch.arange(c) // size).int()
        if how == "index":
            index = index[torch.randperm(c, generator=random.generator)]
        q = unpacked(qweight, bits).transpose(1, 2).reshape(c, r)
        ones = 0 if form == "gptq_v2" else sum(1 << i for i in range(0, 32, bits))
        z = unpacked(qzeros.long() + ones, bits).reshape(groups, r)
        plain = (scales[index.long()] * (q - z[index.long()]).to(scales.dtype)).T.contiguous().to(target)
        settings = {"quant_method": "gptq", "bits": bits, "group_size": -1 if groups == 1 else size, "desc_act": how == "index", "sym": False} | ({"checkpoint_format": form} if form else {})
        bias = random.normal((r,), torch.float16)
        tensors = {"qweight": qweight, "qzeros": qzeros, "scales": scales, "bias": bias} | ({} if how == "absent" else {"g_idx": index})
        return Stored({f"{X}.{name}": tensor for name, tensor in tensors.items()}, settings, {f"{X}.weight": plain, f"{X}.bias": bias})
    return make


def awq(zero_point):
    def make(random, target):
        size = random.pick([32, 64])
        r, groups = random.below(1, 9) * 8, random.below(1, 4)
        c = groups * size
        tensors = {"qweight": random.bits((c, r // 8), torch.int32), "scales": random.scales((groups, r), torch.float16)}
        if zero_point:
            tensors["qzeros"] = random.bits((groups, r // 8), torch.int32)
        converted = AutoAWQConverter(group_size=size, zero_point=zero_point).process({f"{X}.{name}": tensor.clone() for name, tensor in tensors.items()})
        plain = decompressed(packed_settings(4, not zero_point, size), {name.removeprefix(f"{X}."): tensor for name, tensor in converted.items()}, target)
        return Stored({f"{X}.{name}": tensor for name, tensor in tensors.items()},
                      {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": zero_point, "version": "gemm", "modules_to_not_convert": None}, {f"{X}.weight": plain})
    return make


# --- torchao, as transformers saves it ---

def float8(granularity):
    return lambda layer: torch.nn.Parameter(ao.Float8Tensor.from_hp(layer.weight, granularity=granularity), requires_grad=False)


def by_config(config):
    def weight(layer):
        ao.quantize_(layer, config)
        return layer.weight
    return weight


TORCHAO = {
    "float8-row": by_config(ao.Float8WeightOnlyConfig()),
    "float8-column": float8(ao.PerRow(dim=0)),
    "float8-tensor": float8(ao.PerTensor()),
    "float8-block": float8(PerBlock([8, 32])),
    "int8": by_config(ao.Int8WeightOnlyConfig(version=2)),
    "int8-group": by_config(ao.Int8WeightOnlyConfig(version=2, granularity=ao.PerGroup(16))),
    "int8-tensor": by_config(ao.Int8WeightOnlyConfig(version=2, granularity=ao.PerTensor())),
    "int8-dynamic": by_config(ao.Int8DynamicActivationInt8WeightConfig(version=2)),
    "intx": by_config(ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(32), version=2)),
    "intx-3": by_config(ao.IntxWeightOnlyConfig(weight_dtype=torch.int3, granularity=ao.PerAxis(0), version=2)),
    "intx-asymmetric": by_config(ao.IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=ao.PerGroup(16), mapping_type=ao.MappingType.ASYMMETRIC, version=2)),
}


def torchao(kind):
    def make(random, target):
        layer = torch.nn.Linear(random.below(1, 4) * 32, random.below(1, 9) * 8, bias=False, dtype=random.pick(FLOATS))
        layer.weight = torch.nn.Parameter(random.normal(tuple(layer.weight.shape), layer.weight.dtype), requires_grad=False)
        tensors, metadata = flatten_tensor_state_dict({f"{X}.weight": TORCHAO[kind](layer).detach(), "norm.weight": torch.ones(3)})
        read, _ = unflatten_tensor_state_dict(dict(tensors), metadata)
        plain = read[f"{X}.weight"].dequantize().to(target)
        del tensors["norm.weight"]
        return Stored({name: tensor.contiguous() for name, tensor in tensors.items()}, {"quant_method": "torchao", "quant_type": {"default": {"_type": kind}}}, {f"{X}.weight": plain}, metadata)
    return make


# --- ComfyUI, which has no config ---

def comfy(dialect):
    """comfy_kitchen's eager backend: the scale is rounded to the target first."""
    def make(random, target):
        kind = random.pick([E4M3, E5M2])
        form, scale, module = str(kind)[6:], random.scales(random.pick([(), (1,)]), torch.float32), "double_blocks.0.img_attn.qkv"
        weight, other = random.bits((random.below(1, 60), random.below(1, 60)), kind), random.bits((5, 7), kind)
        plain, metadata = {f"{module}.weight": weight.to(target) * scale.to(target)}, {}
        tensors = {f"{module}.weight": weight, f"{module}.scale_weight" if dialect == "old" else f"{module}.weight_scale": scale}
        if dialect == "old":
            tensors |= {"scaled_fp8": torch.zeros(random.pick([0, 2]), dtype=kind), f"{module}.scale_input": torch.tensor(1.0), "final.weight": other}
            plain["final.weight"] = other.to(target)
        elif dialect == "marked":
            tensors[f"{module}.comfy_quant"] = torch.tensor(list(json.dumps({"format": form}).encode()), dtype=torch.uint8)
        else:
            metadata["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": {module: {"format": form}}})
        return Stored(tensors, None, plain, metadata)
    return make


LAYOUTS = {
    **{f"fp8-block-{str(t)[6:]}": fp8_blocks(t) for t in (torch.float32, torch.bfloat16, E8M0, torch.uint8)},
    **{f"fp8-divisible-{str(t)[6:]}": fp8_divisible(t) for t in (torch.float32, torch.bfloat16, E8M0, torch.uint8)},
    "fp8-one-scale": fp8_one_scale, "fp8-experts": fp8_experts, "fp8-pairs": fp8_pairs("scale"), "fp8-pairs-mistral": fp8_pairs("qscale_weight"),
    **{f"ct-float-{s}": float_quantized(s) for s in ("channel", "tensor", "block")},
    **{f"ct-int-{s}-{'sym' if y else 'asym'}": int_quantized(s, y) for s in ("channel", "tensor", "group") for y in (True, False)},
    **{f"ct-pack-{b}-{'sym' if y else 'asym'}-{'group' if g else 'channel'}": pack_quantized(b, y, g) for b in range(1, 9) for y in (True, False) for g in (True, False)},
    "ct-pack-by-index": pack_quantized_by_index, "ct-nvfp4": nvfp4, "ct-mxfp4": mxfp4, "ct-mxfp8": mxfp8, "gpt-oss": gpt_oss,
    **{f"bnb-{k}{'-nested' if n else ''}": bitsandbytes4(k, n) for k in ("nf4", "fp4") for n in (True, False)}, "bnb-int8": bitsandbytes8,
    **{f"gptq-{b}-{f}": gptq(b, f) for b in (2, 4, 8) for f in ("gptq", "gptq_v2", None)}, "awq": awq(True), "awq-symmetric": awq(False),
    **{f"torchao-{k}": torchao(k) for k in TORCHAO},
    **{f"comfy-{d}": comfy(d) for d in ("old", "marked", "header")},
}
