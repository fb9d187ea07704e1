# SPDX-License-Identifier: Apache-2.0
# One model under its names in memory, as files have it, and under older names: differences, adapters between two models,
# merging. Numbers are made by hand; the interop suite compares with Transformers and PEFT.
load helper

setup() {
  start
  m=base_model.model.model.layers.0
}

# config FOLDER CLASS TYPE [MEMBERS]
config() {
  mkdir -p "$1"
  echo "{\"architectures\": [\"$2\"], \"model_type\": \"$3\"${4:+, $4}}" > "$1/config.json"
}

# mixtral FOLDER memory|published VALUE: one layer of two experts, gate and up 2 x 3, all numbers VALUE.
mixtral() {
  config "$1" MixtralForCausalLM mixtral
  local layer=model.layers.0 names=()
  if [ "$2" = memory ]; then
    names=("$layer.mlp.experts.gate_up_proj:2x4x3:$3" "$layer.mlp.experts.down_proj:2x3x2:$3" "$layer.mlp.gate.weight:2x3:$3")
  else
    for e in 0 1; do
      names+=("$layer.block_sparse_moe.experts.$e.w1.weight:2x3:$3" "$layer.block_sparse_moe.experts.$e.w3.weight:2x3:$3" "$layer.block_sparse_moe.experts.$e.w2.weight:3x2:$3")
    done
    names+=("$layer.block_sparse_moe.gate.weight:2x3:$3")
  fi
  floats "$1/model.safetensors" "${names[@]}" "$layer.self_attn.q_proj.weight:3x3:$3"
}

# adapter CONFIG MODULE:IN:OUT:VALUE...: of rank 1; the delta of each module is VALUE everywhere.
adapter() {
  local tensors=() names=() module in out value
  for text in "${@:2}"; do
    IFS=: read -r module in out value <<< "$text"
    tensors+=("base_model.model.$module.lora_A.weight:1x$in:1" "base_model.model.$module.lora_B.weight:${out}x1:$value")
    names+=("\"$module\"")
  done
  floats ad/adapter_model.safetensors "${tensors[@]}"
  echo "{\"peft_type\": \"LORA\", \"r\": 1, \"lora_alpha\": 1, \"target_modules\": [$(IFS=,; echo "${names[*]}")]$1}" > ad/adapter_config.json
}

@test "factors of single experts are merged into the stack that a base in memory's form has" {
  mixtral base memory 1
  moe=model.layers.0.block_sparse_moe
  adapter '' $moe.experts.1.w3:3:2:5 $moe.experts.0.w1:3:2:2 $moe.experts.1.w2:2:3:7 $moe.gate:3:2:4 model.layers.0.self_attn.q_proj:3:3:3
  cp -r base merged
  floats merged/model.safetensors model.layers.0.mlp.experts.gate_up_proj:2x4x3:3,3,3,3,3,3,1,1,1,1,1,1,1,1,1,1,1,1,6,6,6,6,6,6 \
    model.layers.0.mlp.experts.down_proj:2x3x2:1,1,1,1,1,1,8,8,8,8,8,8 model.layers.0.mlp.gate.weight:2x3:5 model.layers.0.self_attn.q_proj.weight:3x3:4
  expect 0 st-pack base --adapter ad -o out
  has stderr "names in the adapter are those of files, the base has those of the model in memory"
  expect 0 st-inspect --diff out merged
  # The same into files.
  mixtral base published 1
  expect 0 st-pack base --adapter ad -o apart
  expect 0 st-inspect --diff apart merged
}

@test "factors of an expert that the stack does not have, or of another shape, are refused" {
  mixtral base memory 1
  adapter '' model.layers.0.block_sparse_moe.experts.2.w3:3:2:5
  expect 4 st-pack base --adapter ad -o out
  has stderr "experts.2.w3: the base has no tensor"
  for module in experts.0.w3:3:3:5 experts.0.w1:2:2:5; do
    adapter '' model.layers.0.block_sparse_moe.$module
    expect 4 st-pack base --adapter ad -o out
    has stderr "but the tensor is [2, 4, 3]"
    [ ! -e out ]
  done
}

@test "modules that a base lacks are all named, with what may be meant" {
  floats base/model.safetensors a.layers.0.q_proj.weight:3x3:0 b.layers.0.q_proj.weight:3x3:0 b.layers.0.k_proj.weight:2x3:0
  config base LlamaForCausalLM llama
  adapter '' model.layers.0.q_proj:3:3:1 model.layers.0.k_proj:3:3:1 model.layers.1.k_proj:3:3:1
  expect 4 st-pack base --adapter ad -o out
  has stderr "model.layers.0.q_proj: the base has no tensor 'model.layers.0.q_proj.weight'; it lacks 2 modules more: model.layers.0.k_proj, model.layers.1.k_proj"
  has stderr "the base has a.layers.0.q_proj.weight, b.layers.0.q_proj.weight"
}

