# SPDX-License-Identifier: Apache-2.0
"""st-pack writes what training saved under memory's names as save_pretrained does, and back; published names stay as they are."""
import filecmp
import json
import pathlib
import shutil
import struct

import pytest
import torch
import torch.distributed.checkpoint as dcp
import transformers
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import load_file, save_file
from transformers import core_model_loading

import names_table
from test_families import make
from test_tensor_names import SAMPLE, TABLE

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
FAMILIES = ["qwen3-moe", "mixtral", "gpt-oss", "deepseek-v3", "qwen2.5-vl", "gemma3", "llava"]
WITH_EXPERTS = {"qwen3-moe", "mixtral", "deepseek-v3"}  # whose experts are stacked in memory alone
SHARD = "20KB"
# Names that do not belong to a model that is published: heads, foreign and older ones.
ADDED = ["lm_head.weight", "score.weight", "v_head.summary.weight", "encoder.mlp.experts.gate_up_proj", "transformer.h.0.ln_1.gamma", "model.model.norm.weight"]


def saved(model):
    """The state dict as loaders know it: without the copies of tied tensors."""
    return {name: tensor for name, tensor in model.state_dict().items() if name not in model.all_tied_weights_keys}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """A small model as training leaves it (dcp, torch, safetensors) and as save_pretrained publishes it (whole, shards)."""

    class Family:
        name, folder, model = request.param, tmp_path_factory.mktemp(request.param), make(request.param)

    model, folder = Family.model, Family.folder
    model.save_pretrained(folder / "whole")
    model.save_pretrained(folder / "shards", max_shard_size=SHARD)
    for kind in ("dcp", "torch", "safetensors"):
        (folder / kind).mkdir()
        shutil.copy(folder / "whole/config.json", folder / kind)
    dcp.save(model.state_dict(), checkpoint_id=folder / "dcp", no_dist=True)
    torch.save(model.state_dict(), folder / "torch/pytorch_model.bin")
    save_file({name: tensor.contiguous() for name, tensor in saved(model).items()}, folder / "safetensors/model.safetensors", {"format": "pt"})
    return Family


def weights(folder):
    """The bytes of each file of weights, and what the index says of them."""
    files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
    index = folder / "model.safetensors.index.json"
    return files, json.loads(index.read_text())["weight_map"] if index.exists() else {}


@pytest.mark.parametrize("kind", ["dcp", "torch", "safetensors"])
def test_memory_s_names_are_written_as_save_pretrained_writes_them(family, tmp_path, run, kind):
    run("st-pack", family.folder / kind, "-o", tmp_path / "whole")
    run("st-pack", family.folder / kind, "-o", tmp_path / "shards", "--max-shard-size", SHARD, "--names", "published")
    assert weights(tmp_path / "whole") == weights(family.folder / "whole")
    # Where nothing is renamed, tensors stay in the order of the input; that of a file is not the model's.
    if kind != "safetensors" or family.name != "gpt-oss":
        assert weights(tmp_path / "shards") == weights(family.folder / "shards")
    assert len(weights(family.folder / "shards")[0]) > 1


def test_names_as_they_are_stay_those_of_memory(family, tmp_path, run):
    run("st-pack", family.folder / "dcp", "-o", tmp_path / "out", "--names", "as-is")
    assert load_file(tmp_path / "out/model.safetensors").keys() == saved(family.model).keys()


def test_the_way_back_is_the_state_dict(family, tmp_path, run):
    if family.name not in WITH_EXPERTS:
        for way in ("stack", "split"):
            run("st-pack", family.folder / "whole", "-o", tmp_path / "out", "--experts", way, code=4)
        return
    for form in ("whole", "shards", "safetensors"):
        run("st-pack", family.folder / form, "-o", tmp_path / form, "--experts", "stack")
        got, expected = load_file(tmp_path / form / "model.safetensors"), saved(family.model)
        assert got.keys() == expected.keys()
        assert all(got[name].dtype == expected[name].dtype and got[name].equal(expected[name]) for name in got)
    run("st-pack", tmp_path / "whole", "-o", tmp_path / "again", "--experts", "split")
    assert weights(tmp_path / "again") == weights(family.folder / "whole")


