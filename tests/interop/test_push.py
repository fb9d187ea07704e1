# SPDX-License-Identifier: Apache-2.0
"""hub-push and the official client on one repository: each reads what the other pushes, and neither pushes it again."""
import pathlib
import random
import shutil

import pytest
from huggingface_hub import HfApi, snapshot_download

from hub_fixture import Hub

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def hub():
    hub = Hub("--multipart", "10000", "--chunk", "4000", "--lfs-threshold", "8000", "--page", "3")
    yield hub
    hub.stop()


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(FIXTURES / "base", folder)
    (folder / "deep").mkdir()
    (folder / "deep" / "large.bin").write_bytes(random.Random(1).randbytes(50_001))
    (folder / "empty.txt").write_bytes(b"")
    return folder


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and ".cache" not in p.parts and p.name != ".gitattributes"}


def test_what_we_push_the_client_downloads(hub, model, tmp_path):
    url = hub.push(tmp_path, model, "ada/tiny").stdout.strip()
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    assert url.endswith(api.repo_info("ada/tiny").sha)
    there = snapshot_download("ada/tiny", endpoint=hub.url, token="hf_testwrite", local_dir=tmp_path / "there")
    assert contents(pathlib.Path(there)) == contents(model)
    hub.forget()
    api.upload_folder(repo_id="ada/tiny", folder_path=model)
    assert not hub.log(route="storage-put") and len(api.list_repo_commits("ada/tiny")) == 2


def test_what_the_client_pushes_we_find_the_same(hub, model, tmp_path):
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    api.create_repo("ada/tiny")
    api.upload_folder(repo_id="ada/tiny", folder_path=model)
    hub.forget()
    ours = hub.push(tmp_path, model, "ada/tiny")
    assert "nothing to do" in ours.stderr and not hub.log(route="commit") and not hub.log(route="batch")
    (model / "deep" / "large.bin").write_bytes(b"x" * 20_000)
    hub.push(tmp_path, "--delete", "empty*", "--exclude", "empty*", model, "ada/tiny")
    (model / "empty.txt").unlink()
    there = snapshot_download("ada/tiny", endpoint=hub.url, token="hf_testwrite", local_dir=tmp_path / "there")
    assert contents(pathlib.Path(there)) == contents(model)


def test_pull_requests_and_tags(hub, model, tmp_path):
    api = HfApi(endpoint=hub.url, token="hf_testwrite")
    api.create_repo("ada/tiny")
    url = hub.push(tmp_path, "--create-pr", "-m", "A title", model, "ada/tiny").stdout.strip()
    assert url.endswith("/ada/tiny/discussions/1")
    assert "config.json" in api.list_repo_files("ada/tiny", revision="refs/pr/1")
    assert "config.json" not in api.list_repo_files("ada/tiny")
    hub.push(tmp_path, "--tag", "v1", model, "ada/tiny")
    assert [tag.name for tag in api.list_repo_refs("ada/tiny").tags] == ["v1"]