@test "a text model's adapter goes onto the language model of a multimodal one, if only one place fits" {
  config base LlavaForConditionalGeneration llava '"text_config": {"model_type": "llama"}'
  language=language_model.model.layers.0 tower=vision_tower.layers.0
  adapter '' model.layers.0.q_proj:3:3:1 model.layers.0.k_proj:3:2:1
  floats base/model.safetensors $language.q_proj.weight:3x3:0 $language.k_proj.weight:2x3:0 $tower.q_proj.weight:3x3:0 $tower.k_proj.weight:3x3:0
  expect 0 st-pack base --adapter ad -o out
  has stderr "goes into the language model of the base"
  [ "$(floats out | grep ' 1$' | cut -d' ' -f1 | sort | paste -sd' ')" = "$language.k_proj.weight $language.q_proj.weight" ]
  # The tower has the same shapes.
  floats base/model.safetensors $language.q_proj.weight:3x3:0 $language.k_proj.weight:2x3:0 $tower.q_proj.weight:3x3:0 $tower.k_proj.weight:2x3:0
  expect 4 st-pack base --adapter ad -o two
  has stderr "more than one place in it fits the text model that was trained"
  has stderr "$language.q_proj.weight"
  has stderr "$tower.q_proj.weight"
  # Half of the modules are in one place, half in another.
  floats base/model.safetensors $language.q_proj.weight:3x3:0 $tower.k_proj.weight:2x3:0
  expect 4 st-pack base --adapter ad -o two
  [ ! -e two ]
}

@test "a model in memory and its files are the same" {
  mixtral a memory 1
  mixtral b published 1
  for sides in "a b" "b a"; do
    expect 0 st-inspect --diff $sides
    has output "same: 8 tensors, under published names"
    expect 1 st-inspect --diff --names as-is $sides
    [ -z "$stderr" ]
    expect 1 st-inspect --names=as-is --diff $sides
  done
  expect 0 st-inspect --diff --names auto a b
  has stderr "3 tensors of A have memory's names: compared under published names (--names as-is: as they stand)"
  expect 0 st-inspect --diff --json a b
  python3 - <<PY
import json
d = json.loads('''$output''')
assert d["same"] and d["names"] == {"compared": "published", "a": {"memory": 3, "older": 0, "wrapped": 0}, "b": {"memory": 0, "older": 0, "wrapped": 0}}
w3 = next(t for t in d["tensors"] if t["name"].endswith("experts.1.w3.weight"))
assert w3["a"]["made_of"] == ["model.layers.0.mlp.experts.gate_up_proj"] and w3["a"]["shape"] == [2, 3] and "made_of" not in w3["b"]
PY
  # Names alike are compared as they stand.
  expect 0 st-inspect --diff a a
  has output "same: 4 tensors"
  [ -z "$stderr" ]
  expect 0 st-inspect --diff --json b b
  [[ $output != *made_of* && $output != *'"names"'* ]]
}

@test "what wrappers added to names is seen through, together with memory's names" {
  mixtral a memory 1
  mixtral b published 1
  mkdir c
  cp a/config.json c
  st-pack -q a -o c.safetensors --names as-is --rename 's/^/module._orig_mod./'
  mv c.safetensors c/model.safetensors
  expect 0 st-inspect --diff c b
  has stderr "4 tensors of A have names of wrappers, 3 tensors of A have memory's names: compared under published names"
  expect 0 st-inspect --diff b c
  expect 0 st-inspect --diff a c
  has stderr "4 tensors of B have names of wrappers"
  expect 0 st-inspect --diff c c
  [ -z "$stderr" ]
  expect 1 st-inspect --diff --names as-is a c
  has output "+ module._orig_mod.model.layers.0.mlp.gate.weight"
}

@test "a part of the files is found in the whole model in memory" {
  mixtral a memory 1
  config b MixtralForCausalLM mixtral
  floats b/model.safetensors model.layers.0.block_sparse_moe.experts.1.w3.weight:2x3:1
  expect 1 st-inspect --diff a b
  has output "7 only in A, 0 only in B, 0 in shape, 0 in dtype, 0 in values, 1 equal, under published names"
}

@test "what differs in a part of a stack is named" {
  mixtral a memory 1
  mixtral b published 1
  floats a/model.safetensors model.layers.0.mlp.experts.gate_up_proj:2x4x3:1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1.5 \
    model.layers.0.mlp.experts.down_proj:2x3x2:1 model.layers.0.mlp.gate.weight:2x3:1 model.layers.0.self_attn.q_proj.weight:3x3:1
  expect 1 st-inspect --diff a b
  has output "~ model.layers.0.block_sparse_moe.experts.1.w3.weight  f32, 1 of 6 values differ, max abs 0.5"
  has output "1 in values, 7 equal"
  expect 0 st-inspect --diff --rtol 0.5 a b
  st-pack b -o b16 --dtype bf16
  expect 1 st-inspect --diff --atol 1 a b16
  expect 0 st-inspect --diff --atol 1 --ignore-dtype a b16
  expect 1 st-inspect --diff --map 's/gate[.]weight/router.weight/' a b
  has output "only in A, 1 only in B"
  # Experts that are not whole can't be told apart.
  floats a/model.safetensors model.layers.0.mlp.experts.gate_up_proj:2x3x3:1
  expect 4 st-inspect --diff a b
  has stderr "gate_up_proj"
  has stderr "--names as-is"
  expect 1 st-inspect --diff --names as-is a b
}

