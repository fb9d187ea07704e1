# SPDX-License-Identifier: Apache-2.0
"""Short runs of TRL's trainers: `trl_runs.py METHOD BASE OUT`, METHOD one of sft, dpo, grpo, reward. OUT becomes a run folder with a
checkpoint, evaluations and TRL's own card. The cards and logs in tests/fixtures/cards were made so, and tests train anew."""
import sys

from datasets import Dataset


def texts(make):
    words = ["one two three", "four five six", "seven eight nine", "ten eleven twelve"]
    return Dataset.from_list([make(w, words[(i + 1) % len(words)]) for i, w in enumerate(words * 2)])


def letters(completions, **_):
    return [float(len(set(completion))) for completion in completions]


def trainer(method, base, out):
    import trl

    more = {}
    if method == "grpo":
        more = {"num_generations": 2, "max_completion_length": 8, "beta": 0.04, "temperature": 1.0}
        rows = texts(lambda a, b: {"prompt": a})
    elif method == "sft":
        more, rows = {"max_length": 32}, texts(lambda a, b: {"text": a + " " + b})
    else:
        more, rows = {"max_length": 32}, texts(lambda a, b: {"prompt": "say ", "chosen": a, "rejected": b} if method == "dpo" else {"chosen": a, "rejected": b})
    name = {"sft": "SFT", "dpo": "DPO", "grpo": "GRPO", "reward": "Reward"}[method]
    arguments = getattr(trl, name + "Config")(
        output_dir=out, max_steps=4, logging_steps=1, eval_strategy="steps", eval_steps=2, save_steps=4, per_device_train_batch_size=2,
        per_device_eval_batch_size=2, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, disable_tqdm=True,
        learning_rate=0.01, hub_model_id="ada/tiny-" + method, seed=1, **more)
    evals = rows.select(range(2))
    if method in ("sft", "dpo"):  # several sets
        evals = {"short": evals, "long": rows.select(range(2, 4))}
    if method == "grpo":
        more = {"reward_funcs": [letters]}
    else:
        more = {}
    return getattr(trl, name + "Trainer")(model=base, args=arguments, train_dataset=rows, eval_dataset=evals, **more)


if __name__ == "__main__":
    method, base, out = sys.argv[1:]
    run = trainer(method, base, out)
    run.train()
    run.create_model_card(model_name="tiny-" + method, dataset_name="ada/words")
