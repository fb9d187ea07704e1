# SPDX-License-Identifier: Apache-2.0
"""Every layout of quantised weights, made plain by st-pack --dequantize and by the library that reads it: the same bits."""
import hashlib
import json

import pytest
import torch
from quantised_models import E4M3, FLOATS, LAYOUTS, Random, X  # first: where the libraries are

from compressed_tensors.entrypoints.convert.converters.ct_dequantizer import CompressedTensorsDequantizer
from compressed_tensors.utils.match import match_name
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SEEDS = 6
TYPES = dict(zip(("bf16", "f16", "f32"), FLOATS))
QUANTISED = "quantized"  # the folder of the fixtures


def bits(tensor):
    """Of NaNs the reference makes by itself, any is right."""
    tensor = torch.where(tensor.isnan(), torch.nan, tensor) if tensor.is_floating_point() and tensor.element_size() > 1 else tensor
    return tensor.flatten().clone().view(torch.uint8).numpy().tobytes()  # cloned, as strides of one element may be odd


def same(ours, theirs):
    assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
    assert bits(ours) == bits(theirs), f"{(ours != theirs).sum()} of {ours.numel()} differ, first {ours[ours != theirs][:3]} for {theirs[ours != theirs][:3]}"


def write(folder, stored, random):
    """The model, with plain tensors beside the quantised one, which must stay as they are. Returns these."""
    folder.mkdir()
    plain = {"lm_head.weight": random.normal((3, 5), torch.float32), "model.norm.weight": random.normal((7,), torch.bfloat16), "norm.weight": random.normal((3,), torch.float16)}
    save_file(stored.tensors | plain, folder / "model.safetensors", metadata={"format": "pt"} | stored.metadata)
    if stored.settings is not None:
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "dtype": "float16", "quantization_config": stored.settings}))
    return plain


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values(run, tmp_path, layout):
    for seed in range(SEEDS):
        name, target = list(TYPES.items())[seed % 3]
        random = Random(1000 * seed + len(layout))
        stored = LAYOUTS[layout](random, target)
        folder, out = tmp_path / f"{seed}", tmp_path / f"{seed}-out"
        untouched = write(folder, stored, random)
        run("st-pack", folder if stored.settings is not None else folder / "model.safetensors", f"--dequantize={name}", "-o", out)
        ours = load_file(out / "model.safetensors" if out.is_dir() else out)
        assert set(ours) == set(stored.plain) | set(untouched), (layout, seed)
        for tensor, expected in (stored.plain | untouched).items():
            same(ours[tensor], expected)
        with safe_open(out / "model.safetensors" if out.is_dir() else out, "pt") as f:
            assert f.metadata() == {"format": "pt"}
        if stored.settings is not None:
            assert json.loads((out / "config.json").read_text()) == {"model_type": "llama", "dtype": str(target)[6:]}


@pytest.mark.parametrize("layout", ["bnb-nf4", "bnb-int8", "gptq-4-gptq"])
def test_conv1d(run, tmp_path, layout):
    """GPT-2 stores [in, out]; libraries that put their own linear layers there store [out, in]."""
    stored = LAYOUTS[layout](Random(3), torch.bfloat16)
    plain = stored.plain[f"{X}.weight"]
    stored.tensors = {name.replace(X, "h.0.attn.c_proj"): tensor for name, tensor in stored.tensors.items()}
    write(tmp_path / "in", stored, Random(4))
    config = tmp_path / "in/config.json"
    config.write_text(config.read_text().replace("llama", "gpt2"))
    run("st-pack", tmp_path / "in", "--dequantize=bf16", "-o", tmp_path / "out")
    same(load_file(tmp_path / "out/model.safetensors")["h.0.attn.c_proj.weight"], plain.T.contiguous())


def folders(fixtures):
    return sorted(path.parent for path in (fixtures / QUANTISED).glob("*/plain.json"))


