# SPDX-License-Identifier: Apache-2.0
# card-gen as a user sees it.
load card

@test "of a folder without a model nothing is claimed" {
  mkdir empty words
  echo hello > words/notes.txt
  for folder in empty words; do
    for style in full trl minimal; do
      expect 0 card-gen --style $style $folder
      grep -qx -e "# $folder" -e "# Model Card for $folder" <<< "$output"
      [ "$(grep -c . <<< "$output")" = $([ $style = trl ] && echo 5 || echo 2) ]  # and what is remembered
    done
    has stderr "$folder: no weights in this folder"
    expect 0 card-gen --json $folder
    for fact in kind library_name pipeline_tag; do [[ $output != *"\"$fact\""* ]]; done
    expect 0 card-gen -i $folder
    expect 0 card-gen --check $folder
  done
  expect 0 card-gen empty --base a/b
  has output "base_model_relation: finetune"
  cp "$FIXTURES"/base/* empty
  expect 0 card-gen -i empty
  grep -qx "library_name: transformers" empty/README.md
}

@test "a card from options alone, with hints for single names" {
  expect 0 card-gen --base llama --dataset x
  golden card-gen-options.md
  has stderr "--base llama: the Hub links to a model only by owner/name"
  has stderr "--dataset x: the Hub links"
  expect 0 card-gen --base meta-llama/Llama-3.1-8B@abc123 --dataset a/b --dataset c/d --name "My model" --license llama3.1 --language en \
    --tag t1 --tag t2 --method dpo --wandb https://wandb.ai/a/b --comet https://comet.com/x --trackio https://t.hf.space/?p=1 \
    --tensorboard https://tb.dev/x --author "A. Person" --citation "@misc{x}" --repo me/mine --set "inference=false" --set "note=1e5" --style trl
  golden card-gen-options-full.md
  expect 0 card-gen --base a/b --base c/d
  has output "base_model_relation: merge"
}

@test "golden cards of model, adapter and sharded fixtures" {
  model && adapter && cp -r "$FIXTURES/sharded" sharded
  expect 0 card-gen model --base owner/base --license mit
  golden card-gen-model.md
  expect 0 card-gen adapter --base owner/base
  golden card-gen-adapter.md
  expect 0 card-gen sharded
  golden card-gen-sharded.md
  expect 0 card-gen model --style trl --repo a/b --base c/d
  golden card-gen-trl.md
  expect 0 card-gen model --style minimal --base c/d
  golden card-gen-minimal.md
}

@test "golden cards of every other kind of weights and folder" {
  for kind in base tied torch/model-sharded zero2-run/checkpoint-1 zero3-run zero3-run/checkpoint-1 fsdp-run fsdp-run/checkpoint-1 full-run lora-run; do
    rm -rf folder && mkdir folder && cp -r "$FIXTURES/$kind" "folder/${kind%%/*}"
    rm -f folder/*/reference.safetensors
    expect 0 card-gen "folder/${kind%%/*}" --base owner/base
    golden "card-gen-kind-${kind//\//-}.md"
  done
  mkdir gguf && cp "$FIXTURES/formats/tiny.gguf" gguf/
  expect 0 card-gen gguf --base owner/base
  golden card-gen-kind-gguf.md
  lacks output "library_name"
  mkdir merge && cp "$FIXTURES"/base/*.json "$FIXTURES/base/model.safetensors" merge/
  cat > merge/mergekit_config.yml <<'YAML'
slices:
- sources:
  - model: one/model
    layer_range: [0, 2]
  - model: two/model+me/lora
    layer_range: [0, 2]
merge_method: slerp
base_model: one/model
parameters: {t: 0.5}
YAML
  expect 0 card-gen merge
  golden card-gen-kind-merge.md
}

@test "golden card of the other options" {
  model
  cat > r.json <<'J'
{"results": {"arc": {"acc,none": 0.5, "acc_stderr,none": 0.01}}, "n-shot": {"arc": 5}}
J
  SOURCE_DATE_EPOCH=86400 expect 0 card-gen model --base owner/base --relation quantized --library peft --pipeline-tag text-generation \
    --license other --license-name mine-1 --license-link https://a.b/c --eval r.json --library-version TRL=1.16.0 --source-revision abc --provenance \
    --plot --repo me/it --language en --language de
  golden card-gen-other-options.md
  grep -q polyline loss.svg
  st-inspect --json model > f.json
  expect 0 card-gen --facts f.json --base owner/base --explain
  golden card-gen-explain.txt
  SOURCE_DATE_EPOCH=86400 expect 0 card-gen --json --base owner/base --name n --dataset o/d --method dpo --eval r.json
  golden card-gen.json
}

@test "secrets and places in the arguments never reach a card" {
  model
  expect 0 card-gen model --base a/b
  for word in output_dir logging_dir run_name hub_ token_ /tmp /root; do lacks output "$word"; done
  has output '| `use_cpu` | `true` |'
  has output "<summary>All "
}

@test "a quantised model is one, unless it was trained so" {
  cp -r "$FIXTURES/base" model
  python3 - <<'PY'
import json
p = "model/config.json"; d = json.load(open(p)); d["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}; json.dump(d, open(p, "w"))
PY
  expect 0 card-gen model --base a/b
  has output "base_model_relation: quantized"
  has output 'Quantisation: `bitsandbytes`'
  cp "$FIXTURES/full-run/checkpoint-40/trainer_state.json" model/
  expect 0 card-gen model --base a/b
  has output "base_model_relation: finetune"
}

@test "results of a trainer that left nothing else" {
  cp -r "$FIXTURES/base" model
  echo '{"train_runtime": 3661.5, "train_loss": 1.25, "train_samples_per_second": 12.5, "eval_loss": 0.75}' > model/all_results.json
  expect 0 card-gen model --base a/b
  has output "- Run time: 61 min"
  has output "- Mean training loss: 1.25"
  has output "- Last validation loss: 0.75"
  [[ $output != *perplexity* ]]
  echo x > model/all_results.json
  expect 0 card-gen model --base a/b
  has stderr "unknown: results: model/all_results.json: byte 0: not valid JSON"
  expect 3 card-gen --strict model --base a/b
}

@test "the task and the licence of a cached base, from options alone" {
  snapshot=hub/models--owner--base/snapshots/0123456789abcdef0123456789abcdef01234567
  mkdir -p $snapshot && cp "$FIXTURES/base/config.json" $snapshot/
  printf -- '---\nlicense: gemma\n---\n' > $snapshot/README.md
  HF_HUB_CACHE=$PWD/hub expect 0 card-gen --base owner/base --dataset o/d
  has output "license: gemma"
  has output "pipeline_tag: text-generation"
  printf x > $snapshot/config.json
  HF_HUB_CACHE=$PWD/hub expect 0 card-gen --base owner/base
  has stderr "unknown: the base model in the cache"
}

@test "nothing known but a title: no front matter rather than a blank one" {
  expect 0 card-gen --name only
  [ "${lines[0]}" = "# only" ]
}

@test "facts have sources, as text and as JSON" {
  adapter
  expect 0 card-gen --explain adapter --base a/b
  has output "lora_scaling = 2	(lora_alpha and r)"
  has output "base_model = a/b	(option --base)"
  has output "method = sft	(training_args.bin)"
  expect 0 card-gen --json adapter --base a/b
  python3 -c 'import json,sys; d=json.load(sys.stdin); f={x["name"]:x for x in d["facts"]}; assert d["schema"]=="modelutils.card-gen/1" and f["lora_r"]["value"]==4 and f["target_modules"]["value"]==["down_proj","q_proj","v_proj"], d' <<< "$output"
}

@test "the base model: cache paths give id and revision, other paths never show" {
  adapter
  set_base() { python3 - "$1" <<'PY'
import json, sys
p = "adapter/adapter_config.json"; d = json.load(open(p)); d["base_model_name_or_path"] = sys.argv[1]; json.dump(d, open(p, "w"))
PY
  }
  set_base "/root/.cache/huggingface/hub/models--owner--base/snapshots/0123456789abcdef0123456789abcdef01234567"
  expect 0 card-gen adapter
  has output "base_model: owner/base"
  has output 'revision="0123456789abcdef0123456789abcdef01234567"'
  set_base /home/me/secret-project/base
  expect 0 card-gen adapter
  lacks output secret-project
  has stderr "local path"
  mkdir rel && set_base rel
  expect 0 card-gen adapter
  lacks output 'base_model: '
}

@test "the licence comes from the base model in the local cache, and is never invented" {
  model
  snapshot=hub/models--owner--base/snapshots/0123456789abcdef0123456789abcdef01234567
  mkdir -p $snapshot
  printf -- '---\nlicense: gemma\n---\n' > $snapshot/README.md
  HF_HUB_CACHE=$PWD/hub expect 0 card-gen model --base owner/base
  has output "license: gemma"
  HF_HUB_CACHE=$PWD/none expect 0 card-gen model --base owner/base
  lacks output 'license: '
  has stderr "no licence is known"
}

@test "-i keeps what people wrote, a second run changes nothing, --check agrees" {
  model
  cat > model/README.md <<'MD'
---
# my comment
license:   "mit"   # chosen
widget: [{text: hi}]
---
# Our model

People wrote *this*.
MD
  cp model/README.md before
  expect 1 card-gen --check model --base owner/base
  has output "base_model: is missing"
  cmp before model/README.md
  expect 0 card-gen -i model --base owner/base --plot --repo me/m
  while IFS= read -r line; do grep -qxF -- "$line" model/README.md; done < before
  [ -s model/loss.svg ]
  grep -q '!\[Loss over steps\](loss.svg)' model/README.md
  cp model/README.md first
  expect 0 card-gen -i model
  cmp first model/README.md
  expect 0 card-gen --check model
  sed -i 's/^- Epochs: .*/- Epochs: 99, believe me/; s/^pipeline_tag: .*/pipeline_tag: fill-mask/' model/README.md
  cp model/README.md edited
  expect 0 card-gen -i model
  has stderr "region training: was changed by hand"
  has stderr "pipeline_tag: the card says fill-mask"
  cmp edited model/README.md
}

