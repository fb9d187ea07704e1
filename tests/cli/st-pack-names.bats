# SPDX-License-Identifier: Apache-2.0
# Under which names models are written: --names, --experts. The fixtures are models of transformers, each as torch.save of its
# state_dict() leaves it and as save_pretrained writes it.
load helper

NAMES=$FIXTURES/names
# The classes whose names in memory are not those in files.
RENAMED=(GPTNeoXForCausalLM GraniteMoeForCausalLM LlavaForConditionalGeneration MixtralForCausalLM Qwen2_5_VLForConditionalGeneration Qwen3MoeForCausalLM)

# published CLASS FOLDER: a folder with the model as save_pretrained writes it.
published() {
  mkdir -p "$2"
  cp "$NAMES/$1/memory/config.json" "$2"
  cp "$NAMES/$1/published.safetensors" "$2/model.safetensors"
}

# with_names FILE OUT NAME...: FILE and a small tensor more for each NAME.
with_names() {
  python3 - "$@" <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
size = struct.unpack("<Q", data[:8])[0]
header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
for name in sys.argv[3:]:
    header[name] = {"dtype": "F32", "shape": [2], "data_offsets": [len(body), len(body) + 8]}
    body += b"\1" * 8
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(sys.argv[2], "wb").write(struct.pack("<Q", len(text)) + text + body)
PY
}

@test "a state dict becomes what save_pretrained writes, byte for byte" {
  for class in "$NAMES"/*; do
    expect 0 st-pack "$class/memory" -o "${class##*/}" --verify
    cmp "${class##*/}/model.safetensors" "$class/published.safetensors"
    expect 0 st-pack "$class/memory" -o one.safetensors --names published --force
    cmp one.safetensors "$class/published.safetensors"
    st-pack -q "$class/memory" -o - | cmp - "$class/published.safetensors"
  done
}

