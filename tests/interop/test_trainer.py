# SPDX-License-Identifier: Apache-2.0
"""PruneCallback and PushCallback in the real Trainer and SFTTrainer: training does not notice them, the run folder holds what it should
after each save, and the last checkpoint arrives at a Hub that fails, hangs and loses its disk."""
import json
import os
import shutil
import threading

import pytest
import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from conftest import FIXTURES

BASE = FIXTURES / "base"
STEPS = range(10, 310, 10)
PEAKS = [40, 120, 200]  # the steps that are better than all before

full = pytest.mark.full


@pytest.fixture(scope="module")
def alone(trainers, tmp_path_factory):
    """Runs without our callbacks."""
    runs = {}

    def call(kind):
        if kind not in runs:
            runs[kind] = trainers.start(tmp_path_factory.mktemp("alone") / "place", kind=kind, peaks=PEAKS).finish()
        return runs[kind]

    return call


def history(log):
    """A log without times and speeds."""
    return [{key: value for key, value in entry.items() if not key.endswith(("_runtime", "_per_second"))} for entry in log]


def rest(step, keep=3, peaks=PEAKS):
    """The checkpoints that should be there once the save at this step was seen to: the newest and the best."""
    saved = [s for s in STEPS if s <= step]
    best = max((p for p in peaks if p <= step), default=saved[0])
    return sorted({best, *saved[-keep:]})


class Watch:
    """Looks at the run all the time: what has been saved is whole as long as the Trainer can see it, and what must stay stays."""

    def __init__(self, run, keep):
        self.run, self.keep, self.faults, self.looks, self.ended = run, keep, [], 0, threading.Event()
        self.thread = threading.Thread(target=self.look)
        self.thread.start()

    def look(self):
        saved_files = None
        while not self.ended.wait(0.005):
            try:
                saves = self.run.saves
            except FileNotFoundError:
                continue
            steps = [save["step"] for save in saves]
            saved_files = saved_files or self.names(steps[-1])
            best = saves[-1]["best"]
            must = {f"checkpoint-{step}" for step in steps[-self.keep:]} | ({best} if best else set())
            missing = must - set(os.listdir(self.run.place / "run"))
            partial = {step: names for step in self.run.checkpoints if step in steps and (names := self.names(step)) and names != saved_files}
            if missing or partial:
                self.faults.append((steps[-1], missing, partial))
            self.looks += 1

    def names(self, step):
        """Files of a checkpoint; empty if it is not there, or not there any more once they are known."""
        path = self.run.place / f"run/checkpoint-{step}"
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return set()
        try:
            names = set(os.listdir(folder))
            return names if os.path.exists(path) and os.path.samestat(os.stat(path), os.fstat(folder)) else set()
        finally:
            os.close(folder)

    def end(self):
        self.ended.set()
        self.thread.join()
        assert not self.faults and self.looks > 10


# What befalls the Hub: at these steps of the training, admin calls.
def fault(route, kind, **members):
    return ["POST", "fault", {"route": route, "kind": str(kind), **members}]


LOST = ["POST", "reset", None]
TROUBLE = {20: [fault("create", 503), fault("preupload", "reset")], 50: [fault("storage-put", 503), fault("commit", "status-after", status=500)],
           90: [fault("storage-put", "stall", seconds=2)], 120: [LOST, fault("batch", 500)], 150: [fault("commit", "rate-limit")],
           180: [fault("storage-put", "corrupt")], 210: [fault("commit", "stall-after", seconds=2)], 240: [fault("preupload", 503)], 270: [fault("verify", "html")],
           290: [fault("storage-put", "cut"), fault("commit", "reset")]}


@pytest.mark.parametrize("kind", ["trainer", "sft"])
def test_training_does_not_notice(trainers, alone, hub, tmp_path, kind):
    run = trainers.start(tmp_path / "place", hub, kind=kind, peaks=PEAKS, hub_calls=TROUBLE, prune=dict(keep=3, keep_best=1), push=dict(repo="ada/tiny"))
    watch = Watch(run, keep=3)
    try:
        run.finish()
    finally:
        watch.end()
    theirs, ours = alone(kind).result, run.result
    assert history(ours["log_history"]) == history(theirs["log_history"]) and len(ours["log_history"]) == 61
    assert ours["weights"] == theirs["weights"]
    states = [json.loads((r.place / "run/checkpoint-300/trainer_state.json").read_text()) for r in (run, alone(kind))]
    assert states[0]["stateful_callbacks"] == states[1]["stateful_callbacks"]
    assert ours["best"].endswith("checkpoint-200") and run.checkpoints == [200, 280, 290, 300]
    assert not [name for name in os.listdir(run.place / "run") if name.startswith(".")], "nothing of ours stays in the run"
    there = snapshot_download("ada/tiny", endpoint=hub.url, token="hf_testwrite", local_dir=tmp_path / "there")
    check_model(there, kind, load_file(run.place / "final.safetensors"))
    assert "ada/tiny" in (tmp_path / "there/README.md").read_text()


