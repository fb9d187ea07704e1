# SPDX-License-Identifier: Apache-2.0
# st-inspect --check --base: whether a base takes an adapter. Real adapters and bases are in the interop suite.
load helper

m=base_model.model.
attn=model.layers.0.self_attn
experts=model.layers.0.mlp.experts

setup() {
  start
  llama
}

# model FOLDER CONFIG TENSOR...
model() {
  floats "$1/model.safetensors" "${@:3}"
  echo "$2" > "$1/config.json"
}
llama() {
  model base '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 6}' model.embed_tokens.weight:6x4:0 \
    $attn.q_proj.weight:4x4:0 $attn.v_proj.weight:2x4:0 lm_head.weight:6x4:0 model.norm.weight:4:0
}

# adapter CONFIG TENSOR...: of rank 2 and alpha 4, for q_proj and v_proj unless CONFIG says otherwise.
adapter() {
  rm -rf ad
  floats ad/adapter_model.safetensors "${@:2}"
  python3 -c 'import json, sys
print(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], **json.loads(sys.argv[1])}))' "$1" > ad/adapter_config.json
}
# pair MODULE OUT IN [RANK [A [B]]]: the factors of a module.
pair() { echo "$m$1.lora_A.weight:${4:-2}x$3:${5:-1} $m$1.lora_B.weight:$2x${4:-2}:${6:-1}"; }

# check CODE TEXT...: stdout has each text.
check() {
  expect "$1" st-inspect --check --base base ad
  for text in "${@:2}"; do has output "$text"; done
}
lacks() { [[ $output != *"$1"* ]] || { echo "'$1' is in: $output"; return 1; }; }

@test "an adapter that its base takes: how much changes" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4) $(pair $attn.v_proj 2 4)
  check 0
  [ "$output" = "ad: sound, level spec
ad: changes 2 modules of base: 24 parameters" ]
  [ -z "$stderr" ]
  for base in base/model.safetensors base/; do expect 0 st-inspect --check=loads --base "$base" ad; done
  for path in ad/adapter_model.safetensors ad/; do expect 0 st-inspect --check=hub --base base "$path"; done
  expect 0 st-inspect --check --base "$FIXTURES/base" "$FIXTURES/lora-adapter" "$FIXTURES/lora-run/checkpoint-40"
  [ "$(grep -c 'changes 6 modules of' <<< "$output")" = 2 ]
}

@test "a module that matches nothing is named, with what may be meant" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4) $(pair model.layers.7.self_attn.v_proj 2 4)
  check 1 "model.layers.7.self_attn.v_proj: the base has no tensor 'model.layers.7.self_attn.v_proj.weight'; it has '$attn.v_proj.weight' [AD-NAMES spec error]" \
    "ad: changes 1 of 2 modules of base: 16 parameters"
  # shellcheck disable=SC2046
  adapter '{}' $(pair x.q_proj 9 9) $(pair x.v_proj 9 9)
  check 1 "ad: matches nothing in base: a server would serve the base unchanged"
  [ "$(grep -c AD-NAMES <<< "$output")" = 2 ]
  expect 1 st-inspect --check=loads --base base ad
  expect 0 st-inspect --check ad
}

@test "shapes: of another size, of a bias, of rows, of whole tensors" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 8 8) $(pair $attn.v_proj 2 4)
  check 1 "$attn.q_proj: its factors [2, 8] and [8, 2] don't fit '$attn.q_proj.weight', which is [4, 4] [AD-SHAPE spec error]"
  # shellcheck disable=SC2046
  adapter '{"lora_bias": true}' $(pair $attn.q_proj 4 4) ${m}$attn.q_proj.lora_B.bias:4:1
  check 1 "has a bias, but the base has no tensor '$attn.q_proj.bias' [AD-SHAPE"
  # shellcheck disable=SC2046
  adapter '{"use_dora": true}' $(pair $attn.q_proj 4 4) ${m}$attn.q_proj.lora_magnitude_vector:3:1
  check 1 "its magnitude vector does not have one value for each row of lora_B [AD-SHAPE"
  # shellcheck disable=SC2046
  adapter '{"use_dora": true}' $(pair $attn.q_proj 4 4)
  check 1 "$attn.q_proj: has no magnitude vector, although use_dora is set [AD-SHAPE"
  # shellcheck disable=SC2046
  adapter '{"modules_to_save": ["norm"]}' $(pair $attn.q_proj 4 4) ${m}model.norm.weight:5:1
  check 1 "model.norm.weight: the tensor is [5], but 'model.norm.weight' is [4] [AD-SHAPE"
  # shellcheck disable=SC2046
  adapter '{"trainable_token_indices": {"embed_tokens": [2, 9]}}' $(pair $attn.q_proj 4 4) ${m}model.embed_tokens.token_adapter.trainable_tokens_delta:2x4:1
  check 1 "model.embed_tokens: a row was trained for token 9, but the base has 6 [AD-SHAPE"
}