def test_real_files(run, fixtures, tmp_path):
    """What the writers themselves make, against the digests of what the libraries read."""
    assert len(folders(fixtures)) == 12
    for folder in folders(fixtures):
        out = tmp_path / folder.name
        run("st-pack", folder, "--dequantize=bf16", "-o", out)
        ours, wanted = load_file(out / "model.safetensors"), json.loads((folder / "plain.json").read_text())
        assert {name: (str(tensor.dtype)[6:], list(tensor.shape), hashlib.sha256(bits(tensor)).hexdigest()) for name, tensor in ours.items()} == {
            name: (of["dtype"], of["shape"], of["sha256"]) for name, of in wanted.items()}, folder.name


FORMATS = {
    "float-quantized": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True},
    "int-quantized": {"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": True},
    "pack-quantized": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True},
    "mxfp4-pack-quantized": {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "symmetric": True, "scale_dtype": "torch.uint8"},
}
# Name: for each group its format and targets, then what is ignored.
GROUPS = {
    "one": ([("float-quantized", ["Linear"])], []),
    "by-name": ([("pack-quantized", ["m.0.up", "m.1.up"]), ("float-quantized", ["Linear"])], ["lm_head"]),
    "by-regex": ([("int-quantized", [r"re:m\.\d\.(up|q)$"]), ("pack-quantized", ["re:.*down"])], [r"re:m\.0\.q"]),
    "regex-matches-from-the-start": ([("float-quantized", ["re:m.0"]), ("pack-quantized", ["re:m.1"])], ["re:up", "q"]),
    "mixed": ([("mxfp4-pack-quantized", ["re:.*down"]), ("float-quantized", ["re:.*(up|q)"])], ["m.1.q"]),
    "first-wins": ([("pack-quantized", ["re:.*"]), ("pack-quantized", ["Linear"])], ["m.1.down"]),
}


@pytest.mark.parametrize("case", GROUPS)
def test_groups(run, tmp_path, case):
    """Which group a module belongs to, and which modules none."""
    groups, ignored = GROUPS[case]
    random, folder = Random(len(case)), tmp_path / "in"
    of = [target_group(name, groups, ignored) for name in MODULES]
    tensors = {"m.0.norm.weight": random.normal((64,), torch.bfloat16), "m.0.k_scale": torch.tensor(1.0)}
    for name, form in zip(MODULES, of):
        tensors |= {f"{name}.{part}": tensor for part, tensor in one_of(form, random).items()}
    names = [form for form, _ in groups]
    settings = {"quant_method": "compressed-tensors", "format": names[0] if len(set(names)) == 1 else "mixed-precision", "quantization_status": "compressed", "ignore": ignored,
                "config_groups": {f"group_{i}": {"targets": targets, "weights": {"dynamic": False, "group_size": None} | FORMATS[form],
                                              # The library guesses the format again, and without this takes int-quantized for packed.
                                              "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True} if form == "int-quantized" else None, "format": form} for i, (form, targets) in enumerate(groups)}}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"dtype": "bfloat16", "quantization_config": settings}))
    theirs = CompressedTensorsDequantizer(str(folder)).process(dict(tensors))
    run("st-pack", folder, "--dequantize", "-o", tmp_path / "out")
    ours = load_file(tmp_path / "out/model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        same(ours[name], tensor)


MODULES = [f"m.{i}.{name}" for i in (0, 1) for name in ("up", "down", "q")] + ["lm_head"]


def target_group(module, groups, ignored):
    """The format of the group that takes the module, as the library finds it; None: it stays as it is."""
    if any(match_name(module, name) for name in ignored):
        return None
    return next((form for form, targets in groups if "Linear" in targets or any(match_name(module, target) for target in targets)), None)


def one_of(form, random):
    if form is None:
        return {"weight": random.normal((24, 64), torch.bfloat16)}
    scale = random.scales((24, 2 if "pack" in form else 1), torch.uint8 if "mxfp4" in form else torch.bfloat16)
    if form == "pack-quantized":
        return {"weight_packed": random.bits((24, 8), torch.int32), "weight_scale": scale, "weight_shape": torch.tensor([24, 64])}
    if form == "mxfp4-pack-quantized":
        return {"weight_packed": random.bits((24, 32), torch.uint8), "weight_scale": scale}
    return {"weight": random.bits((24, 64), E4M3 if form == "float-quantized" else torch.int8), "weight_scale": scale}
