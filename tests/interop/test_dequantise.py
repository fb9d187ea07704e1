# SPDX-License-Identifier: Apache-2.0
"""Every layout of quantised weights, made plain by st-pack --dequantize and by the library that reads it: the same bits."""
import hashlib
import json

import pytest
import torch
from quantised_models import FLOATS, LAYOUTS, Random, Stored
from safetensors import safe_open
from safetensors.torch import load_file, save_file

SEEDS = 6
TYPES = dict(zip(("bf16", "f16", "f32"), FLOATS))
QUANTISED = "quantized"  # the folder of the fixtures


def bits(tensor):
    """Of NaNs the reference makes by itself, any is right."""
    tensor = torch.where(tensor.isnan(), torch.nan, tensor) if tensor.is_floating_point() and tensor.element_size() > 1 else tensor
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


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