@test "a remembered option that no option could have said is passed over" {
  model
  printf -- '---\nlicense: mit\n---\nx\n<!-- card-gen:state given/base_model=%%2Fhome%%2Fme given/kind=x given/wandb=javascript:x given/name=Kept -->\n' > model/README.md
  expect 0 card-gen --explain model
  lacks output /home/me
  lacks output javascript
  has output "kind = model checkpoint"
  has output "name = Kept	(an option of an earlier run)"
}

@test "a stale region is found and written anew" {
  model
  expect 0 card-gen -i model --base owner/base
  python3 - <<'PY'
import json
p = "model/trainer_state.json"; d = json.load(open(p)); d["global_step"] = 41; json.dump(d, open(p, "w"))
PY
  expect 1 card-gen --check model
  [ "$output" = "region training: is out of date" ]
  expect 0 card-gen -i model
  has stderr "1 change"
  grep -q "Steps: 41" model/README.md
  expect 7 card-gen --check no-such-folder
}

@test "--check without a card is 1; an emptied card is written with a warning" {
  model
  expect 1 card-gen --check model --base a/b
  [ "$output" = "README.md: is missing" ]
  expect 0 bash -c "card-gen model --base a/b > model/README.md"
  has stderr "card-gen -i FOLDER"
  grep -q "base_model: a/b" model/README.md
}