@test "ranks: of the factors, of the config, of its patterns" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4 3) $(pair $attn.v_proj 2 4)
  check 1 "$attn.q_proj: has rank 3, but adapter_config.json says 2 [AD-RANK spec error]" "changes 1 of 2 modules"
  expect 1 st-inspect --check=hub --base base ad
  [ "$(grep -c AD-RANK <<< "$output")" = 1 ]
  # shellcheck disable=SC2046
  adapter '{"rank_pattern": {"q_proj": 3}}' $(pair $attn.q_proj 4 4 3) $(pair $attn.v_proj 2 4)
  check 0 "changes 2 modules"
  adapter '{}' ${m}$attn.q_proj.lora_A.weight:2x4:1 ${m}$attn.q_proj.lora_B.weight:4x3:1
  check 1 "lora_A has 2 rows, but lora_B has 3 columns [AD-RANK"
  adapter '{}' ${m}$attn.q_proj.lora_A.weight:2x4:1
  check 1 "has lora_A but no lora_B [AD-RANK"
}

@test "an adapter that does nothing" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4 2 1 0) $(pair $attn.v_proj 2 4 2 0 1)
  check 1 "each has a lora_A or lora_B that is zero" "[AD-NOOP spec error]" "ad: changes nothing in base"
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4 2 1 -0) $(pair $attn.v_proj 2 4)
  check 0 "changes 1 of 2 modules of base: 8 parameters" "ad: 1 module changes nothing: lora_A, lora_B or the alpha is zero [note]"
  # shellcheck disable=SC2046
  adapter '{"alpha_pattern": {"q_proj": 0, "v_proj": 0}}' $(pair $attn.q_proj 4 4) $(pair $attn.v_proj 2 4)
  check 1 "alpha_pattern of adapter_config.json gives each the alpha 0" "[AD-NOOP spec error]"
  lacks "sound"
  # shellcheck disable=SC2046
  adapter '{"lora_alpha": 0}' $(pair $attn.q_proj 4 4)
  check 1 "lora_alpha is 0" "[AD-NOOP"
  # shellcheck disable=SC2046
  adapter '{"lora_alpha": 0, "alpha_pattern": {"q_proj": 2}}' $(pair $attn.q_proj 4 4)
  check 0
  # shellcheck disable=SC2046
  adapter '{"target_modules": ["o_proj"]}' $(pair $attn.q_proj 4 4)
  check 1 "target_modules of adapter_config.json names none of them: PEFT applies nothing [AD-NOOP"
  adapter '{"trainable_token_indices": {"embed_tokens": [2]}}' ${m}model.embed_tokens.token_adapter.trainable_tokens_delta:1x4:1
  check 0 "ad: changes rows of 1 embedding of base: 4 parameters"
}

@test "modules that the config is for and the adapter lacks are a note" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4)
  check 0 "the config is for 2 modules of the base, but the adapter has nothing for 1 of them, such as '$attn.v_proj' [AD-PARTIAL note]"
  # shellcheck disable=SC2046
  adapter '{"target_modules": ".*q_proj"}' $(pair $attn.q_proj 4 4) $(pair $attn.v_proj 2 4)
  check 0 "1 module of the adapter left out" "changes 1 module of base: 16"
  lacks AD-PARTIAL
}

