# SPDX-License-Identifier: Apache-2.0
"""Real runs of Transformers' Trainer, pruned midway by ckpt-prune and resumed: they give the same losses and weights as the
undisturbed run, and the Trainer's own rotation then removes the right ones."""
import json
import os
import pathlib
import shutil
import time

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

STEPS, HALF = 12, 6


class Rows(torch.utils.data.Dataset):
    def __init__(self, count):
        self.rows = torch.randint(0, 64, (count, 16), generator=torch.Generator().manual_seed(count))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return {"input_ids": self.rows[i], "labels": self.rows[i]}


class Watch(TrainerCallback):
    """Stops after this many steps and records which checkpoints exist after each save."""

    def __init__(self, stop_at):
        self.stop_at, self.seen = stop_at, {}

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.stop_at:
            control.should_training_stop = True

    def on_save(self, args, state, control, **_):
        self.seen[state.global_step] = steps(args.output_dir)


def steps(folder):
    return sorted(int(p.name.removeprefix("checkpoint-")) for p in pathlib.Path(folder).glob("checkpoint-*"))


def train(folder, stop_at=None, resume=None, **arguments):
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, attention_dropout=0.1))
    watch = Watch(stop_at)
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=STEPS, save_strategy="steps", save_steps=2, eval_strategy="steps", eval_steps=2, logging_steps=1, per_device_train_batch_size=2,
        learning_rate=1e-2, seed=1, use_cpu=True, report_to=[], disable_tqdm=True, metric_for_best_model="loss", **arguments)
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows(40), eval_dataset=Rows(6), callbacks=[watch])
    trainer.train(resume_from_checkpoint=resume)
    losses = {e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e}
    return losses, {k: v.clone() for k, v in model.state_dict().items()}, watch.seen


def age(folder):
    """Changes times as if each save had taken ten seconds, hours ago. The saves are also more than a second apart; below that the
    Trainer orders by number."""
    now = time.time() - 10_000
    for step in steps(folder):
        checkpoint = pathlib.Path(folder) / f"checkpoint-{step}"
        for path in [*checkpoint.rglob("*"), checkpoint]:
            os.utime(path, (now + 10 * step, now + 10 * step))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone") / "run")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    train(folder, stop_at=HALF)
    age(folder)
    assert steps(folder) == [2, 4, 6]
    return folder


@pytest.fixture
def half(stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")  # with its times
    return tmp_path / "run"


def assert_same(alone, resumed):
    losses, weights, _ = alone
    again, final, _ = resumed
    assert [losses[s] for s in range(HALF + 1, STEPS + 1)] == [again[s] for s in range(HALF + 1, STEPS + 1)]
    assert weights.keys() == final.keys() and all(torch.equal(weights[k], final[k]) for k in weights)


def test_a_real_run_is_understood(half, run):
    plan = json.loads(run("ckpt-prune", "--list", "--json", "--deep", half).stdout)["runs"][0]
    assert [c["condition"] for c in plan["checkpoints"]] == ["resumable"] * 3
    assert plan["metric"] == {"name": "eval_loss", "lower_is_better": True}
    state = json.loads((half / "checkpoint-6/trainer_state.json").read_text())
    evals = {e["step"]: e["eval_loss"] for e in state["log_history"] if "eval_loss" in e}
    assert {c["step"]: c["metrics"]["eval_loss"] for c in plan["checkpoints"]} == evals
    assert plan["best"] == pathlib.Path(state["best_model_checkpoint"]).name
    best = min(evals, key=evals.get)
    kept = run("ckpt-prune", "--keep-best", "1", "--keep", "0", "--paths", "keep", half).stdout.decode().split()
    assert {pathlib.Path(p).name for p in kept} == {f"checkpoint-{best}", "checkpoint-6"}


def test_pruned_and_resumed(half, alone, run):
    run("ckpt-prune", "--keep", "1", half)
    assert 6 in steps(half) and len(steps(half)) < 3
    assert_same(alone, train(half, resume=True))


def test_slimmed_and_resumed(half, alone, run):
    run("ckpt-prune", "--keep-optimizer-last", "1", half)
    assert steps(half) == [2, 4, 6] and not (half / "checkpoint-4/optimizer.pt").exists()
    assert_same(alone, train(half, resume=True))
    slim = LlamaForCausalLM.from_pretrained(half / "checkpoint-4")
    assert slim.num_parameters() > 0


def test_a_torn_checkpoint_aside_and_resumed(half, alone, run):
    shutil.copytree(half / "checkpoint-6", half / "checkpoint-8")
    (half / "checkpoint-8/trainer_state.json").write_text("")
    age(half)
    with pytest.raises(Exception):
        train(half, resume=True)
    age(half)
    run("ckpt-prune", "--torn", "aside", half)
    assert steps(half) == [2, 4, 6] and (half / "torn-checkpoint-8").is_dir()
    assert_same(alone, train(half, resume=True))


def test_rotation_after_slimming_removes_the_oldest(half, run):
    run("ckpt-prune", "--keep-optimizer-last", "1", half)
    # Without load_best_model_at_end the Trainer goes only by age, and forgets the best one.
    state = half / "checkpoint-6/trainer_state.json"
    document = json.loads(state.read_text())
    document.update(best_model_checkpoint=None, best_global_step=None, best_metric=-1.0)
    times = (state.stat().st_atime, state.stat().st_mtime)
    state.write_text(json.dumps(document))
    os.utime(state, times)
    _, _, seen = train(half, resume=True, save_total_limit=3)
    assert seen[8] == [4, 6, 8] and seen[10] == [6, 8, 10] and seen[12] == [8, 10, 12]


def test_pruning_beside_a_living_trainer(tmp_path, alone, run):
    """Prunes between any two saves, as cron would."""

    class Prune(TrainerCallback):
        def on_save(self, args, state, control, **_):
            run("ckpt-prune", "-q", "--keep", "2", "--keep-optimizer-last", "1", args.output_dir)

    torch.manual_seed(0)
    folder = tmp_path / "run"
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, attention_dropout=0.1))
    arguments = TrainingArguments(output_dir=str(folder), max_steps=STEPS, save_strategy="steps", save_steps=2, eval_strategy="steps", eval_steps=2, logging_steps=1,
                                  per_device_train_batch_size=2, learning_rate=1e-2, seed=1, use_cpu=True, report_to=[], disable_tqdm=True, metric_for_best_model="loss")
    trainer = Trainer(model=model, args=arguments, train_dataset=Rows(40), eval_dataset=Rows(6), callbacks=[Prune()])
    trainer.train()
    losses = {e["step"]: e["loss"] for e in trainer.state.log_history if "loss" in e}
    assert losses == alone[0] and all(torch.equal(v, alone[1][k]) for k, v in model.state_dict().items())
    assert 12 in steps(folder) and len(steps(folder)) <= 3
    assert (folder / "checkpoint-12/optimizer.pt").exists()
