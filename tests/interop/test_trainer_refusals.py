# SPDX-License-Identifier: Apache-2.0
"""What our callbacks refuse, they refuse before the first step of a training."""
import os
import sys

import pytest
from conftest import BIN_DIR
from trainer_fixture import PYTHON


@pytest.fixture
def ours(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", f"{BIN_DIR}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_testwrite")
    monkeypatch.setattr(sys, "path", [str(PYTHON), *sys.path])
    return __import__("model_coreutils")


@pytest.mark.parametrize("options", [
    dict(keep=-1), dict(keep="3"), dict(keep=True), dict(keep=1.5), dict(keep_best=-2), dict(kep=3), dict(keep_every="often"), dict(max_total="much"),
    dict(min=True, max=True), dict(json=True), dict(dry_run=True), dict(keep=None, keep_best=None), dict(pattern="step_*")])
def test_prune(ours, options):
    with pytest.raises((ValueError, TypeError)):
        ours.PruneCallback(**options)


@pytest.mark.parametrize("repo", ["", "a/b/c", "ada/", "/tiny", "ada/ti ny", "ada/tiny..git", "ada/-tiny", "ada//tiny", "ada/tiny.git", "--force", 7, None, "ada/" + "t" * 200])
def test_repositories(ours, repo):
    with pytest.raises((ValueError, TypeError)):
        ours.PushCallback(repo)


@pytest.mark.parametrize("options", [
    dict(every=0), dict(every=-5), dict(every="soon"), dict(every=""), dict(every="0m"), dict(every=1.5), dict(final_wait=-1), dict(final_wait="600"),
    dict(final_wait=float("nan")), dict(private="yes"), dict(dtype="f7"), dict(push={"json": True}), dict(push={"no_such": 1}), dict(pack={"output": "x"}),
    dict(card={"language": "x\n"}), dict(endpoint="ftp://hub"), dict(revision=""), dict(message=None), dict(push={"limit_rate": "fast"})])
def test_push(ours, options):
    with pytest.raises((ValueError, TypeError)):
        ours.PushCallback("ada/tiny", **options)


@pytest.mark.parametrize("make", [lambda ours: ours.PruneCallback(), lambda ours: ours.PushCallback("ada/tiny")])
def test_missing_programs(ours, monkeypatch, tmp_path, make):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ours.ProgramNotFound):
        make(ours)


def test_no_token(trainers, tmp_path):
    """The training ends before its first step, with the reason."""
    run = trainers.start(tmp_path / "place", environment={"HF_ENDPOINT": "http://127.0.0.1:1"}, push=dict(repo="ada/tiny"), arguments=dict(max_steps=10))
    assert run.exit() == 1 and "token" in run.log.splitlines()[-1], run.log
    assert not (run.place / "run/checkpoint-10").exists()


def test_what_is_taken(ours, tmp_path):
    """The callbacks of a user who reads the manual of the programs."""
    ours.PruneCallback(keep=2, keep_best=None, keep_every=100, max_total="2TB", metric="eval_f1", max=True, keep_step=[10, 20])
    for repo in ("ada/tiny", "ada/Tiny-2.0_x", "tiny"):
        ours.PushCallback(repo, every="30m", private=True, dtype="bf16", final_wait=0, push={"max_wait": "30s"})