@test "CRLF, BOM, no front matter, and a flow mapping" {
  model
  printf -- '---\r\nlicense: mit\r\n---\r\n# T\r\n' > model/README.md
  expect 0 card-gen -i model --base a/b
  [ "$(grep -c $'\r$' model/README.md)" = "$(wc -l < model/README.md)" ]
  expect 0 card-gen --check model
  printf '\xef\xbb\xbf---\nlicense: mit\n---\nx\n' > model/README.md
  expect 0 card-gen -i model --base a/b
  [ "$(head -c 3 model/README.md)" = --- ]
  printf '# only text\n' > model/README.md
  expect 0 card-gen -i model --base a/b
  [ "$(head -n 1 model/README.md)" = --- ]
  grep -qx '# only text' model/README.md
  cp model/README.md again
  expect 0 card-gen -i model
  cmp again model/README.md
  printf -- '---\n{license: mit}\n---\n' > model/README.md
  expect 5 card-gen -i model --base a/b
}

@test "broken cards are 4 with the line and stay as they are" {
  model
  for text in '---\na: [1\n---\n' '---\na: 1\na: 2\n---\n' '---\n- x\n---\n' '---\na: *x\n---\n' '---\nlicense: mit\n' \
    '---\na: =\n---\n' '---\n<<: x\n---\n' '---\nlicense:\tmit\n---\n'; do
    printf -- "$text" > model/README.md
    cp model/README.md before
    expect 4 card-gen -i model --base a/b
    has stderr "model/README.md: line "
    cmp before model/README.md
  done
  printf -- '---\na: b\nlicense:\tmit\n---\n' > tab.md
  expect 4 card-gen --lint tab.md
  has stderr "tab.md: line 3: not valid YAML: a tab between words, which Python's readers refuse; write blanks"
  printf -- '---\na: 1\nb: 2\na: 3\n---\n' > dup.md
  expect 4 card-gen --lint dup.md
  has stderr "dup.md: line 4: the key 'a' occurs twice"
}

