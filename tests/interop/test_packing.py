# SPDX-License-Identifier: Apache-2.0
"""The reference libraries read what we write; if they write the same thing, the bytes are the same."""
import json
import shutil

import pytest
import torch
from huggingface_hub import load_torch_model, save_torch_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32, "f64": torch.float64,
          "f8_e4m3": torch.float8_e4m3fn, "f8_e5m2": torch.float8_e5m2}


def some_tensors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for i, dtype in enumerate([torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool]):
        for k in range(3):
            shape = [int(torch.randint(0, 40, (1,), generator=generator)) for _ in range(k)]
            tensors[f"layer.{i}.{k}"] = (torch.randn(shape, generator=generator) * 100).to(dtype)
    return tensors


def same_bytes(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and bytes(a.contiguous().flatten().view(torch.uint8)) == bytes(b.contiguous().flatten().view(torch.uint8))


def test_a_single_file_is_byte_identical(tmp_path, run):
    save_file(some_tensors(), tmp_path / "in.safetensors", {"format": "pt"})
    run("st-pack", tmp_path / "in.safetensors", "-o", tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "in.safetensors").read_bytes()
    save_file(some_tensors(), tmp_path / "plain.safetensors")  # without metadata: ours says format pt
    run("st-pack", tmp_path / "plain.safetensors", "-o", tmp_path / "out.safetensors", "--force")
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "in.safetensors").read_bytes()


@pytest.mark.parametrize("limit", ["100B", "1KB", "2.5KB", "10KB", "1GB"])
def test_shards_and_index_are_those_of_huggingface_hub(tmp_path, run, limit):
    save_file(some_tensors(), tmp_path / "in.safetensors", {"format": "pt"})
    tensors = load_file(tmp_path / "in.safetensors")
    order = run("st-inspect", "--names", tmp_path / "in.safetensors").stdout.decode().split()
    state = {name: tensors[name] for name in order}
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir()
    save_torch_state_dict(state, theirs, max_shard_size=100 if limit == "100B" else limit)
    run("st-pack", tmp_path / "in.safetensors", "-o", ours, "--max-shard-size", limit)
    assert sorted(p.name for p in theirs.iterdir()) == sorted(p.name for p in ours.iterdir())
    for path in theirs.iterdir():
        assert path.read_bytes() == (ours / path.name).read_bytes(), path.name


@pytest.mark.parametrize("target", DTYPES)
@pytest.mark.parametrize("source", ["f32", "bf16", "f16", "f64"])
def test_casts_are_torchs(tmp_path, run, source, target):
    torch.manual_seed(5)
    bits = torch.randint(-2**31, 2**31, (40_000,), dtype=torch.int64).to(torch.int32).view(torch.float32)
    near = torch.cat([torch.randn(20_000) * s for s in (1, 1e-3, 1e-7, 1e4, 448)])
    special = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 448, 464, 464.1, 480, 57344, 61440, 65504, 65519, 65520, 2**-24, 2**-25, 2**-9, 2**-10])
    values = torch.cat([bits, near, special]).to(DTYPES[source])
    save_file({"t": values}, tmp_path / "in.safetensors")
    run("st-pack", tmp_path / "in.safetensors", "-o", tmp_path / "out.safetensors", "--dtype", target)
    ours = load_file(tmp_path / "out.safetensors")["t"]
    expected = values.to(DTYPES[target])
    assert ours.dtype == expected.dtype
    nan = expected.float().isnan()
    assert torch.equal(nan, ours.float().isnan())
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[expected.element_size()]
    assert torch.equal(ours.view(width)[~nan], expected.view(width)[~nan])


@pytest.mark.parametrize("name", ["full-run/checkpoint-40", "sharded", "tied", "base"])
@pytest.mark.parametrize("options", [[], ["--max-shard-size", "30KB"], ["--dtype", "bf16"]])
def test_transformers_loads_what_we_pack(tmp_path, run, fixtures, name, options):
    run("st-pack", fixtures / name, "-o", tmp_path / "out", "--verify", *options)
    before = AutoModelForCausalLM.from_pretrained(fixtures / name, dtype="auto")
    after, report = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert after.dtype == (torch.bfloat16 if "bf16" in options else before.dtype)
    for (key, a), (_, b) in zip(before.state_dict().items(), after.state_dict().items()):
        assert torch.equal(a.to(b.dtype), b), key
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer("hello").input_ids == AutoTokenizer.from_pretrained(fixtures / name)("hello").input_ids


def test_what_transformers_writes_passes_every_check(tmp_path, run, fixtures):
    model = AutoModelForCausalLM.from_pretrained(fixtures / "base")
    model.save_pretrained(tmp_path / "m", max_shard_size="50KB")
    AutoTokenizer.from_pretrained(fixtures / "base").save_pretrained(tmp_path / "m")
    assert run("st-inspect", "--check=hub", tmp_path / "m").stdout.decode().endswith("sound, level hub\n")
    run("st-inspect", "--diff", fixtures / "base", tmp_path / "m")


def test_huggingface_hub_loads_our_shards(tmp_path, run, fixtures):
    run("st-pack", fixtures / "base", "-o", tmp_path / "out", "--max-shard-size", "30KB")
    model = AutoModelForCausalLM.from_pretrained(fixtures / "base")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    load_torch_model(model, tmp_path / "out")
    for name, tensor in AutoModelForCausalLM.from_pretrained(fixtures / "base").state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_peft_loads_the_adapter_we_pack(tmp_path, run, fixtures):
    from peft import PeftModel

    run("st-pack", fixtures / "lora-run/checkpoint-40", "-o", tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "optimizer.pt").exists()
    base = lambda: AutoModelForCausalLM.from_pretrained(fixtures / "base")
    before = PeftModel.from_pretrained(base(), fixtures / "lora-run/checkpoint-40").state_dict()
    after = PeftModel.from_pretrained(base(), tmp_path / "adapter").state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


def test_tied_embeddings_are_written_once_as_transformers_does(tmp_path, run, fixtures):
    folder = tmp_path / "in"
    shutil.copytree(fixtures / "tied", folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    run("st-pack", folder, "-o", tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (fixtures / "tied/model.safetensors").read_bytes()
    run("st-inspect", "--diff", folder, tmp_path / "out")


def test_a_cache_snapshot_made_of_links_is_packed_whole(tmp_path, run, fixtures):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/abc"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for i, path in enumerate(sorted((fixtures / "sharded").iterdir())):
        shutil.copy(path, blobs / str(i))
        (snapshot / path.name).symlink_to(f"../../blobs/{i}")
    run("st-pack", snapshot, "-o", tmp_path / "out")
    assert all(path.is_file() and not path.is_symlink() for path in (tmp_path / "out").iterdir())
    run("st-inspect", "--diff", fixtures / "sharded", tmp_path / "out")


def test_index_of_a_real_save_is_rewritten_the_same(tmp_path, run, fixtures):
    run("st-pack", fixtures / "sharded", "-o", tmp_path / "out", "--max-shard-size", "30KB")
    index = json.loads((tmp_path / "out/model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 78144
    for name, shard in index["weight_map"].items():
        assert name in load_file(tmp_path / "out" / shard)
