# SPDX-License-Identifier: Apache-2.0
"""st-inspect reads in place what the official client publishes, and both report the same about it."""
import json
import os
import pathlib
import subprocess

import pytest
from huggingface_hub import HfApi

from hub_fixture import Hub

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def hub():
    with Hub("--page", "3") as hub:
        yield hub


def inspect(hub, tmp_path, *arguments):
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_testwrite", "HOME": str(tmp_path), "no_proxy": "127.0.0.1"}
    env.pop("HF_HUB_DISABLE_IMPLICIT_TOKEN", None)
    done = subprocess.run([pathlib.Path(os.environ["BIN_DIR"]) / "st-inspect", *arguments], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["base", "sharded", "tied"])
def test_we_read_what_the_client_published(hub, tmp_path, name):
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    api.create_repo("ada/tiny", private=True)
    api.upload_folder(repo_id="ada/tiny", folder_path=FIXTURES / name)
    theirs = api.get_safetensors_metadata("ada/tiny")
    lines = [line.split("\t") for line in inspect(hub, tmp_path, "-t", "hf://ada/tiny").splitlines()]
    ours = {line[0]: (line[1], [int(n) for n in line[2].split(",") if n], line[5]) for line in lines}
    assert set(ours) == set(theirs.weight_map)
    for tensor, file in theirs.weight_map.items():
        info = theirs.files_metadata[file].tensors[tensor]
        assert ours[tensor] == (info.dtype, info.shape, file)
    report = json.loads(inspect(hub, tmp_path, "--json", "hf://ada/tiny"))
    assert report["parameters"] == sum(theirs.parameter_count.values())
    assert inspect(hub, tmp_path, "--diff", "hf://ada/tiny", FIXTURES / name).startswith("same:")


def test_a_revision_and_a_folder_below(hub, tmp_path):
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    api.create_repo("ada/tiny")
    api.create_branch("ada/tiny", branch="dev/x")
    api.upload_folder(repo_id="ada/tiny", folder_path=FIXTURES / "base", path_in_repo="last", revision="dev/x")
    assert inspect(hub, tmp_path, "--names", "hf://ada/tiny@dev%2Fx/last") == inspect(hub, tmp_path, "--names", FIXTURES / "base")