@test "cards of trainers are mended, people's text is kept" {
  model
  cat > model/README.md <<'MD'
---
base_model: None
library_name: transformers
tags:
- trl
- base_model:adapter:/home/me/x
licence: license
---
# T
A version of [None](https://huggingface.co/None). Mine.
generator = pipeline("text-generation", model="None")
- **License:** [More Information Needed]
[More Information Needed]
MD
  expect 0 card-gen -i model --base a/b --repo me/m --license mit
  for gone in None licence: /home/me 'More Information'; do lacks model/README.md "$gone"; done
  grep -qF '[a/b](https://huggingface.co/a/b). Mine.' model/README.md
  grep -qF -- '- **License:** mit' model/README.md
  grep -qF 'model="me/m"' model/README.md
  expect 0 card-gen --check model
}

@test "a card copied along with the base does not name this model" {
  model && rm model/training_args.bin
  printf -- '---\nlicense: mit\ntags: [trl, dpo]\n---\npipe = pipeline(model="owner/base")\n' > model/README.md
  expect 0 card-gen model --base owner/base
  has output 'pipeline("text-generation", model="model")'
  sed -i 's|owner/base|me/mine|' model/README.md
  expect 0 card-gen model --base owner/base
  has output 'pipeline("text-generation", model="me/mine")'
  has output "license: mit"
  has output "(DPO)"
}

@test "weights that can't be read leave a card from the rest" {
  model
  truncate -s 100 model/model.safetensors
  expect 0 card-gen model --base a/b
  has stderr "unknown: parameters"
  has output "LlamaForCausalLM"
  expect 3 card-gen --strict model --base a/b
  printf '{' > model/trainer_state.json
  printf 'x' > model/training_args.bin
  expect 0 card-gen model --base a/b
  has stderr "unknown: training"
  has stderr "unknown: hyperparameters"
}

@test "evaluation results become a table and model-index" {
  cat > r.json <<'J'
{"results": {"hellaswag": {"alias": "hellaswag", "acc,none": 0.5, "acc_stderr,none": 0.01}}, "n-shot": {"hellaswag": 5}}
J
  expect 0 card-gen --base a/b --name m --eval r.json
  has output "model-index:"
  has output "| hellaswag | acc,none | 5 | 0.5 ± 0.01 |"
  card-gen -q --base a/b --name m --license mit --eval r.json > c.md
  expect 0 card-gen --lint c.md
  printf '{"eval_loss": 1.5, "eval_runtime": 2.0}' > t.json
  expect 0 card-gen --base a/b --dataset o/d --name m --eval t.json
  has output "    - type: loss"
  has output "| the run's own evaluation | eval_loss |  | 1.5 |"
  printf '{"a": "b"}' > bad.json
  expect 4 card-gen --base a/b --eval bad.json
}

@test "--lint: exit 1 for errors, 0 for warnings, findings with line, rule and advice" {
  printf -- '---\nlicense: Apache-2.0\n---\n' > c.md
  expect 1 card-gen --lint c.md
  has output "c.md:2: error: "
  has output "did you mean apache-2.0 [CG-LICENSE]; "
  printf -- '---\nlicense: mit\n---\n' > c.md
  expect 0 card-gen --lint c.md
  has output "[CG-MISSING]"
  for line in 'metrics: {a: b}' 'language_bcp47: 3' 'widget: x' 'buckets: x' 'extra_gated_fields: x' 'inference: [1]' 'co2_eq_emissions: lots' 'co2_eq_emissions: {source: x}'; do
    printf -- '---\n%s\n---\n' "$line" > c.md
    expect 1 card-gen --lint c.md
    has output "[CG-TYPE]"
  done
  for text in '---\n- a\n---\n' '---\na value\n---\n'; do
    printf -- "$text" > c.md
    expect 1 card-gen --lint c.md
    has output "c.md:2: error: "
    has output "[CG-OBJECT]"
  done
  printf -- '---\nlanguage: "no"\nlicense: mit\nbase_model: a/b\nbase_model_relation: finetune\nlibrary_name: transformers\npipeline_tag: text-generation\ndatasets: x/y\ntags: [a]\nmetrics: [accuracy]\nwidget: [{text: hello}]\ninference: false\nco2_eq_emissions: {emissions: 12}\nversion: "1e5"\n---\n<!-- card-gen:begin usage -->\ntext\n<!-- card-gen:end usage -->\n' > good.md
  expect 0 card-gen --lint good.md
  [ -z "$output" ]
  expect 1 card-gen --lint --json - <<< $'---\ntags: x\n---'
  has output '"rule": "CG-TAGS"'
}

@test "--fix mends what is safe and nothing else" {
  printf -- '\xef\xbb\xbf---\n# c\nlicense: Apache-2.0\nlanguage: no\ntags: one\nlicence: license\nodd:   [kept]\nrelease: off\n---\ntext\n[More Information Needed]\n' > c.md
  expect 0 card-gen --lint --fix c.md
  diff - c.md <<'MD'
---
# c
license: apache-2.0
language: "no"
tags:
- one
odd:   [kept]
release: "off"
---
text
MD
}

@test "a run folder: facts of its last checkpoint, under its own name" {
  mkdir my-run
  cp -r "$FIXTURES/full-run/checkpoint-40" my-run/
  expect 0 card-gen my-run --base a/b
  has output "# my-run"
  has output "Parameters: 39,072"
  has output "perplexity"
  has output 'model="my-run/checkpoint-40"'
  expect 0 card-gen my-run/checkpoint-40 --base a/b
  has output "# my-run"
  has output 'model="my-run/checkpoint-40"'
  expect 0 card-gen "$FIXTURES/zero3-run/checkpoint-1" --base a/b
  has stderr "st-pack puts them together"
}

@test "hostile names stay inside their place" {
  name='a`b|c[d](e) <script> <!-- card-gen:x'
  expect 2 card-gen --base a/b --name "$name"
  expect 0 card-gen --base a/b --name 'a`b|c[d](e) <script> *x*'
  has output '# a\`b\|c\[d\](e) &lt;script> \*x\*'
  expect 0 card-gen --base a/b --name "$(head -c 10000 /dev/zero | tr '\0' x)"
  expect 2 card-gen --base a/b --citation $'x\n<!-- card-gen:end citation -->'
}

@test "pipes: st-inspect's facts in, a card to lint out" {
  model
  st-inspect --json model > f.json
  expect 0 bash -c "card-gen --facts - --base a/b --name m < f.json"
  has output "Parameters: 39,072"
  cp -r "$FIXTURES/lora-run/checkpoint-40" adapter
  expect 0 bash -c "st-inspect --json adapter | card-gen --facts - --base a/b"
  has output "base_model_relation: adapter"
  has output "library_name: peft"
  has output "# adapter"
  has output "Trained parameters: 1,664"
  lacks output scaling
  expect 0 bash -c "card-gen -q model --base a/b --license mit | card-gen --lint -"
  [ -z "$output" ]
}

@test "dates and hashes are asked for" {
  model
  SOURCE_DATE_EPOCH=86400 expect 0 card-gen model --base a/b --provenance --source-revision abc
  has output "Date: 1970-01-02"
  has output "$(sha256sum model/model.safetensors | cut -c1-64)"
  expect 0 card-gen model --base a/b
  lacks output Date:
}

@test "the loss curve: a file when printing, blocks on stderr" {
  model
  expect 0 card-gen model --base a/b --plot=curve.svg --preview
  has output "](curve.svg)"
  has stderr "loss █"
  grep -q polyline curve.svg
  expect 5 card-gen --base a/b --plot
}

@test "a torch distributed checkpoint named itself is a model; a base in a cache on another disk is read" {
  expect 0 card-gen "$FIXTURES/fsdp-run/checkpoint-1/pytorch_model_fsdp_0"
  has output "library_name: transformers"
  export HF_HUB_CACHE=$PWD/cache
  mkdir -p cache/models--o--n/{refs,snapshots/0123456789012345678901234567890123456789} blobs
  ln -s ../../blobs cache/models--o--n/blobs
  printf 0123456789012345678901234567890123456789 > cache/models--o--n/refs/main
  printf -- '---\nlicense: mit\n---\n' > cache/models--o--n/snapshots/0123456789012345678901234567890123456789/README.md
  expect 0 card-gen --base o/n
  has output "license: mit"
  printf 'a/b' > cache/models--o--n/refs/main
  expect 0 card-gen --base o/n
  has output "license: mit"
}