def test_what_is_published_keeps_its_bytes(family, tmp_path, run):
    for form in ("whole", "shards"):
        for names in ("as-is", "auto", "published"):
            run("st-pack", family.folder / form, "-o", tmp_path / f"{form}-{names}", "--names", names, "--max-shard-size", SHARD)
            assert weights(tmp_path / f"{form}-{names}") == weights(tmp_path / f"{form}-as-is")
        run("st-pack", family.folder / form, "-o", tmp_path / form)
        assert weights(tmp_path / form) == weights(family.folder / "whole")


def only_in_memory(family):
    published = load_file(family.folder / "whole/model.safetensors")
    return [name for name in saved(family.model) if name not in published][:1]


def test_names_that_do_not_belong_to_it_change_nothing(family, tmp_path, run):
    published = load_file(family.folder / "whole/model.safetensors")
    for number, name in enumerate(name for name in [*ADDED, *only_in_memory(family)] if name not in published):
        folder = tmp_path / str(number)
        shutil.copytree(family.folder / "whole", folder / "in")
        save_file(published | {name: torch.ones(2, 4, dtype=torch.bfloat16)}, folder / "in/model.safetensors", {"format": "pt"})
        run("st-pack", folder / "in", "-o", folder / "auto")
        run("st-pack", folder / "in", "-o", folder / "as-is", "--names", "as-is")
        assert weights(folder / "auto") == weights(folder / "as-is"), name
        assert load_file(folder / "auto/model.safetensors").keys() == published.keys() | {name}
        code = run("st-pack", folder / "in", "-o", folder / "published", "--names", "published", code=None).returncode
        assert code in (0, 4)
        if code == 0:
            assert weights(folder / "published") == weights(folder / "as-is"), name


def test_a_published_name_among_those_of_memory_changes_nothing(family, tmp_path, run):
    published, memory = load_file(family.folder / "whole/model.safetensors"), load_file(family.folder / "safetensors/model.safetensors")
    only_published = [name for name in published if name not in memory]
    if not only_published:
        return
    shutil.copytree(family.folder / "safetensors", tmp_path / "in")
    save_file(memory | {only_published[0]: published[only_published[0]]}, tmp_path / "in/model.safetensors", {"format": "pt"})
    run("st-pack", tmp_path / "in", "-o", tmp_path / "auto")
    assert load_file(tmp_path / "auto/model.safetensors").keys() == memory.keys() | {only_published[0]}
    run("st-pack", tmp_path / "in", "-o", tmp_path / "published", "--names", "published", code=4)


IN_MEMORY = {str(path.relative_to(FIXTURES)) for path in FIXTURES.glob("names/*/memory")}


@pytest.mark.parametrize("folder", sorted({str(path.parent.relative_to(FIXTURES)) for path in FIXTURES.rglob("config.json")} - IN_MEMORY))
def test_fixtures_keep_their_names(tmp_path, run, folder):
    codes = [run("st-pack", FIXTURES / folder, "-o", tmp_path / names, "--names", names, code=None).returncode for names in ("auto", "as-is")]
    assert codes[0] == codes[1]
    if codes[0] == 0:
        assert not filecmp.dircmp(tmp_path / "auto", tmp_path / "as-is").diff_files
        assert weights(tmp_path / "auto") == weights(tmp_path / "as-is") and weights(tmp_path / "auto")[0]


DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64", torch.int64: "I64", torch.int32: "I32", torch.int16: "I16",
          torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64"}


def size(tensor):
    return tensor.numel() * tensor.element_size()


def hollow(folder, config, tensors):
    """A model folder with the names and shapes of these tensors; their data is one hole in the file."""
    folder.mkdir()
    (folder / "config.json").write_text(config.to_json_string(use_diff=False))  # save_pretrained would judge values that names_table sets
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [end, end + size(tensor)]}
        end += size(tensor)
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(file.tell() + end)
    return folder


