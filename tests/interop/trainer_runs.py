# SPDX-License-Identifier: Apache-2.0
"""Training scripts with our callbacks, as a user would write them, on a model of a few kilobytes.

    trainer_runs.py REQUEST     one run, described by the JSON file REQUEST
    trainer_runs.py --serve     imports the libraries once, then runs the request that each line of stdin names in a process of its own

A run leaves `result.json` and `final.safetensors` in the request's folder, and `exit`, its exit status, once it is gone. Each run is
forked from the server before anything was computed, and ends as an interpreter ends: atexit and all."""
import hashlib
import json
import os
import pathlib
import select
import signal
import sys
import time
import urllib.request

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

BASE = pathlib.Path(__file__).resolve().parents[1] / "fixtures/base"
WORDS = ["one two three", "four five six", "seven eight nine", "ten eleven twelve"]
COMMON = dict(max_steps=300, save_steps=10, logging_steps=10, eval_strategy="steps", eval_steps=10, per_device_train_batch_size=2,
              per_device_eval_batch_size=2, learning_rate=0.01, metric_for_best_model="score", greater_is_better=True, seed=1, report_to="none",
              use_cpu=True, bf16=False, disable_tqdm=True, gradient_checkpointing=False)


class Witness(TrainerCallback):
    """Notes what the run folder holds, and does at given steps what the request says."""

    def __init__(self, request):
        self.request, self.place, self.saves = request, pathlib.Path(request["place"]), []

    def wanted(self, what, state):
        return self.request.get(what, {}).get(str(state.global_step))

    def on_train_begin(self, args, state, control, **kwargs):
        self.begin = state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        for method, call, body in self.wanted("hub_calls", state) or []:  # admin calls of the test hub
            data = None if body is None else json.dumps(body).encode()
            urllib.request.urlopen(urllib.request.Request(f"{os.environ['HF_ENDPOINT']}/_admin/{call}", data=data, method=method)).read()
        if self.wanted("fork", state) and not os.fork():  # what holds the trainer's descriptors and stays
            (self.place / "forked").write_text(f"{os.getpid()}\n")
            signal.pause()

    def on_save(self, args, state, control, **kwargs):
        if not state.is_world_process_zero:
            return
        if expected := self.wanted("settle", state):  # until the run holds these checkpoints
            end = time.monotonic() + 60
            while checkpoints(args.output_dir) != expected and time.monotonic() < end:
                select.select([], [], [], 0.01)
        best = state.best_model_checkpoint and os.path.basename(state.best_model_checkpoint)
        self.saves.append({"step": state.global_step, "best": best, "checkpoints": checkpoints(args.output_dir)})
        (self.place / "saves.new").write_text(json.dumps(self.saves))
        (self.place / "saves.new").rename(self.place / "saves.json")
        if state.global_step in self.request.get("pause", []):
            (self.place / f"paused-{state.global_step}").touch()
            with open(self.place / "go-on") as fifo:  # until the test writes a line, or for ever
                fifo.readline()


def checkpoints(folder):
    return sorted(int(name.split("-")[1]) for name in os.listdir(folder) if name.startswith("checkpoint-"))


def tokens(count, seed):
    rows = torch.randint(3, 320, (count, 12), generator=torch.Generator().manual_seed(seed)).tolist()
    return Dataset.from_list([{"input_ids": row, "labels": row, "attention_mask": [1] * 12} for row in rows])


def make_trainer(request, callbacks):
    settings = {**COMMON, "output_dir": "run", **request.get("arguments", {})}
    if request.get("kind") == "sft":
        rows = Dataset.from_list([{"text": a + " " + b} for a in WORDS for b in WORDS])
        trainer = SFTTrainer(model=str(BASE), args=SFTConfig(max_length=32, **settings), train_dataset=rows, eval_dataset=rows.select(range(4)),
                             peft_config=LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"), callbacks=callbacks)
    else:
        trainer = Trainer(model=AutoModelForCausalLM.from_pretrained(BASE), args=TrainingArguments(**settings), train_dataset=tokens(32, 1),
                          eval_dataset=tokens(8, 2), processing_class=AutoTokenizer.from_pretrained(BASE), callbacks=callbacks)
    peaks = request.get("peaks", [])
    trainer.compute_metrics = lambda _: {"score": trainer.state.global_step * (trainer.state.global_step in peaks)}
    return trainer


def our_callbacks(request):
    if not request.get("prune") and not request.get("push"):
        return []
    from model_coreutils import PruneCallback, PushCallback

    callbacks = [PruneCallback(**request["prune"])] if request.get("prune") else []
    return callbacks + ([PushCallback(**request["push"])] if request.get("push") else [])


def train(request):
    if request.get("patch"):
        import trainer_patches

        getattr(trainer_patches, request["patch"])()
    witness = Witness(request)
    trainer = make_trainer(request, [*our_callbacks(request), witness])
    trainer.train(resume_from_checkpoint=request.get("resume"))
    if request.get("twice"):  # goes on to this step
        trainer.args.max_steps = request["twice"]
        trainer.train(resume_from_checkpoint=True)
    state = {name: tensor.contiguous().clone() for name, tensor in trainer.model.state_dict().items()}
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    if trainer.is_world_process_zero():
        save_file(state, witness.place / "final.safetensors")
        result = {"begin": witness.begin, "log_history": trainer.state.log_history, "weights": digest.hexdigest(),
                  "best": trainer.state.best_model_checkpoint, "step": trainer.state.global_step}
        (witness.place / "result.json").write_text(json.dumps(result))


def become(request):
    """Takes folder, environment and output of a run."""
    os.chdir(request["place"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[:0] = request["path"]
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)


def serve():
    """Returns, in a process of its own, the request that this process is to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps
    for line in iter(sys.stdin.readline, ""):
        request = json.loads(pathlib.Path(line.strip()).read_text())
        if os.fork():
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child = os.fork()
        place = pathlib.Path(request["place"])
        if child == 0:
            os.setsid()
            become(request)
            return request
        (place / "pid").write_text(f"{child}\n")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        (place / "exit.new").write_text(str(code))
        (place / "exit.new").rename(place / "exit")
        os._exit(0)
    return None


if __name__ == "__main__":
    torch.set_num_threads(1)
    request = serve() if sys.argv[1] == "--serve" else json.loads(pathlib.Path(sys.argv[1]).read_text())
    if request:
        if sys.argv[1] != "--serve":
            os.chdir(request["place"])
            sys.path[:0] = request["path"]
        train(request)
