#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a card says about the training: runs named with --run, the methods of TRL, evaluation sets, results, the curve.
load helper

packed() { st-pack -q "$FIXTURES/full-run/checkpoint-40" -o out; }
# run METHOD: the folder of a short run of TRL (tests/interop/trl_runs.py made it), with TRL's own card.
trl_run() {
  cp -r "$FIXTURES/cards/tiny-$1" .
  cp "$FIXTURES/golden/trl-card-$1.md" "tiny-$1/README.md"
}
# log ENTRIES: a run with a log of these entries.
log() {
  mkdir -p run
  echo '{"architectures": ["LlamaForCausalLM"]}' > run/config.json
  printf '{"global_step": 8, "log_history": [%s]}' "$1" > run/trainer_state.json
}

@test "golden cards of SFT, DPO, GRPO and Reward, beside TRL's own" {
  for method in sft dpo grpo reward; do
    trl_run $method
    expect 0 card-gen "tiny-$method"
    golden "card-gen-trl-$method.md"
    expect 0 card-gen -i "tiny-$method" --plot
    expect 0 card-gen --check "tiny-$method"
    ! grep -q None "tiny-$method/README.md"
    grep -q "ada/tiny-$method" "tiny-$method/README.md"
  done
  grep -q "<title>Reward over" tiny-grpo/loss.svg
  grep -q ">validation on long<" tiny-dpo/loss.svg
}

@test "--run: a packed folder gets the facts of its training, which a later run keeps" {
  packed
  expect 0 card-gen -i out
  has stderr "--run CHECKPOINT"
  rm out/README.md
  expect 0 card-gen -i out --run "$FIXTURES/full-run/checkpoint-40"
  [[ $stderr != *"--run"* ]]
  for text in "- Steps: 40" "Trained with [TRL]" "- sft" "### Hyper-parameters" "- Best validation loss: 2.995"; do
    grep -qF -- "$text" out/README.md
  done
  [[ $(< out/README.md) != *"$FIXTURES"* ]]
  cp out/README.md before.md
  expect 0 card-gen --check out
  expect 0 card-gen -i out
  [[ $stderr != *"--run"* ]]
  cmp before.md out/README.md
  # Another run counts anew, and FOLDER itself may be the run.
  expect 0 card-gen -i out --run "$FIXTURES/full-run"
  grep -q -- "- Steps: 60" out/README.md
  expect 0 card-gen "$FIXTURES/full-run" --run "$FIXTURES/full-run"
  has output "- Steps: 60"
  expect 0 card-gen --run "$FIXTURES/full-run" --base owner/base
  has output "- Steps: 60"
}

@test "--run: the run's card gives versions and pages, its adapter the base, once more with another run" {
  packed
  trl_run dpo
  sed -i 's/- TRL: .*/- TRL: 1.2.3/' tiny-dpo/README.md
  expect 0 card-gen -i out --run tiny-dpo/checkpoint-4
  for text in "- TRL 1.2.3" "base_model: owner/base" "- ada/words" "- dpo" 'model="ada/tiny-dpo"'; do
    grep -qF -- "$text" out/README.md
  done
  cp out/README.md before.md
  expect 0 card-gen -i out
  cmp before.md out/README.md
  sed -i 's/- TRL: .*/- TRL: 1.2.4/' tiny-dpo/README.md
  expect 0 card-gen -i out --run tiny-dpo
  grep -qF -- "- TRL 1.2.4" out/README.md
  rm out/README.md
  expect 0 card-gen out --run "$FIXTURES/lora-run"
  [[ $output != *"- lora"* && $output != *"## Adapter"* ]]
}

@test "--run: the newest complete checkpoint; missing is 7, no run 4, with --lint 2" {
  packed
  cp -r "$FIXTURES/full-run" run
  rm run/checkpoint-60/model.safetensors
  expect 0 card-gen out --run run
  has output "- Steps: 40"
  expect 0 card-gen run
  has output "- Steps: 40"
  expect 7 card-gen out --run nowhere
  expect 4 card-gen out --run out/config.json
  mkdir empty
  expect 4 card-gen out --run empty
  has stderr "does not show a training"
  expect 4 card-gen out --run out
  expect 2 card-gen --lint --run run card.md
  rm -r run/checkpoint-{20,40}
  expect 0 card-gen out --run run
  has stderr "no checkpoint in run is complete"
}

