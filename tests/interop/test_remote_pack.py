# SPDX-License-Identifier: Apache-2.0
"""st-pack of a model that is on a hub writes what it writes of the copy that the official client downloads."""
import os
import pathlib
import subprocess

import pytest
from huggingface_hub import HfApi, snapshot_download

from hub_fixture import Hub

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def hub():
    with Hub("--lfs-threshold", "20000", "--page", "3") as hub:
        yield hub


def pack(hub, tmp_path, *arguments):
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_testwrite", "HF_HOME": str(tmp_path / "hf"), "HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
    env.pop("HF_HUB_DISABLE_IMPLICIT_TOKEN", None)
    done = subprocess.run([pathlib.Path(os.environ["BIN_DIR"]) / "st-pack", "-q", *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def files_below(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_same(ours, theirs):
    names = files_below(theirs)
    assert files_below(ours) == names
    assert [name for name in names if (ours / name).read_bytes() != (theirs / name).read_bytes()] == []


@pytest.mark.parametrize("options", [(), ("--dtype", "f16", "--max-shard-size", "30KB"), ("--select", "*layers.0*")])
@pytest.mark.parametrize("name", ["base", "sharded", "tied", "fsdp-run/checkpoint-1", "zero3-run/checkpoint-1"])
def test_the_same_as_of_a_download(hub, tmp_path, name, options):
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    api.create_repo("ada/m", private=True)
    api.upload_folder(repo_id="ada/m", folder_path=FIXTURES / name)
    copy = tmp_path / "copy"
    snapshot_download("ada/m", endpoint=hub.url, token="hf_testwrite", local_dir=copy)
    pack(hub, tmp_path, "hf://ada/m", "-o", tmp_path / "ours", *options)
    pack(hub, tmp_path, copy, "-o", tmp_path / "theirs", *options)
    assert_same(tmp_path / "ours", tmp_path / "theirs")


def test_code_templates_and_folders_below(hub, tmp_path):
    """What beside the weights comes along, and what of a repository does not."""
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    api.create_repo("ada/m")
    api.upload_folder(repo_id="ada/m", folder_path=FIXTURES / "sharded")
    api.upload_folder(repo_id="ada/m", folder_path=FIXTURES / "base", path_in_repo="original")
    config = (FIXTURES / "sharded/config.json").read_text().strip()
    for path, text in {"config.json": config[:-1] + ', "auto_map": {"AutoModel": "modeling_x.Model"}}', "modeling_x.py": "from .layers_x import a\n", "layers_x.py": "a = 1\n",
                       "unused_x.py": "b = 1\n", "additional_chat_templates/rag.jinja": "x", "README.md": "---\nlicense: mit\n---\n", "notes.txt": "x", "vocab.json": "{}",
                       "onnx/model.onnx": "x", "tokenizer/tokenizer.json": "{}"}.items():
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id="ada/m")
    copy = pathlib.Path(snapshot_download("ada/m", endpoint=hub.url, token="hf_testwrite", cache_dir=tmp_path / "cache"))
    pack(hub, tmp_path, "hf://ada/m", "-o", tmp_path / "ours")
    pack(hub, tmp_path, copy, "-o", tmp_path / "theirs")
    assert (tmp_path / "ours/layers_x.py").exists()
    assert_same(tmp_path / "ours", tmp_path / "theirs")
    pack(hub, tmp_path, "hf://ada/m/original", "-o", tmp_path / "below")
    pack(hub, tmp_path, copy / "original", "-o", tmp_path / "below-theirs")
    assert_same(tmp_path / "below", tmp_path / "below-theirs")


def test_an_adapter_that_the_client_published(hub, tmp_path):
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    for repo, folder in {"ada/base": "base", "ada/lora": "lora-adapter"}.items():
        api.create_repo(repo)
        api.upload_folder(repo_id=repo, folder_path=FIXTURES / folder)
    base, lora = (snapshot_download(repo, endpoint=hub.url, token="hf_testwrite", cache_dir=tmp_path / "cache") for repo in ("ada/base", "ada/lora"))
    for options in ((), ("--quantize", "fp8-dynamic")):
        for name, words in {"ours": ("hf://ada/base", "--adapter", "hf://ada/lora@main:0.5"), "theirs": (base, "--adapter", f"{lora}:0.5")}.items():
            pack(hub, tmp_path, *words, "--force", "-o", tmp_path / name, *options)
        assert_same(tmp_path / "ours", tmp_path / "theirs")
