# SPDX-License-Identifier: Apache-2.0
# card-gen on cards that others wrote: brought up to date, judged, refused.
load card

# card_of_trl FOLDER: the card that TRL writes into the folder of an adapter, its dataset given by a path.
card_of_trl() {
  cat > "$1/README.md" <<'MD'
---
base_model: acme/base
datasets: /workspace/data/train.jsonl
library_name: transformers
model_name: k
tags:
- generated_from_trainer
- sft
- trl
licence: license
---

# Model Card for k

This model is a fine-tuned version of [acme/base](https://huggingface.co/acme/base) on the [/workspace/data/train.jsonl](https://huggingface.co/datasets//workspace/data/train.jsonl) dataset.

## Quick start

```python
from transformers import pipeline

question = "If you had a time machine, but could only go to the past or the future once and never return, which would you choose and why?"
generator = pipeline("text-generation", model="ada/k", device_map="auto")
```

## Training procedure

This model was trained with SFT.

### Framework versions

- TRL: 1.16.0

## Citations

Cite TRL as:

```bibtex
## Citation inside of code is not a heading
```
MD
}

@test "-i puts new sections before the citations" {
  model && card_of_trl model
  expect 0 card-gen -i model
  [ "$(grep -n '^## \|^<!-- card-gen:begin' model/README.md | cut -d: -f2 | tail -n 1)" = "## Citation inside of code is not a heading" ]
  [ "$(grep '^## ' model/README.md | tail -n 2 | head -n 1)" = "## Citations" ]
  grep -qx "<!-- card-gen:begin training -->" model/README.md
  cp model/README.md first.md
  expect 0 card-gen -i model
  cmp first.md model/README.md
  # A section that comes up later stands before ours about citing, too.
  rm model/README.md
  expect 0 card-gen -i model --base a/b
  printf '{"results":{"hellaswag":{"acc,none":0.5}},"n-shot":{"hellaswag":0}}' > eval.json
  expect 0 card-gen -i model --base a/b --eval eval.json
  [ "$(grep '^<!-- card-gen:begin' model/README.md | tail -n 1)" = "<!-- card-gen:begin citation -->" ]
  grep -qx "<!-- card-gen:begin evaluation -->" model/README.md
}

@test "in TRL's card of an adapter the quick start loads an adapter, and a dataset's path goes" {
  adapter && card_of_trl adapter
  expect 0 card-gen -i adapter
  grep -qx 'model = PeftModel.from_pretrained(base, "ada/k")' adapter/README.md
  lacks adapter/README.md "time machine"
  lacks adapter/README.md "/workspace"
  lacks adapter/README.md "datasets:"
  grep -qF ') on a local dataset.' adapter/README.md
  expect 0 card-gen --check adapter
  # With line ends of Windows, and with a dataset that is known.
  card_of_trl adapter && sed -i 's/$/\r/' adapter/README.md
  expect 0 card-gen -i adapter --dataset acme/data
  [ "$(grep -c $'\r$' adapter/README.md)" = "$(wc -l < adapter/README.md)" ]
  grep -qF 'on the [acme/data](https://huggingface.co/datasets/acme/data) dataset.' adapter/README.md
  # What people wrote there stays.
  card_of_trl adapter && sed -i 's/^question = .*/question = "Mine?"/' adapter/README.md
  expect 0 card-gen -i adapter
  grep -qx 'question = "Mine?"' adapter/README.md
}

@test "of several datasets only those that can be meant stay" {
  model
  printf -- '---\nlicense: mit\ndatasets:\n- acme/data\n- data/train.jsonl\n- ./more\n---\n# T\nMine.\n' > model/README.md
  expect 0 card-gen -i model --base a/b
  [ "$(sed -n '/^datasets:/,/^[a-z]/p' model/README.md | grep '^- ')" = "- acme/data" ]
}

@test "an empty list is nobody's word" {
  cp -r "$FIXTURES/full-run/checkpoint-40" merged && rm merged/trainer_state.json merged/training_args.bin
  printf 'models:\n  - model: mistralai/Mistral-7B-v0.1\n  - model: OpenPipe/mistral-ft\nmerge_method: ties\nbase_model: mistralai/Mistral-7B-v0.1\n' > merged/mergekit_config.yml
  printf -- '---\nbase_model: []\nlibrary_name: transformers\ntags:\n- mergekit\n---\n# merged\n' > merged/README.md
  expect 0 card-gen -i merged
  grep -qx -- "- OpenPipe/mistral-ft" merged/README.md
  lacks merged/README.md "[]"
}

@test "-i writes the card and says for what the Hub would refuse it" {
  model
  printf -- '---\nlicense: Apache-2.0\ntags: one\n---\n# T\nMine.\n' > model/README.md
  expect 1 card-gen -i model --base a/b
  has stderr "model/README.md:2: error:"
  has stderr "[CG-LICENSE]"
  lacks stderr "warning: no licence"
  grep -qx "base_model: a/b" model/README.md
  expect 1 card-gen --check model
  has stderr "[CG-LICENSE]"
  expect 0 card-gen -i model --license apache-2.0
  expect 0 card-gen --check model
}

@test "front matter that readers of YAML refuse is malformed, and the card stays" {
  model
  for front in 'note: "mine\nlicense: mit' "note: 'mine" 'tags: [a, b' 'tags: {a: b' 'a: b: c' 'a:\n- b\nc' 'a: @b' 'a: %%b' 'a: "b" c' 'a: [b]]' 'a:\n  b: c\n    d: e' '\ta: b' 'a: |\n b\n c\n  d\ne'; do
    printf -- "---\n$front\n---\n# x\n" > model/README.md
    cp model/README.md before.md
    expect 4 card-gen --lint model/README.md
    has stderr "line "
    expect 4 card-gen --check model --base a/b
    expect 4 card-gen -i model --base a/b --plot
    cmp before.md model/README.md
    [ ! -e model/loss.svg ]
  done
  printf -- '---\nnote: "mine\nlicense: mit\n---\n# x\n' > model/README.md
  expect 4 card-gen --lint model/README.md
  has stderr "line 2: not valid YAML: found unexpected end of stream while scanning a quoted scalar"
}

@test "--lint without FILE reads README.md" {
  expect 7 card-gen --lint
  has stderr "README.md"
  printf -- '---\nlicense: MIT\n---\n# x\n' > README.md
  expect 1 card-gen --lint
  has output "README.md:2: error:"
  expect 0 card-gen --lint --fix
  grep -qx "license: mit" README.md
}

@test "titles and prose keep joiners and backslashes" {
  name=$'\U1F469\u200d\U1F4BB مى\u200cخواهم C:\\x\\\\y'
  expect 0 card-gen --base a/b --name "$name" --author $'Ann\u200d\\B' --style minimal
  grep -qxF $'# \U1F469\u200d\U1F4BB مى\u200cخواهم C:\\\\x\\\\\\\\y' <<< "$output"
  grep -qF $'Ann\u200d\\\\B' <<< "$output"
  # What would reorder the text around it is shown.
  expect 0 card-gen --base a/b --name $'a\u202eb'
  has output '# a\\u{202e}b'
}

@test "the facts of a run in JSON make the card elsewhere" {
  model
  expect 0 card-gen --json model --base a/b
  jq -e '.hyperparameters[] | select(.name == "learning_rate") | .number == (.value | tonumber)' <<< "$output" > result
  jq -e '[.hyperparameters[] | select(.value == "true" or .value == "false")] | length > 0 and all(.[]; .boolean == (.value == "true"))' <<< "$output" > result
  jq -e '[.hyperparameters[] | select(.value == "linear")] | length > 0 and all(.[]; has("number") or has("boolean") | not)' <<< "$output" > result
  printf '%s' "$output" > facts.json
  expect 0 card-gen --facts facts.json
  has output "base_model: a/b"
  has output learning_rate
  printf '%s\n' "$output" > with-values.md
  jq '.hyperparameters |= map(if has("number") or has("boolean") then del(.value) else . end)' facts.json > numbers.json
  expect 0 card-gen --facts numbers.json
  has output learning_rate
}
