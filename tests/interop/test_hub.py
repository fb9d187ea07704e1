# SPDX-License-Identifier: Apache-2.0
"""Runs the official client against the local test Hub, which keeps the test Hub honest."""
import hashlib
import os
import random
import shutil
import subprocess
import urllib.request
import zlib

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi
from huggingface_hub.errors import (EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError,
                                    RevisionNotFoundError)

from hub_fixture import Hub

SMALL = ("--multipart", "10000", "--chunk", "4000", "--lfs-threshold", "8000", "--page", "3")


@pytest.fixture(scope="module", params=["hub", "kohaku"])
def any_hub(request):
    hub = Hub(*SMALL, "--profile", request.param)
    hub.profile = request.param
    yield hub
    hub.stop()


@pytest.fixture(scope="module")
def hub():
    hub = Hub(*SMALL)
    yield hub
    hub.stop()


def api_of(hub, token="hf_testwrite"):
    hub.forget()
    return HfApi(endpoint=hub.url, token=token)


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


FOLDER = {
    "README.md": b"---\nlicense: mit\n---\n# Tiny\n",
    "config.json": b"{}\n",
    "empty.txt": b"",
    "model.safetensors": noise(5000),
    "parts/whole.bin": noise(12000, 2),
    "parts/odd.bin": noise(13001, 3),
    "parts/copy.bin": noise(13001, 3),
    "parts/just.bin": noise(10000, 4),
    "large text": b"words " * 2000,
    "d\u00fcne/100% #1+2?.txt": "Stra\u00dfe \U0001f600\n".encode(),
}


@pytest.fixture
def folder(tmp_path):
    for path, data in FOLDER.items():
        file = tmp_path / "folder" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp_path / "folder"


def no_leak(hub):
    """The token went where it belongs and nowhere else."""
    assert not hub.log(leak=True)
    assert all(e["authorization"] is None for e in hub.log(port="storage") + hub.log(route="complete"))


def test_a_folder_goes_up_and_comes_back(any_hub, folder, tmp_path):
    api = api_of(any_hub)
    assert api.create_repo("ada/folder", exist_ok=True).repo_id == "ada/folder"
    info = api.upload_folder(repo_id="ada/folder", folder_path=folder, commit_message="All of it")
    held = any_hub.files("ada/folder")
    held.pop(".gitattributes", None)
    assert held == {path: sha256(data) for path, data in FOLDER.items()}
    assert info.oid == api.repo_info("ada/folder").sha
    assert [c.title for c in api.list_repo_commits("ada/folder")][0] == "All of it"

    # By their sizes some files went in several pieces and some in one; the content that appears twice went once.
    puts = any_hub.log(route="storage-put")
    assert sum(e["body_bytes"] for e in puts) == 5000 + 12000 + 13001 + 10000 + 12000
    assert all(e["status"] == 200 for e in puts)
    assert len(any_hub.log(route="complete", status=200)) == 3
    no_leak(any_hub)

    back = api.snapshot_download("ada/folder", cache_dir=tmp_path / "cache")
    for path, data in FOLDER.items():
        assert open(os.path.join(back, path), "rb").read() == data
    no_leak(any_hub)


def test_nothing_new_makes_no_commit(any_hub, folder):
    api = api_of(any_hub)
    api.create_repo("ada/again", exist_ok=True)
    first = api.upload_folder(repo_id="ada/again", folder_path=folder)
    any_hub.forget()
    second = api.upload_folder(repo_id="ada/again", folder_path=folder)
    assert second.oid == first.oid
    assert not any_hub.log(route="storage-put")


@pytest.mark.parametrize("repo_type", ["model", "dataset", "space"])
def test_types_and_settings(any_hub, repo_type):
    api = api_of(any_hub)
    sdk = {"space_sdk": "static"} if repo_type == "space" else {}
    url = api.create_repo("acme/Typed", repo_type=repo_type, private=True, **sdk)
    assert (url.repo_id, url.repo_type) == ("acme/Typed", repo_type)
    with pytest.raises(HfHubHTTPError) as error:
        api.create_repo("acme/Typed", repo_type=repo_type, **sdk)
    assert error.value.response.status_code == 409
    assert api.create_repo("acme/Typed", repo_type=repo_type, exist_ok=True, **sdk) == url
    api.upload_file(path_or_fileobj=b"one\n", path_in_repo="a/one.txt", repo_id="acme/Typed", repo_type=repo_type)
    assert "a/one.txt" in api.list_repo_files("acme/Typed", repo_type=repo_type)
    assert api.repo_info("acme/Typed", repo_type=repo_type).private
    with pytest.raises(RepositoryNotFoundError):  # private: others don't see it
        api_of(any_hub, "hf_testpr").repo_info("acme/Typed", repo_type=repo_type)
    with pytest.raises(HfHubHTTPError) as error:  # the client takes it for "not found" over https alone
        api_of(any_hub, False).repo_info("acme/Typed", repo_type=repo_type)
    assert error.value.response.status_code == 401
    api_of(any_hub).delete_repo("acme/Typed", repo_type=repo_type)
    with pytest.raises(RepositoryNotFoundError):
        api.repo_info("acme/Typed", repo_type=repo_type)


