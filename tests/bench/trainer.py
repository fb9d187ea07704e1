# SPDX-License-Identifier: Apache-2.0
"""trainer.py BIN_DIR [JSON]: the time of a training step with both callbacks over that without, in runs that take turns; the row is added to
the file JSON of bench.py. A checkpoint of 60 MB is saved every 50 steps, pruned, and pushed to the local test Hub meanwhile.
trainer.py --train FOLDER REPO|-: one run; prints the seconds of a step, and those of a processor that the training process itself took."""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
PAIRS, STEPS, SAVE, WARM = 5, 200, 50, 10
GOAL = 1.02  # at most
ROW = {"what": "step of a training, both callbacks / none", "goal": round(1 / GOAL, 2)}


def train(folder, repo):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == WARM:
                self.begin = time.perf_counter(), time.process_time()
            elif state.global_step == STEPS:
                self.seconds = [(now - begin) / (STEPS - WARM) for now, begin in zip((time.perf_counter(), time.process_time()), self.begin)]

    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=2000, hidden_size=256, intermediate_size=1024, num_hidden_layers=4, num_attention_heads=4))
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(0, 2000, (256, 64))]
    arguments = TrainingArguments(folder, max_steps=STEPS, save_steps=SAVE, per_device_train_batch_size=2, report_to="none", disable_tqdm=True, use_cpu=True,
                                  bf16=False, seed=1)
    clock, ours = Clock(), []
    if repo != "-":
        from model_coreutils import PruneCallback, PushCallback

        ours = [PruneCallback(keep=2), PushCallback(repo)]
    Trainer(model=model, args=arguments, train_dataset=rows, callbacks=[clock, *ours]).train()
    for callback in reversed(ours):
        assert callback.wait(120)
    print(*clock.seconds, flush=True)


def run(folder, bin_dir, hub, repo):
    out = folder / "run"
    environment = {**os.environ, "PATH": f"{bin_dir}:{os.environ['PATH']}", "PYTHONPATH": str(HERE.parents[1] / "tools/python"), "HF_ENDPOINT": hub,
                   "HF_TOKEN": "hf_testwrite", "no_proxy": "127.0.0.1"}
    os.sync()
    command = [sys.executable, __file__, "--train", out, repo]
    printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    shutil.rmtree(out)
    return [float(seconds) * 1e3 for seconds in printed.splitlines()[-1].split()]


def main(bin_dir, report=None):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mu-bench-"))
    hub = subprocess.Popen([bin_dir / "../tests/hub/test_hub", "--port", "0", "--discard"], stdout=subprocess.PIPE, text=True)
    try:
        url = hub.stdout.readline().split()[0].removeprefix("HUB=")
        runs = [(run(folder, bin_dir, url, "-"), run(folder, bin_dir, url, f"ada/run-{i}")) for i in range(PAIRS)]
    finally:
        hub.terminate()
        shutil.rmtree(folder)
    (without, own), (ours, ours_own) = ([statistics.median(pair[i][k] for pair in runs) for k in (0, 1)] for i in (0, 1))
    ROW["ours_ms"], ROW["peer_ms"], ROW["ratio"] = ours, without, without / ours
    print(f"{ROW['what']:48} {ours:9.1f} ms {without:9.1f} ms, {ours / without:.3f} of the time, goal {GOAL}; {ours_own / own:.3f} of the training's own processor time", flush=True)
    if report:
        found = json.loads(report.read_text())
        found["rows"].append(ROW)
        report.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--train":
        train(*sys.argv[2:])
    else:
        main(*map(pathlib.Path, sys.argv[1:]))