@test "a side without a config has the other's; one that can't be told apart keeps its names" {
  mixtral a memory 1
  mixtral b published 1
  expect 0 st-inspect --diff a/model.safetensors b
  expect 0 st-inspect --diff b a/model.safetensors
  expect 1 st-inspect --diff a/model.safetensors b/model.safetensors
  # Names of both kinds.
  floats a/model.safetensors model.layers.0.mlp.gate.weight:2x3:1 model.layers.0.block_sparse_moe.gate.weight:2x3:1
  expect 1 st-inspect --diff a b
  has output "- model.layers.0.mlp.gate.weight"
  # Quantised weights are left alone.
  mixtral a memory 1
  config a MixtralForCausalLM mixtral '"quantization_config": {"quant_method": "fp8"}'
  expect 1 st-inspect --diff a b
  has output "- model.layers.0.mlp.gate.weight"
  config a Unknown unknown
  expect 1 st-inspect --diff a b
  config a MixtralForCausalLM mixtral '"auto_map": {"AutoModel": "x.Y"}'
  expect 1 st-inspect --diff a b
}

@test "older names are today's" {
  config a BertModel bert
  cp -r a b
  floats a/model.safetensors encoder.LayerNorm.gamma:3:1 encoder.LayerNorm.beta:3:2 encoder.conv.weight_g:3:3
  floats b/model.safetensors encoder.LayerNorm.weight:3:1 encoder.LayerNorm.bias:3:2 encoder.conv.parametrizations.weight.original0:3:3
  expect 0 st-inspect --diff a b
  has stderr "3 tensors of A have older names"
  expect 0 st-inspect --diff b a
  has stderr "3 tensors of B have older names"
  expect 0 st-inspect --diff a a
  [ -z "$stderr" ]
  expect 1 st-inspect --diff --names as-is a b
  has output "- encoder.LayerNorm.beta"
}

@test "--names with a value belongs to --diff, alone it lists" {
  mixtral a memory 1
  expect 0 st-inspect --names a
  [ "${#lines[@]}" = 4 ]
  cmp <(st-inspect --names a) <(st-inspect --names=list a)
  expect 2 st-inspect --names=as-is a
  has stderr "--names=as-is needs --diff"
  expect 2 st-inspect --diff --names a a
  expect 2 st-inspect --diff --names=list a a
  expect 2 st-inspect --diff --names published a a
  expect 7 st-inspect --names as-is
}

@test "lora-extract finds one adapter between two models, whatever the names on either side" {
  local from=$FIXTURES/names/MixtralForCausalLM
  for side in published merged; do
    mkdir $side
    cp "$from/memory/config.json" $side
    cp "$from/$side.safetensors" $side/model.safetensors
  done
  expect 0 lora-extract --base "$from/memory" --tuned merged --rank 2 -o one --json
  has output '"names": {'
  expect 0 lora-extract --base published --tuned merged --rank 2 -o two
  expect 0 lora-extract --base published/model.safetensors --tuned merged --rank 2 -o three
  cmp one/adapter_model.safetensors two/adapter_model.safetensors
  cmp one/adapter_model.safetensors three/adapter_model.safetensors
  cmp <(st-inspect --names --sort name one) <(st-inspect --names --sort name "$from/adapter")
  expect 0 lora-extract --base merged --tuned "$from/memory" --rank 2 -o back
  has stderr "of the base have published names, the tuned model those of the model class in memory"
  cmp <(st-inspect --names one) <(st-inspect --names back)
  # Older names.
  for side in a b; do config $side BertModel bert; done
  floats a/model.safetensors encoder.layer.0.attention.self.query.weight:3x3:0 encoder.layer.0.output.LayerNorm.gamma:3:1
  floats b/model.safetensors encoder.layer.0.attention.self.query.weight:3x3:1 encoder.layer.0.output.LayerNorm.weight:3:1
  expect 0 lora-extract --base a --tuned b --rank 1 -o older
  has stderr "1 tensor of the base has older names, taken for today's"
  expect 0 lora-extract --base b --tuned a --rank 1 -o newer
}

@test "an adapter merged into either side is what PEFT publishes" {
  for class in MixtralForCausalLM LlavaForConditionalGeneration; do
    local from=$FIXTURES/names/$class
    mkdir -p $class/published
    cp "$from/memory/config.json" $class/published
    cp "$from/published.safetensors" $class/published/model.safetensors
    expect 0 st-pack "$from/memory" --adapter "$from/adapter" -o $class/a
    expect 0 st-pack $class/published --adapter "$from/adapter" -o $class/b
    cmp $class/a/model.safetensors $class/b/model.safetensors
    # One unit in the last place of the largest value.
    expect 0 st-inspect --diff --names as-is --atol 1.2e-7 $class/a "$from/merged.safetensors"
    expect 0 st-pack "$from/memory" --adapter "$from/adapter" --names as-is -o $class/c
    expect 0 st-inspect --diff $class/a $class/c
  done
}