@test "evaluation sets have rows and lines of their own, with the last training loss" {
  log '{"step":1,"loss":3.0,"learning_rate":1},{"step":2,"eval_a_loss":2.5,"eval_a_runtime":1,"eval_f1":0.25},
       {"step":2,"eval_b<_loss":2.25,"eval_b<_runtime":1,"eval_f1":0.75},{"step":4,"loss":2.0,"learning_rate":1}'
  expect 0 card-gen run --plot=p.svg
  output=${output//\*/}
  has output "| 2 |  | a | 3 | 2.5 | 0.25 |"
  has output "| 3 | 2.25 | 0.75 |"
  has output "Best validation loss on \`a\`: 2.5 at step 2"
  grep -q '>validation on b&lt;<' p.svg
  [ "$(grep -c 'circle class="eval' p.svg)" = 2 ]
  log '{"step":2,"eval_loss":2.5},{"step":4,"loss":2.0,"learning_rate":1}'
  expect 0 card-gen run
  output=${output//\*/}
  has output "| 2 |  | no log | 2.5 |"
}

@test "without training_args.bin too, the loss of DPO is not an entropy" {
  log '{"step":1,"loss":0.7,"rewards/margins":0.0,"rewards/accuracies":0.5},{"step":2,"eval_loss":0.5,"eval_rewards/margins":0.5}'
  expect 0 card-gen run
  has output "Best validation loss: 0.5 at step 2"
  [[ $output != *perplexity* ]]
  log '{"step":1,"loss":0.7},{"step":2,"eval_loss":0.5}'
  expect 0 card-gen run
  has output "perplexity 1.649"
}

@test "a loss that is not a number is a gap; no label is cut" {
  log '{"step":1,"loss":3.0},{"step":2,"loss":2.0},{"step":3,"loss":NaN},{"step":4,"loss":2.0},{"step":5,"loss":1.0},
       {"step":6,"loss":null,"learning_rate":1},{"step":7,"loss":1.5}'
  expect 0 card-gen run --plot=p.svg --preview
  [ "$(grep -c '<polyline class="train"' p.svg)" = 2 ]
  [ "$(grep -c '<circle class="train-dot"' p.svg)" = 1 ]
  has stderr " "
  log '{"step":1000000,"loss":10000.0001},{"step":2000000,"loss":10000.0002},{"step":3000000,"loss":-10000.0001}'
  expect 0 card-gen run --plot=p.svg
  python3 - << 'PY'
import re
svg = open("p.svg").read()
width = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
for anchor, x, text in [(m[2], float(m[1]), m[3]) for m in re.finditer(r'<text x="([\d.]+)" y="[\d.]+" text-anchor="(\w+)">([^<]*)<', svg)]:
    half = 6.5 * len(text)
    left, right = (x - half, x) if anchor == "end" else (x - half / 2, x + half / 2)
    assert left >= 20 * (anchor == "end") and right <= width, (text, left, right, width)
labels = re.findall(r'text-anchor="end">([^<]*)<', svg)
assert len(labels) == len(set(labels)) >= 3, labels
PY
}

@test "results of a trainer: metrics in, counts and times out; labels of a classifier" {
  mkdir model
  echo '{"architectures": ["BertForSequenceClassification"], "id2label": {"1": "GOOD | <b>", "0": "BAD"}}' > model/config.json
  echo '{"epoch": 3.0, "eval_accuracy": 0.9125, "eval_runtime": 1.5, "eval_samples": 8, "train_loss": 0.25, "total_flos": 5}' > model/all_results.json
  echo '{"eval_accuracy": 0.9125, "eval_f1": 0.875, "eval_steps_per_second": 2}' > model/eval_results.json
  expect 0 card-gen model --dataset o/d
  grep -Eq "accuracy +\| +\| 0.9125" <<< "$output"
  grep -Eq "f1 +\| +\| 0.875" <<< "$output"
  [ "$(grep -c "the run's own evaluation" <<< "$output")" = 2 ]
  [[ $output != *model-index* ]]
  has output "- Labels: \`BAD\`, \`GOOD"
  expect 0 card-gen model --dataset o/d --eval model/all_results.json
  [ "$(grep -c "the run's own evaluation" <<< "$output")" = 2 ]
  has output "model-index:"
  echo '{"epoch": 3.0, "train_runtime": 1.5}' > books.json
  expect 4 card-gen model --eval books.json
}

@test "--facts: what --json said makes the same card elsewhere" {
  for method in dpo grpo; do
    trl_run $method
    card-gen -q "tiny-$method" > here.md
    card-gen -q --json "tiny-$method" > facts.json
    expect 0 card-gen -q --facts facts.json
    diff here.md <(printf '%s\n' "$output")
  done
  log '{"step":1,"loss":3.0},{"step":2,"loss":NaN},{"step":3,"loss":2.0}'
  card-gen -q --json run > facts.json
  expect 0 card-gen -q --facts facts.json --plot=p.svg
  [ "$(grep -c '<circle class="train-dot"' p.svg)" = 2 ]
}