@test "what is held whole: replaced, added, resized, missing" {
  # shellcheck disable=SC2046
  adapter '{"modules_to_save": ["lm_head"]}' $(pair $attn.q_proj 4 4) ${m}lm_head.weight:6x4:1
  check 0 "changes 1 module, 1 whole tensor of base: 40 parameters"
  # shellcheck disable=SC2046
  adapter '{"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]}' $(pair $attn.q_proj 4 4) ${m}score.weight:3x4:1
  check 0 "score.weight is not in the base: it is added [note]"
  # shellcheck disable=SC2046
  adapter '{"modules_to_save": ["embed_tokens", "lm_head"]}' $(pair $attn.q_proj 4 4) ${m}lm_head.weight:8x4:1 ${m}model.embed_tokens.weight:8x4:1
  check 0 "model.embed_tokens.weight has 8 rows, in the base 6: they are resized [note]"
  # shellcheck disable=SC2046
  adapter '{"modules_to_save": ["lm_head"]}' $(pair $attn.q_proj 4 4)
  check 1 "lm_head: modules_to_save names it and the base has 'lm_head.weight', but the adapter lacks it" "[AD-NAMES"
}

@test "names of the other side, of a text model in a vision model, without a first component" {
  stacked=("$experts.gate_up_proj:3x8x4:0" "$experts.down_proj:3x4x4:0")
  split=()
  for e in 0 1 2; do
    split+=("model.layers.0.block_sparse_moe.experts.$e."{w1,w2,w3}".weight:4x4:0")
  done
  mixtral='{"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}'
  targets='{"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}'
  for base in stacked split; do
    declare -n tensors=$base
    rm -rf base
    model base "$mixtral" "${tensors[@]}" $attn.q_proj.weight:4x4:0
    # shellcheck disable=SC2046
    adapter "$targets" $(pair $experts.base_layer 8 4 6) $(pair $experts 4 4 6) $(pair $attn.q_proj 4 4)
    check 0 "changes 3 modules of base: 160 parameters"
    # One wrapper alone is for the parameter that target_parameters names.
    # shellcheck disable=SC2046
    adapter '{"target_parameters": ["mlp.experts.gate_up_proj"]}' $(pair $experts 8 4 6)
    check 0 "changes 1 module of base: 96 parameters"
    # shellcheck disable=SC2046
    adapter '{"target_parameters": ["mlp.experts.down_proj"]}' $(pair $experts 8 4 6)
    check 1 AD-SHAPE
    # shellcheck disable=SC2046
    adapter '{"target_parameters": ["mlp.experts.gate_up_proj"]}' $(pair $experts 8 4 9)
    check 1 "has rank 3, but adapter_config.json says 2 [AD-RANK"
    # Single experts, as earlier versions saved them.
    # shellcheck disable=SC2046
    adapter '{"target_modules": ["w1", "w3"]}' $(for w in w1 w3; do pair model.layers.0.block_sparse_moe.experts.2.$w 4 4; done)
    check 0 "changes 2 modules of base: 32 parameters"
    # shellcheck disable=SC2046
    adapter '{"target_modules": ["w1", "w3"]}' $(pair model.layers.0.block_sparse_moe.experts.3.w1 4 4)
    check 1 "model.layers.0.block_sparse_moe.experts.3.w1: the base has no tensor" "[AD-NAMES spec error]"
  done
  # The base of the last round has its experts apart.
  # shellcheck disable=SC2046
  adapter '{"target_modules": ["w1", "w3"]}' $(pair model.layers.0.block_sparse_moe.experts.2.w1 4 4)
  check 0 "the config is for 6 modules of the base, but the adapter has nothing for 5 of them, such as 'model.layers.0.block_sparse_moe.experts.0.w1' [AD-PARTIAL note]"
  rm -rf base
  model base '{"architectures": ["LlavaForConditionalGeneration"], "text_config": {}}' language_model.$attn.q_proj.weight:4x4:0 \
    vision_tower.layers.0.self_attn.q_proj.weight:4x3:0
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4)
  check 0 "the adapter is of a text model, and goes into the language model of the base [note]" "changes 1 module"
  # The same shape in both: nobody knows.
  model base '{"architectures": ["LlavaForConditionalGeneration"], "text_config": {}}' language_model.$attn.q_proj.weight:4x4:0 \
    vision_tower.layers.0.self_attn.q_proj.weight:4x4:0
  check 1 "several models that this adapter fits" "'language_model.$attn.q_proj.weight'"
  rm -rf base
  model base '{"model_type": "gpt2"}' h.0.attn.c_attn.weight:4x12:0
  # shellcheck disable=SC2046
  adapter '{"target_modules": ["c_attn"], "fan_in_fan_out": true}' $(pair transformer.h.0.attn.c_attn 12 4)
  check 0 "names in the adapter begin with 'transformer.', names in the base don't [note]"
}