def test_whoami_and_bare_names(any_hub):
    api = api_of(any_hub)
    me = api.whoami()
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("ada", ["acme"])
    assert api.create_repo("bare", exist_ok=True).repo_id == "ada/bare"
    with pytest.raises(HfHubHTTPError) as error:
        api_of(any_hub, "hf_nobody").whoami()
    assert error.value.response.status_code == 401
    with pytest.raises(HfHubHTTPError) as error:
        api_of(any_hub).create_repo("elsewhere/name")
    assert error.value.response.status_code == 403


def test_trees_are_paged_and_ids_are_gits(hub, folder):
    api = api_of(hub)
    api.create_repo("ada/tree", exist_ok=True)
    api.upload_folder(repo_id="ada/tree", folder_path=folder)
    hub.forget()
    items = {item.path: item for item in api.list_repo_tree("ada/tree", recursive=True)}
    assert set(FOLDER) | {".gitattributes", "parts", "d\u00fcne"} == set(items)
    assert len(hub.log(route="tree")) == 5  # 13 items, three a page
    text = FOLDER["config.json"]
    assert items["config.json"].blob_id == hashlib.sha1(b"blob %d\0" % len(text) + text).hexdigest()
    lfs = items["parts/odd.bin"].lfs
    assert (lfs.sha256, lfs.size) == (sha256(FOLDER["parts/odd.bin"]), 13001)
    assert [i.path for i in api.list_repo_tree("ada/tree", "parts")] == sorted(p for p in FOLDER if p[:6] == "parts/")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("ada/tree", "nowhere"))
    with pytest.raises(RevisionNotFoundError):
        list(api.list_repo_tree("ada/tree", revision="nowhere"))
    infos = api.get_paths_info("ada/tree", ["parts", "README.md", "no such file"] + ["x" * 60] * 400, expand=True)
    assert {i.path for i in infos} == {"parts", "README.md"}


@pytest.mark.skipif(not shutil.which("git"), reason="git is not here")
def test_git_agrees_on_ids_of_trees(hub, tmp_path):
    api = api_of(hub)
    api.create_repo("ada/git", exist_ok=True)
    names = {"a.txt": b"1", "a/b.txt": b"2", "a-b.txt": b"3", "a0": b"4"}
    api.create_commit("ada/git", [CommitOperationAdd(p, d) for p, d in names.items()]
                      + [CommitOperationDelete(".gitattributes")], commit_message="Names that sort oddly")
    work = tmp_path / "git"
    work.mkdir()
    for path, data in names.items():
        (work / path).parent.mkdir(exist_ok=True)
        (work / path).write_bytes(data)

    def git(*words):
        return subprocess.run(["git", *words], cwd=work, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    git("add", ".")
    tree = git("write-tree").strip()
    assert {i.path: i for i in api.list_repo_tree("ada/git")}["a"].tree_id in git("ls-tree", tree, "a")
    # The commit names the root tree; git computes the commit's id from the same text.
    head, first = (c for c in hub.repo("ada/git")["revisions"]["main"]["commits"])
    when = int(api.list_repo_commits("ada/git")[0].created_at.timestamp())
    who = f"ada <ada@example.org> {when} +0000"
    text = f"tree {tree}\nparent {first['id']}\nauthor {who}\ncommitter {who}\n\n{head['title']}\n\n"
    assert head["id"] == hashlib.sha1(f"commit {len(text)}\0{text}".encode()).hexdigest()


def test_branches_tags_and_revisions(hub):
    api = api_of(hub)
    api.create_repo("ada/refs", exist_ok=True)
    api.create_branch("ada/refs", branch="feature/x")
    with pytest.raises(HfHubHTTPError) as error:
        api.create_branch("ada/refs", branch="feature/x")
    assert error.value.response.status_code == 409
    commit = api.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="ada/refs", revision="feature/x")
    assert "x.txt" not in api.list_repo_files("ada/refs")
    assert "x.txt" in api.list_repo_files("ada/refs", revision="feature/x")
    assert "x.txt" in api.list_repo_files("ada/refs", revision=commit.oid[:8])
    api.create_tag("ada/refs", tag="v1", revision="feature/x", tag_message="one")
    with pytest.raises(HfHubHTTPError) as error:
        api.create_tag("ada/refs", tag="v1")
    assert error.value.response.status_code == 409
    refs = api.list_repo_refs("ada/refs", include_pull_requests=True)
    assert {b.name: b.target_commit for b in refs.branches}["feature/x"] == commit.oid
    assert [(t.name, t.target_commit) for t in refs.tags] == [("v1", commit.oid)]
    with pytest.raises(HfHubHTTPError) as error:
        api.upload_file(path_or_fileobj=b"y", path_in_repo="y.txt", repo_id="ada/refs", revision="v1")
    assert error.value.response.status_code == 400
    api.delete_tag("ada/refs", tag="v1")
    api.delete_branch("ada/refs", branch="feature/x")
    assert [b.name for b in api.list_repo_refs("ada/refs").branches] == ["main"]
    with pytest.raises(RevisionNotFoundError):
        api.create_tag("ada/refs", tag="v2", revision="nowhere")