def planned(run, *arguments):
    """The name and shape of each tensor that st-pack would write, by file."""
    plan = json.loads(run("st-pack", "-n", "--json", *arguments).stdout)
    return {file["file"]: {tensor["name"]: tensor["shape"] for tensor in file["tensors"]} for file in plan["weights"]}


def shapes(tensors):
    return {name: list(tensor.shape) for name, tensor in tensors.items()}


# Of those whose names are the same on both sides ("-") every tensor stays where it is.
CLASSES = [line.split("\t")[1] for line in TABLE.read_text().splitlines() if line.startswith("class\t") and line.endswith("\tauto") and "\t-\t" not in line]
SAME = [line.split("\t")[1] for line in TABLE.read_text().splitlines() if line.startswith("class\t") and line.endswith("\t-\tauto")]


# Classes whose rules for loading alone do not lead back to the names in memory: transformers also looks at the model.
ONE_WAY = {"DeepseekV4ForCausalLM", "MiniMaxM3VLModel", "RfDetrForInstanceSegmentation", "RfDetrForObjectDetection", "Step3p7Model"}


@pytest.mark.parametrize("name", [name if name in SAMPLE else pytest.param(name, marks=pytest.mark.full) for name in CLASSES])
def test_every_class_is_written_as_the_library_writes_it(tmp_path, run, name):
    """All layers of the default config, on the meta device: names, shapes, the order in which shards are filled, and back."""
    config = names_table.config_of(getattr(transformers, name))
    with torch.device("meta"):
        model = getattr(transformers, name)(config)
    model.config.architectures = [name]
    memory = saved(model)
    published = core_model_loading.revert_weight_conversion(model, dict(memory))
    shard = max(sum(map(size, published.values())) // 4, 1)
    # What was split from one tensor is in one storage, and so in one shard. The library does not ask this on the meta device.
    storage = {"get_storage_id": lambda tensor: tensor.untyped_storage()._cdata, "get_storage_size": lambda tensor: tensor.untyped_storage().nbytes()}
    split = split_state_dict_into_shards_factory(published, **storage, max_shard_size=shard, filename_pattern="model{suffix}.safetensors")
    expected = {file: shapes({key: published[key] for key in keys}) for file, keys in split.filename_to_tensors.items()}

    source, out = hollow(tmp_path / "memory", model.config, memory), tmp_path / "out"
    assert planned(run, source, "-o", out, "--max-shard-size", shard) == expected
    source = hollow(tmp_path / "published", model.config, published)
    for names in ("auto", "published"):
        assert planned(run, source, "-o", out, "--max-shard-size", 0, "--names", names) == {"model.safetensors": shapes(published)}
    converts = any("ops" in rule for rule in names_table.rules_of(names_table.mapping.get_model_conversion_mapping(model, add_legacy=False))["save"])
    if converts:
        stacked = planned(run, source, "-o", out, "--experts", "stack", "--max-shard-size", 0)
        assert name in ONE_WAY or stacked == {"model.safetensors": shapes(memory)}
    else:
        run("st-pack", "-n", source, "-o", out, "--experts", "stack", code=4)


@pytest.mark.full
@pytest.mark.parametrize("name", SAME)
def test_a_class_with_the_same_names_on_both_sides_is_kept(tmp_path, run, name):
    config = names_table.config_of(getattr(transformers, name))
    with torch.device("meta"):
        model = getattr(transformers, name)(config)
    model.config.architectures = [name]
    memory = saved(model)
    source, out = hollow(tmp_path / "memory", model.config, memory), tmp_path / "out"
    total = sum(map(size, memory.values()))
    kept = planned(run, source, "-o", out, "--max-shard-size", max(total // 4, 1), "--names", "as-is")
    for names in ("auto", "published"):
        assert planned(run, source, "-o", out, "--max-shard-size", max(total // 4, 1), "--names", names) == kept
    assert {key for file in kept.values() for key in file} == core_model_loading.revert_weight_conversion(model, dict(memory)).keys()
