# SPDX-License-Identifier: Apache-2.0
"""hub-push into the cache of the Hugging Face libraries: they load from it, scan it, and share it with us."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download
from hub_fixture import Hub

BIN = pathlib.Path(os.environ["BIN_DIR"])
FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def push(folder, repo, cache, *options):
    environment = {**os.environ, "HOME": str(cache.parent), "XDG_CACHE_HOME": str(cache.parent / "xdg")}
    done = subprocess.run([BIN / "hub-push", folder, repo, "--endpoint", f"file://{cache}", *options], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return pathlib.Path(done.stdout.strip().removeprefix("file://"))


def git_tree(files):
    """The id of a tree: {path: (size, hash)} with SHA-256 for files in LFS. Independent of our C++."""
    entries = {}
    for path, (size, digest) in files.items():
        name, _, rest = path.partition("/")
        if rest:
            entries.setdefault(name + "/", {})[rest] = (size, digest)
        else:
            if len(digest) == 64:
                pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n".encode()
                digest = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
            entries[name] = digest
    body = b""
    for name in sorted(entries):
        digest = entries[name]
        if isinstance(digest, dict):
            digest = git_tree(digest)
        body += (b"40000 " if name.endswith("/") else b"100644 ") + name.rstrip("/").encode() + b"\0" + bytes.fromhex(digest)
    return hashlib.sha1(b"tree %d\0" % len(body) + body).hexdigest()


def layout(repo, commit):
    """{path: hash of its blob}, with links checked to be as the library writes them."""
    found = {}
    root = repo / "snapshots" / commit
    for path in root.rglob("*"):
        if path.is_dir():
            continue
        name = path.relative_to(root).as_posix()
        target = os.readlink(path)
        assert target == "../" * (2 + name.count("/")) + "blobs/" + path.resolve().name
        found[name] = path.resolve().name
    return found


def test_a_full_model_loads_by_name_without_a_network(cache, offline):
    push(FIXTURES / "base", "ada/tiny", cache)
    assert "LlamaForCausalLM" in offline.run(
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        "print(type(AutoModelForCausalLM.from_pretrained('ada/tiny')).__name__, AutoTokenizer.from_pretrained('ada/tiny')('a').input_ids)", cache.parent, cache)
    assert not scan_cache_dir(cache).warnings
    listing = subprocess.run([pathlib.Path(sys.executable).with_name("hf"), "cache", "ls", "--cache-dir", cache], capture_output=True, text=True)
    assert listing.returncode == 0 and "ada/tiny" in listing.stdout


def test_an_adapter_loads_by_name_on_its_base_without_a_network(cache, tmp_path, offline):
    adapter = tmp_path / "adapter"
    shutil.copytree(FIXTURES / "lora-run/checkpoint-40", adapter)
    document = json.loads((adapter / "adapter_config.json").read_text())
    document["base_model_name_or_path"] = "ada/base"
    (adapter / "adapter_config.json").write_text(json.dumps(document))
    push(FIXTURES / "base", "ada/base", cache)
    push(adapter, "ada/adapter", cache)
    assert "PeftModel" in offline.run(
        "from peft import AutoPeftModelForCausalLM\nprint(type(AutoPeftModelForCausalLM.from_pretrained('ada/adapter')).__mro__)", tmp_path, cache)
    assert not scan_cache_dir(cache).warnings


def test_the_layout_is_what_a_download_leaves(cache, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(FIXTURES / "base", folder)
    (folder / "deep/er").mkdir(parents=True)
    (folder / "deep/er/ä file.txt").write_text("text")
    (folder / "deep.txt").write_text("sorts beside deep/")
    (folder / "deep/data.odd").write_bytes(bytes(100))
    ours = push(folder, "ada/tiny", cache)
    downloads = tmp_path / "downloads"
    with Hub() as hub:
        hub.push(tmp_path, folder, "ada/tiny")
        theirs = pathlib.Path(snapshot_download("ada/tiny", endpoint=hub.url, cache_dir=downloads, token="hf_testwrite"))
    a, b = layout(cache / "models--ada--tiny", ours.name), layout(downloads / "models--ada--tiny", theirs.name)
    assert a == b
    assert {p.name for p in (cache / "models--ada--tiny").iterdir()} >= {"blobs", "refs", "snapshots"}
    assert ours.name == git_tree({name: ((ours / name).stat().st_size, digest) for name, digest in a.items()})
    # Push onto what was downloaded: without a change there is nothing to do; a change keeps the rest.
    assert push(folder, "ada/tiny", downloads).name == theirs.name
    (folder / "config.json").write_text("{}")
    changed = push(folder, "ada/tiny", downloads)
    mixed = layout(downloads / "models--ada--tiny", changed.name)
    assert {name for name in mixed if mixed[name] != b[name]} == {"config.json"}
    assert not scan_cache_dir(downloads).warnings
    # The other way round: download into the cache that was pushed to.
    with Hub() as hub:
        hub.push(tmp_path, folder, "ada/tiny")
        again = pathlib.Path(snapshot_download("ada/tiny", endpoint=hub.url, cache_dir=cache, token="hf_testwrite"))
    assert (cache / "models--ada--tiny/refs/main").read_text() == again.name
    assert not scan_cache_dir(cache).warnings
    assert push(folder, "ada/tiny", cache).name == again.name


def test_pruned_revisions_leave_a_sound_cache(cache, tmp_path):
    folder = tmp_path / "out"
    shutil.copytree(FIXTURES / "base", folder)
    push(folder, "ada/tiny", cache)
    (folder / "config.json").write_text("{}")
    push(folder, "ada/tiny", cache, "--prune-revisions")
    info = scan_cache_dir(cache)
    assert not info.warnings and [len(repo.revisions) for repo in info.repos] == [1]