@test "a quantised base: names are found, shapes of packed weights are not judged" {
  python3 "$BATS_TEST_DIRNAME/tensors.py" base/model.safetensors $attn.q_proj.weight:U8:8,1 $attn.q_proj.weight.absmax:U8:1 \
    $attn.q_proj.weight.quant_map:F32:16 $attn.v_proj.qweight:I32:1,2 $attn.v_proj.qzeros:I32:1,1 $attn.v_proj.scales:F16:1,2 \
    $attn.k_proj.weight:F8_E4M3:2,4 $attn.k_proj.weight_scale:F32:1
  # shellcheck disable=SC2046
  adapter '{"target_modules": ["q_proj", "k_proj", "v_proj"]}' $(pair $attn.q_proj 4 4) $(pair $attn.v_proj 2 4) $(pair $attn.k_proj 2 4)
  check 0 "changes 3 modules of base: 32 parameters"
  # shellcheck disable=SC2046
  adapter '{"target_modules": ["k_proj"]}' $(pair $attn.k_proj 4 4)
  check 1 AD-SHAPE
}

@test "exit codes: usage, what is not an adapter or a base, what is missing" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4)
  for options in "" --stats --json --diff "--check --combine"; do
    # shellcheck disable=SC2086
    expect 2 st-inspect $options --base base ad
    has stderr "--base needs --check"
  done
  expect 2 st-inspect --check --base - ad
  expect 7 st-inspect --check --base missing ad
  expect 7 st-inspect --check --base base missing
  expect 4 st-inspect --check --base base base
  has stderr "base: is not an adapter"
  expect 4 st-inspect --check --base base base/model.safetensors
  expect 4 st-inspect --check --base ad ad
  has stderr "is an adapter"
  expect 4 st-inspect --check --base "$FIXTURES/formats/tiny.gguf" ad
  echo '{"peft_type": "IA3"}' > ad/adapter_config.json
  expect 4 st-inspect --check --base base ad
  has stderr "only LORA is supported"
  # A shard that is missing: nobody knows what was in it.
  cp -r "$FIXTURES/sharded" half
  rm half/model-00002-of-*.safetensors
  expect 4 st-inspect --check --base half "$FIXTURES/lora-adapter"
  # One operand of several: the others are done.
  expect 7 st-inspect --check --base "$FIXTURES/base" missing "$FIXTURES/lora-adapter"
  has output "changes 6 modules"
}

@test "a file without its config, and a base by its index" {
  cp "$FIXTURES/lora-adapter/adapter_model.safetensors" a.safetensors
  expect 0 st-inspect --check --base "$FIXTURES/base" a.safetensors
  has output "there is no adapter_config.json: ranks and lora_alpha can't be judged [note]"
  expect 0 st-inspect --check --base "$FIXTURES/sharded/model.safetensors.index.json" "$FIXTURES/lora-adapter"
}

@test "the report as JSON" {
  # shellcheck disable=SC2046
  adapter '{}' $(pair $attn.q_proj 4 4) $(pair x.v_proj 2 4)
  expect 1 st-inspect --json --check --base base ad
  diff - <(python3 -c 'import json, sys
d = json.load(sys.stdin)
print(d["schema"], d["level"], [f["rule"] for f in d["findings"]])
print(json.dumps(d["base"]))' <<< "$output") <<'END'
modelutils.st-inspect/1 loads ['AD-NAMES']
{"path": "base", "names": "as-is", "modules": 2, "changed_modules": 1, "changed_parameters": 16, "changed_rows": 0, "replaced_tensors": 0, "added_tensors": 0, "notes": [{"rule": "AD-PARTIAL", "message": "the config is for 2 modules of the base, but the adapter has nothing for 1 of them, such as 'model.layers.0.self_attn.v_proj'"}]}
END
  expect 0 st-inspect --json --check ad
  ! grep -q '"base": {' <<< "$output"
}