def test_pull_requests_both_ways(hub):
    api = api_of(hub)
    api.create_repo("ada/pulls", exist_ok=True)
    guest = api_of(hub, "hf_testpr")
    with pytest.raises(HfHubHTTPError) as error:
        guest.upload_file(path_or_fileobj=noise(3000), path_in_repo="g.bin", repo_id="ada/pulls")
    assert error.value.response.status_code == 403 and "create_pr" in str(error.value)
    one = guest.upload_file(path_or_fileobj=noise(3000), path_in_repo="g.bin", repo_id="ada/pulls", create_pr=True)
    assert (one.pr_num, one.pr_revision) == (1, "refs/pr/1")
    two = guest.create_pull_request("ada/pulls", title="Second")
    assert (two.num, two.status, two.target_branch) == (2, "draft", "refs/heads/main")
    guest.upload_file(path_or_fileobj=b"s", path_in_repo="s.txt", repo_id="ada/pulls", revision="refs/pr/2")
    assert set(hub.files("ada/pulls", "refs/pr/2")) == {".gitattributes", "s.txt"}
    assert set(hub.files("ada/pulls")) == {".gitattributes"}
    api.merge_pull_request("ada/pulls", 1)
    api.merge_pull_request("ada/pulls", 2)
    assert set(hub.files("ada/pulls")) == {".gitattributes", "g.bin", "s.txt"}
    no_leak(hub)


def test_commits_delete_copy_and_check_their_parent(hub):
    api = api_of(hub)
    api.create_repo("ada/ops", exist_ok=True)
    data = noise(9000)
    add = [CommitOperationAdd(p, d) for p, d in {"a/1.txt": b"1", "a/2.txt": b"2", "w.bin": data}.items()]
    first = api.create_commit("ada/ops", add, commit_message="Add", commit_description="three files")
    api.create_commit("ada/ops", [CommitOperationDelete("a/"), CommitOperationCopy("w.bin", "v.bin")],
                      commit_message="Move", parent_commit=first.oid)
    assert hub.files("ada/ops") == {".gitattributes": hub.files("ada/ops")[".gitattributes"],
                                    "w.bin": sha256(data), "v.bin": sha256(data)}
    with pytest.raises(HfHubHTTPError) as error:
        api.create_commit("ada/ops", [CommitOperationAdd("x", b"x")], commit_message="Late", parent_commit=first.oid)
    assert error.value.response.status_code == 412
    assert [c["title"] for c in hub.repo("ada/ops")["revisions"]["main"]["commits"]] == ["Move", "Add", "initial commit"]
    assert [c.title for c in api.list_repo_commits("ada/ops")] == ["Move", "Add", "initial commit"]


def test_more_files_than_a_call_takes(hub):
    api = api_of(hub)
    api.create_repo("ada/many", exist_ok=True)
    hub.forget()
    api.create_commit("ada/many", [CommitOperationAdd(f"d/{i}.bin", b"%d\0" % i) for i in range(257)],
                      commit_message="Many")
    assert len(hub.files("ada/many")) == 258
    assert (len(hub.log(route="preupload")), len(hub.log(route="batch")), len(hub.log(route="commit"))) == (2, 2, 1)