@test "what was found is said before anything is written, and in JSON" {
  expect 0 st-pack -n "$NAMES/MixtralForCausalLM/memory" -o out
  has stderr "memory's names: 6 of 21 tensors written under published names (21 -> 35)"
  expect 0 st-pack --json "$NAMES/MixtralForCausalLM/memory" -o out
  has stderr "memory's names: 6 of 21 tensors written under published names (21 -> 35)"
  [ "$(jq -c .names <<< "$output")" = '{"side":"memory","memory":6,"published":0,"neutral":15,"foreign":0,"written":"published","changed":6,"tensors_before":21,"tensors":35}' ]
  name=model.layers.0.block_sparse_moe.experts.2.w3.weight
  [ "$(jq -r ".weights[].tensors[] | select(.name == \"$name\") | .from" <<< "$output")" = model.layers.0.mlp.experts.gate_up_proj ]
  expect 0 st-pack -n --json out -o again
  [ "$(jq -r .names.side <<< "$output")" = published ]
  [[ $stderr != *names* ]]
  expect 0 st-pack -n --json "$FIXTURES/base" -o again
  [ "$(jq -r .names.side <<< "$output")" = neutral ]
  expect 0 st-pack -n --json "$FIXTURES/base" --names as-is -o again
  [ "$(jq -r .names <<< "$output")" = null ]
}

@test "published names come out as they are, whatever else is among them" {
  for class in "${RENAMED[@]}"; do
    published "$class" in
    for mode in auto published as-is; do
      expect 0 st-pack in -o out --names $mode --force
      cmp out/model.safetensors in/model.safetensors
    done
    for name in extra score.weight transformer.h.0.ln_1.gamma model.model.layers.0.x.weight "$(st-inspect --names "$NAMES/$class/memory" | grep -vxFf <(st-inspect --names in) | head -1)"; do
      with_names "$NAMES/$class/published.safetensors" in/model.safetensors "$name"
      expect 0 st-pack in -o out --names as-is --force
      cp out/model.safetensors as-is
      expect 0 st-pack in -o out --force
      cmp out/model.safetensors as-is
    done
    rm -r in out
  done
}

@test "names of both kinds stay and are reported; --names published refuses them" {
  published MixtralForCausalLM in
  with_names "$NAMES/MixtralForCausalLM/published.safetensors" in/model.safetensors model.layers.0.mlp.experts.gate_up_proj
  expect 0 st-pack in -o out
  has stderr "names of both kinds (1 memory's, 20 published): left as they are"
  expect 4 st-pack in -o new --names published
  has stderr "model.layers.0.mlp.experts.gate_up_proj"
  has stderr "block_sparse_moe"
  for form in split stack; do expect 4 st-pack in -o new --experts $form; done
  published LlavaForConditionalGeneration llava
  with_names "$NAMES/LlavaForConditionalGeneration/published.safetensors" llava/model.safetensors lm_head.weight
  expect 0 st-pack llava -o out --force
  has stderr "names of both kinds"
  [ ! -e new ]
}

@test "memory's names with one published or foreign name among them stay" {
  st-pack -q "$NAMES/LlavaForConditionalGeneration/memory" -o memory.safetensors --names as-is
  mkdir in
  cp "$NAMES/LlavaForConditionalGeneration/memory/config.json" in
  for name in language_model.model.norm.weight vision_tower.x; do
    with_names memory.safetensors in/model.safetensors $name
    expect 0 st-pack in -o out --force
    has stderr "left as they are"
    diff <(st-inspect --names in | sort) <(st-inspect --names out | sort)
    expect 4 st-pack in -o new --names published
  done
  with_names memory.safetensors in/model.safetensors score.weight
  expect 0 st-pack in -o out --force
  st-inspect --names out | grep -x score.weight
  st-inspect --names out | grep -x language_model.lm_head.weight
}

@test "shards hold what those of save_pretrained hold" {
  expect 0 st-pack "$NAMES/Qwen3MoeForCausalLM/memory" -o out --max-shard-size 5KB
  [ "$(find out -name '*.safetensors' | wc -l)" -gt 3 ]
  expect 0 st-inspect --diff out "$NAMES/Qwen3MoeForCausalLM/published.safetensors"
  # Experts of one stack stay together, as huggingface_hub keeps tensors of one storage.
  python3 - <<'PY'
import json
shards = json.load(open("out/model.safetensors.index.json"))["weight_map"]
of = lambda kind: {shards[f"model.layers.0.mlp.experts.{e}.{kind}_proj.weight"] for e in range(11)}
assert [of(kind) for kind in ("down", "gate", "up")] == [{f"model-{i:05}-of-00008.safetensors"} for i in (2, 3, 4)], shards
PY
}

@test "only folders and whole sets are acted on without being asked" {
  memory=$NAMES/Qwen2_5_VLForConditionalGeneration/memory
  expect 0 st-pack "$memory/pytorch_model.bin" -o file.safetensors
  st-inspect --names file.safetensors | grep -q '^model.language_model'
  expect 0 st-pack - -o stdin.safetensors < file.safetensors
  cmp file.safetensors stdin.safetensors
  expect 4 st-pack - -o new --names published < file.safetensors
  has stderr "config.json"
  expect 0 st-pack "$memory/pytorch_model.bin" -o asked.safetensors --names published
  cmp asked.safetensors "$NAMES/Qwen2_5_VLForConditionalGeneration/published.safetensors"
  expect 0 st-pack "$memory" -o set --names as-is --max-shard-size 5KB
  expect 0 st-pack set/model.safetensors.index.json -o whole.safetensors
  cmp whole.safetensors asked.safetensors
  rm set/config.json
  expect 0 st-pack set/model.safetensors.index.json -o whole.safetensors --force
  cmp whole.safetensors file.safetensors
  # A .npy file holds no name.
  expect 0 st-pack "$NAMES/MixtralForCausalLM/memory" -o stack.npy --select '*.0.mlp.experts.gate_up_proj'
  [ "$(st-inspect --json stack.npy | jq -c .tensors[0].shape)" = '[3,20,12]' ]
}

@test "models without published names of their own, under each option" {
  mkdir in
  cp "$FIXTURES/base/model.safetensors" in
  for config in '{"architectures":["LlamaForCausalLM"]}' '{"model_type":"llama"}' '{"architectures":["Qwen3VLMoeForConditionalGeneration"]}'; do
    echo "$config" > in/config.json
    for mode in auto published; do expect 0 st-pack in -o out --force --names $mode; done
    cmp in/model.safetensors out/model.safetensors
  done
  for config in '{"architectures":["NoSuchForCausalLM"]}' '{"architectures":["LlamaForCausalLM"],"auto_map":{"AutoModel":"x.X"}}' '{}' '{"architectures":["DetrModel"]}'; do
    echo "$config" > in/config.json
    touch in/x.py
    expect 0 st-pack in -o out --force
    cmp in/model.safetensors out/model.safetensors
    [[ $stderr != *names* ]]
    expect 4 st-pack in -o new --names published
    has stderr "--names as-is"
    expect 4 st-pack in -o new --experts split
  done
  # The classes of a type have several rules.
  echo '{"model_type":"mixtral"}' > in/config.json
  expect 0 st-pack in -o out --force
  expect 4 st-pack in -o new --names published
  has stderr "no config.json names its class"
  rm in/config.json
  expect 4 st-pack in -o new --names published
  [ ! -e new ]
}

@test "quantised weights keep their names; --names published and --experts refuse them" {
  cp -r "$NAMES/MixtralForCausalLM/memory" in
  jq '.quantization_config = {"quant_method": "fp8"}' in/config.json > c && mv c in/config.json
  expect 0 st-pack in -o out
  has stderr "quantised weights: left as they are"
  st-inspect --names out | grep -q mlp.experts.gate_up_proj
  for options in "--names published" "--experts split" "--experts stack"; do
    # shellcheck disable=SC2086
    expect 5 st-pack in -o new $options
    has stderr "dequantize"
  done
}

@test "adapters are never renamed" {
  cp -r "$FIXTURES/lora-adapter" in
  cp "$NAMES/MixtralForCausalLM/memory/config.json" in
  for mode in auto published as-is; do
    expect 0 st-pack in -o out --force --names $mode
    cmp in/adapter_model.safetensors out/adapter_model.safetensors
  done
  expect 4 st-pack in -o new --experts split
}

@test "--experts stack is the way back to the state dict" {
  for class in LlavaForConditionalGeneration GptOssForCausalLM; do
    published $class plain
    for form in split stack; do expect 4 st-pack plain -o new --experts $form; done
    has stderr "stacks no experts of '$class'"
  done
  for class in MixtralForCausalLM Qwen3MoeForCausalLM; do
    published $class in
    expect 0 st-pack in -o out --experts stack --verify
    has stderr "published names: "
    expect 0 st-inspect --diff out "$NAMES/$class/memory"
    expect 0 st-pack "$NAMES/$class/memory" -o memory --experts stack
    expect 0 st-inspect --diff memory "$NAMES/$class/memory"
    expect 0 st-pack out -o again --experts split
    cmp again/model.safetensors in/model.safetensors
    rm -r in out memory again
  done
}

@test "a stack that lacks a part is refused by name" {
  published MixtralForCausalLM in
  for lost in model.layers.1.block_sparse_moe.experts.1.w2.weight model.layers.0.block_sparse_moe.experts.0.w3.weight; do
    expect 4 st-pack in -o new --experts stack --exclude $lost
    has stderr "model.layers.${lost:13:1}.mlp.experts"
  done
  # All of one kind in a layer, a whole stack, an expert, all experts but one.
  expect 4 st-pack in -o new --experts stack --exclude 'model.layers.0.*.w3.weight'
  expect 4 st-pack in -o new --experts stack --exclude 'model.layers.0.*.w2.weight'
  has stderr "is there without 'model.layers.0.mlp.experts.down_proj'"
  for expert in 0 2; do expect 4 st-pack in -o new --experts stack --exclude "*.experts.$expert.*"; done
  has stderr "in: 'model.layers.0.mlp.experts.gate_up_proj' has 2 experts, but config.json says 3"
  expect 4 st-pack in -o new --experts stack --select '*.experts.1.*'
  [ ! -e new ]
  expect 0 st-pack in -o new --experts stack --exclude 'model.layers.0.*'
}

@test "options see input names, --rename sees those that are written" {
  memory=$NAMES/MixtralForCausalLM/memory
  stack=model.layers.0.mlp.experts.gate_up_proj
  expect 0 st-pack "$memory" -o out --select $stack
  [ "$(st-inspect --names out | sort | head -1)" = model.layers.0.block_sparse_moe.experts.0.w1.weight ]
  [ "$(st-inspect --names out | wc -l)" = 6 ]
  echo $stack > list
  expect 0 st-pack "$memory" -o listed --names-from list --dtype "$stack=bf16" --rename 's/block_sparse_moe/moe/'
  [ "$(st-inspect --names listed | grep -c layers.0.moe.experts)" = 6 ]
  [ "$(st-inspect -t listed | grep -ci bf16)" = 6 ]
  [[ $stderr != *warning* ]]
  expect 0 st-pack "$memory" -o new --rename 's/mlp/x/'
  has stderr "--rename 's/mlp/x/' matches no tensor"
  st-inspect --names out > list
  expect 4 st-pack "$memory" -o newer --names-from list
  # Halves of a stack can't have two types.
  published MixtralForCausalLM in
  expect 5 st-pack in -o newer --experts stack --dtype '*.experts.0.w1.weight=bf16'
  expect 0 st-pack in -o newer --experts stack --dtype '*.experts.*.w[13].weight=bf16'
}

@test "--experts and --names that contradict each other are wrong usage" {
  published MixtralForCausalLM in
  expect 2 st-pack in -o new --experts stack --names published
  expect 2 st-pack in -o new --experts stack --names as-is
  expect 2 st-pack in -o new --experts split --names as-is
  expect 2 st-pack in -o new --names memory
  expect 2 st-pack in -o new --experts all
  expect 0 st-pack in -o new --experts split --names published
  cmp new/model.safetensors in/model.safetensors
}

@test "parts of one plan are put together, and are not those of other names" {
  memory=$NAMES/Qwen3MoeForCausalLM/memory
  expect 0 st-pack "$memory" -o whole --max-shard-size 5KB
  for i in 1 2; do expect 0 st-pack "$memory" -o out --max-shard-size 5KB --part $i/2; done
  expect 5 st-pack "$memory" -o out --max-shard-size 5KB --names as-is
  expect 0 st-pack "$memory" -o out --max-shard-size 5KB --verify
  has stderr "taken from parts"
  diff -r whole out
  # Where no name changes, the plan stays the same.
  published Qwen3MoeForCausalLM in
  for mode in as-is auto published; do expect 0 st-pack in -o same --max-shard-size 5KB --part 1/2 --names $mode; done
  [ "$(find same.parts -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]
}

@test "rows that do not divide are refused by name" {
  mkdir in
  cp "$NAMES/MixtralForCausalLM/memory/config.json" in
  name=model.layers.0.mlp.experts.gate_up_proj
  safetensors in/model.safetensors "{$(tensor $name F32 '[2,3,2]' 0 48)}" 48
  expect 4 st-pack in -o out
  has stderr "$name"
  expect 0 st-pack in -o out --names as-is
}

@test "folders below that hold models get names by their own configs" {
  mkdir -p st/1_Dense
  published LlavaForConditionalGeneration st/0_Transformer
  rm st/0_Transformer/model.safetensors
  cp "$NAMES/LlavaForConditionalGeneration/memory/pytorch_model.bin" st/0_Transformer
  safetensors st/1_Dense/model.safetensors "{$(tensor linear.weight F32 '[2]' 0 8)}" 8
  echo '{"in_features":2}' > st/1_Dense/config.json
  echo '[{"idx":0,"name":"0","path":"0_Transformer","type":"sentence_transformers.models.Transformer"},{"idx":1,"name":"1","path":"1_Dense","type":"sentence_transformers.models.Dense"}]' > st/modules.json
  expect 0 st-pack --json st -o out --names published
  cmp out/0_Transformer/model.safetensors "$NAMES/LlavaForConditionalGeneration/published.safetensors"
  has stderr "0_Transformer: memory's names"
  [ "$(jq -r '.names_of_folders[] | [.folder, .side] | join(" ")' <<< "$output")" = "0_Transformer memory" ]
}