def check_model(folder, kind, trained):
    """What is in the folder loads and is what was trained."""
    if kind == "sft":
        from peft import PeftModel, get_peft_model_state_dict

        model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), folder)
        state = get_peft_model_state_dict(model)
        trained = {name.replace(".default", ""): tensor for name, tensor in trained.items() if ".lora_" in name}
    else:
        state = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert state.keys() == trained.keys() and all(torch.equal(state[name], trained[name]) for name in state)


@pytest.mark.parametrize("prune, peaks", [(dict(keep=3, keep_best=1), PEAKS), pytest.param(dict(keep=1), [10], marks=full), pytest.param(dict(keep=2), [], marks=full)])
def test_checkpoints_after_each_save(trainers, tmp_path, prune, peaks):
    arguments = {} if peaks else dict(eval_strategy="no", metric_for_best_model=None)
    expected = {step: rest(step, prune["keep"], peaks) if peaks else [s for s in STEPS if s <= step][-prune["keep"]:] for step in STEPS}
    run = trainers.start(tmp_path / "place", prune=prune, peaks=peaks, settle=expected, arguments=arguments).finish()
    assert {save["step"]: save["checkpoints"] for save in run.saves} == expected
    assert run.checkpoints == expected[300]


def test_the_best_is_loaded(trainers, tmp_path):
    run = trainers.start(tmp_path / "place", prune=dict(keep=1), peaks=[20], arguments=dict(max_steps=60, load_best_model_at_end=True)).finish()
    assert run.result["best"].endswith("checkpoint-20") and run.checkpoints == [20, 60]
    best, final = load_file(run.place / "run/checkpoint-20/model.safetensors"), load_file(run.place / "final.safetensors")
    assert all(torch.equal(best[name], final[name]) for name in final)


@full
def test_best_of_a_step_that_was_not_saved(trainers, tmp_path):
    """The Trainer then names the best of those that were, and the rule of ours does not remove it."""
    run = trainers.start(tmp_path / "place", prune=dict(keep=2), peaks=[20, 35], arguments=dict(max_steps=100, eval_steps=5)).finish()
    assert run.result["best"].endswith("checkpoint-20") and run.checkpoints == [20, 90, 100]


@full
@pytest.mark.parametrize("option", ["save_total_limit", "push_to_hub"])
def test_who_does_what(trainers, hub, tmp_path, option):
    """One warning where the Trainer prunes or pushes as well."""
    arguments = {"max_steps": 30, option: {"save_total_limit": 2, "push_to_hub": True}[option]}
    run = trainers.start(tmp_path / "place", hub, prune=dict(keep=2), push=dict(repo="ada/tiny"), patch="no_push_of_its_own", arguments=arguments).finish()
    assert len([line for line in run.log.splitlines() if option in line]) == 1, run.log
    assert run.checkpoints == [10, 20, 30] if option == "push_to_hub" else True
    assert hub.repo("ada/tiny")["revisions"]["main"]["commits"]


@full
def test_a_run_that_was_moved(trainers, tmp_path):
    """Resumed in another folder, under another path: the best is the one of that name."""
    first = trainers.start(tmp_path / "one", prune=dict(keep=1), peaks=[20], arguments=dict(max_steps=60, output_dir=str(tmp_path / "one/run"))).finish()
    assert first.checkpoints == [20, 60]
    (tmp_path / "two").mkdir()
    shutil.move(tmp_path / "one/run", tmp_path / "two/run")
    second = trainers.start(tmp_path / "two", prune=dict(keep=1), peaks=[20], resume=True, arguments=dict(max_steps=100)).finish()
    assert second.result["begin"] == 60 and second.checkpoints == [20, 100]