def test_metadata_is_checked(hub):
    api = api_of(hub)
    api.create_repo("ada/card", exist_ok=True)
    with pytest.raises(ValueError, match="license"):
        api.upload_file(path_or_fileobj=b"---\nlicense: none-such\n---\n", path_in_repo="README.md", repo_id="ada/card")
    with pytest.warns(UserWarning, match="missing yaml metadata"):
        api.upload_file(path_or_fileobj=b"# no metadata\n", path_in_repo="README.md", repo_id="ada/card")


def test_other_spellings_are_redirected(hub):
    api = api_of(hub)
    api.create_repo("ada/Spelled", exist_ok=True)
    api.upload_file(path_or_fileobj=noise(9000), path_in_repo="w.bin", repo_id="Ada/spelled")
    assert "w.bin" in hub.files("ada/Spelled")
    assert {e["status"] for e in hub.log(route="commit")} == {307, 200}
    api.move_repo("ada/Spelled", "ada/renamed")
    api.upload_file(path_or_fileobj=b"more", path_in_repo="m.txt", repo_id="ada/Spelled")
    assert "m.txt" in hub.files("ada/renamed")


def test_ignored_files_are_not_taken(hub, tmp_path):
    api = api_of(hub)
    api.create_repo("ada/ignore", exist_ok=True)
    for name, text in {".gitignore": "*.tmp\nlogs/\n!keep.tmp\n", "a.tmp": "1", "keep.tmp": "2", "logs/x": "3"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    api.upload_folder(repo_id="ada/ignore", folder_path=tmp_path)
    assert set(hub.files("ada/ignore")) == {".gitattributes", ".gitignore", "keep.tmp"}


@pytest.mark.parametrize("fault", [
    ("storage-put", "status", {"status": 500, "times": 2}),
    ("storage-put", "reset", {"times": 2}),
    ("storage-put", "cut", {"bytes": 1000}),
    ("batch", "status", {"status": 503, "times": 2}),
    ("preupload", "rate-limit", {}),
    ("preupload", "retry-after", {}),
    ("complete", "status", {"status": 502}),
    ("commit", "warning", {"message": "topic; take care"}),
], ids=lambda f: f"{f[0]}-{f[1]}")
def test_the_official_client_rides_out_faults(hub, fault):
    route, kind, members = fault
    api = api_of(hub)
    api.create_repo("ada/faulty", exist_ok=True)
    data = noise(11000, zlib.crc32(f"{route} {kind}".encode()))
    hub.fault(route, kind, **members)
    api.upload_file(path_or_fileobj=data, path_in_repo=f"{route}-{kind}.bin", repo_id="ada/faulty")
    assert hub.files("ada/faulty")[f"{route}-{kind}.bin"] == sha256(data)
    assert len(hub.log(fault=kind)) == members.get("times", 1)
    assert hub.admin("GET", "fault") == {"left": 0}


def test_names_of_repositories_bring_faults(hub):
    api = api_of(hub)
    api.create_repo("ada/fault_storage-put_500_2", exist_ok=True)
    api.upload_file(path_or_fileobj=noise(9000), path_in_repo="w.bin", repo_id="ada/fault_storage-put_500_2")
    assert [e["status"] for e in hub.log(route="storage-put")] == [500, 500, 200]


def test_a_range_is_read(hub):
    api = api_of(hub)
    api.create_repo("ada/range", exist_ok=True)
    data = noise(9000)
    api.upload_file(path_or_fileobj=data, path_in_repo="w.bin", repo_id="ada/range")
    api.upload_file(path_or_fileobj=data[:100].hex().encode()[:100], path_in_repo="r.txt", repo_id="ada/range")
    for path, spec, expected in [("w.bin", "10-19", data[10:20]), ("w.bin", "-5", data[-5:]),
                                 ("w.bin", "8990-20000", data[8990:]), ("r.txt", "1-2", data[:100].hex().encode()[1:3])]:
        request = urllib.request.Request(f"{hub.url}/ada/range/resolve/main/{path}", headers={"Range": f"bytes={spec}"})
        with urllib.request.urlopen(request) as answer:
            assert (answer.status, answer.read()) == (206, expected)
            assert answer.headers["Content-Range"].endswith(f"/{9000 if path == 'w.bin' else 100}")
