#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# lora-extract between two models whose files are not simply the parameters of a Llama, and --compare.
load lora

# both CLASS TYPE [PYTHON]: the folders base and tuned, models of that class, with these changes to both.
both() {
  local side
  for side in base tuned; do
    rm -rf "$side"
    cp -r "$FIXTURES/pair/$side" "$side"
    chmod -R u+w "$side"
    sed -i "s/LlamaForCausalLM/$1/; s/\"model_type\": \"llama\"/\"model_type\": \"$2\"/" "$side/config.json"
    [ -z "${3:-}" ] || edit "$side/model.safetensors" "$3"
  done
}

extract() { lora-extract --base base --tuned tuned --kernel baseline --force -o out "$@"; }

@test "an adapter has the names of the modules, not of the files" {
  both Qwen2VLForConditionalGeneration qwen2_vl
  expect 0 extract --rank 4
  has stderr "20 tensors of the tuned model have the names of the model class"
  st-inspect --names out > names
  grep -qx base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight names
  ! grep -q 'model\.model\.layers' names
  [ "$(st-inspect --names out | wc -l)" = 28 ]
  both LlavaForConditionalGeneration llava 't = {"language_model." + k: v for k, v in t.items()}'
  expect 0 extract --rank 4
  st-inspect --names out | grep -qx base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_A.weight
  # Names of memory on one side, as a checkpoint of ranks has them, and of files on the other.
  both Qwen2VLForConditionalGeneration qwen2_vl
  edit tuned/model.safetensors 't = {k.replace("model.", "model.language_model.", 1): v for k, v in t.items()}'
  expect 0 extract --rank 4
  st-inspect --names out | diff names -
  # A model without its class keeps the names of its files.
  both Unknown unknown
  expect 0 extract --rank 4
  st-inspect --names out | grep -qx base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight
}

SPLIT='
for k in [k for k in t if ".mlp." in k]:
    dtype, (rows, columns), body = t.pop(k)
    layer, name = k.split(".mlp.")
    half = columns  # of a row of down_proj, in bytes
    for e in range(2):
        if name == "down_proj.weight":
            part = [rows, columns // 2], b"".join(body[2 * half * r + half * e:2 * half * r + half * (e + 1)] for r in range(rows))
        else:
            part = [rows // 2, columns], body[e * len(body) // 2:(e + 1) * len(body) // 2]
        t[f"{layer}.mlp.experts.{e}.{name}"] = [dtype, *part]'

@test "experts that files keep apart become one pair of factors, with zeros for those that did not change" {
  both Qwen3MoeForCausalLM qwen3_moe "$SPLIT"
  python3 - <<'PY'
import json, struct
def read(path):
    data = open(path, "rb").read(); size = struct.unpack("<Q", data[:8])[0]
    return data, size, json.loads(data[8:8 + size])
base, _, _ = read("base/model.safetensors"); tuned, size, header = read("tuned/model.safetensors")
tuned = bytearray(tuned)
for name, entry in header.items():
    if ".experts.1." in name:
        begin, end = (8 + size + at for at in entry["data_offsets"])
        tuned[begin:end] = base[begin:end]
open("tuned/model.safetensors", "wb").write(tuned)
PY
  expect 0 extract --rank 4 --dtype f32
  has output 'model.layers.0.mlp.experts.gate_up_proj[0]'
  ! grep -q 'experts.gate_up_proj\[1\]' <<< "$output"
  st-inspect --tensors out > tensors
  grep -q $'^base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight\tF32\t8,64\t' tensors
  grep -q $'^base_model.model.model.layers.0.mlp.experts.base_layer.lora_B.weight\tF32\t160,8\t' tensors
  grep -q $'^base_model.model.model.layers.1.mlp.experts.lora_A.weight\tF32\t8,80\t' tensors
  grep -A3 target_parameters out/adapter_config.json | grep -q mlp.experts.gate_up_proj
  # The same from the stacks that a model in memory has, on either side.
  cp -r out apart
  edit tuned/model.safetensors '
for layer in ("model.layers.0.mlp.experts.", "model.layers.1.mlp.experts."):
    part = lambda e, name: t.pop(f"{layer}{e}.{name}_proj.weight")
    experts = [[part(e, name) for name in ("gate", "up", "down")] for e in range(2)]
    gate, up, down = experts[0]
    t[layer + "gate_up_proj"] = [gate[0], [2, 2 * gate[1][0], gate[1][1]], b"".join(e[0][2] + e[1][2] for e in experts)]
    t[layer + "down_proj"] = [down[0], [2, *down[1]], b"".join(e[2][2] for e in experts)]'
  expect 0 extract --rank 4 --dtype f32
  expect 0 lora-extract --compare out apart
  # A part that is missing is named.
  edit tuned/model.safetensors 't.pop("model.layers.0.mlp.experts.down_proj")'
  expect 4 extract --rank 4
  has stderr "'model.layers.0.mlp.experts.down_proj' is only in the base"
  edit base/model.safetensors 't.pop("model.layers.0.mlp.experts.1.up_proj.weight")'
  expect 4 extract --rank 4
  has stderr "'model.layers.0.mlp.experts.gate_up_proj': 2 of its parts are there, but only 1 match"
}

@test "tensors that one model has alone are left out where that is known or wanted" {
  both LlamaForCausalLM llama
  edit base/model.safetensors '
t["model.layers.0.self_attn.rotary_emb.inv_freq"] = ["F32", [2], bytes(8)]
t["model.layers.0.attn.bias"] = ["U8", [1, 1, 4, 4], bytes(16)]
t["model.layers.2.mlp.up_proj.weight"] = ["F32", [2, 2], bytes(16)]
t["mtp.fc.weight"] = ["F32", [2, 2], bytes(16)]
t["score.weight"] = ["F32", [2, 2], bytes(16)]'
  expect 0 extract --rank 4
  has stderr "5 tensors are only in the base and left out: model.layers.0.self_attn.rotary_emb.inv_freq"
  edit base/model.safetensors 't["model.layers.0.self_attn.extra.weight"] = ["F32", [2, 2], bytes(16)]'
  expect 4 extract --rank 4
  has stderr "'model.layers.0.self_attn.extra.weight' is only in the base"
  has stderr "--full-modules GLOB stores new modules whole, --exclude GLOB"
  expect 0 extract --rank 4 --exclude '*extra*'
  has stderr "6 tensors are only in the base"
  edit tuned/model.safetensors 't["score.weight"] = ["F32", [3, 2], bytes(24)]'
  expect 4 extract --rank 4 --exclude '*extra*'
  edit tuned/model.safetensors 't["model.layers.1.self_attn.rotary_emb.inv_freq"] = ["F32", [2], bytes(8)]'
  expect 0 extract --rank 4 --exclude '*extra*' --exclude score
  has stderr "1 tensor is only in the tuned model and left out: model.layers.1.self_attn.rotary_emb.inv_freq"
  has stderr "3 tensors changed but are not in the adapter: model.layers.1.input_layernorm.weight, model.layers.1.post_attention_layernorm.weight, score.weight"
}

@test "equal values in another type are no change" {
  both LlamaForCausalLM llama
  edit base/model.safetensors 'k = "model.layers.1.input_layernorm.weight"; t[k][2] = bytes(len(t[k][2]))'
  edit tuned/model.safetensors '
for k in t: t[k] = ["F32", t[k][1], b"".join(b"\0\0" + t[k][2][i:i + 2] for i in range(0, len(t[k][2]), 2))]'
  expect 0 extract --rank 4
  has stderr "2 tensors changed but are not in the adapter: model.layers.1.input_layernorm.weight"
}

@test "nothing above the noise: it is said, and nothing is written unless a rank asks for it" {
  both LlamaForCausalLM llama
  cp base/model.safetensors tuned
  edit tuned/model.safetensors '
for k in t:
    if "_proj" in k: t[k][2] = b"".join(bytes([t[k][2][i] ^ (random.random() < 1 / 40), t[k][2][i + 1]]) for i in range(0, len(t[k][2]), 2))'
  for rank in "--rank auto" "--rank energy=0.9" ""; do
    expect 1 extract $rank
    has stderr "nothing is above the noise: 14 modules differ by no more than rounding; --rank N extracts them all the same"
    [ ! -e out ]
  done
  # Parts say it too.
  lora-extract -q --base base --tuned tuned --kernel baseline -o out --rank auto --part 1/2
  grep -q '"noise": *true' out.parts/*.1-of-2/share.json
  expect 1 extract --rank auto
  has stderr "taken from parts"
  has stderr "nothing is above the noise"
  [ ! -e out ]
  rm -r out.parts
  expect 0 extract --rank 2
  [ -e out/adapter_model.safetensors ]
  # One module that was trained is enough.
  cp "$FIXTURES/pair/tuned/model.safetensors" trained.safetensors
  edit tuned/model.safetensors '
data = open("trained.safetensors", "rb").read()
size = struct.unpack("<Q", data[:8])[0]
import json
k = "model.layers.0.self_attn.q_proj.weight"
begin, end = json.loads(data[8:8 + size])[k]["data_offsets"]
t[k][2] = data[8 + size + begin:8 + size + end]'
  expect 0 extract --rank auto
}

@test "the head of a classifier is stored whole, with tensors of it that did not change" {
  both LlamaForSequenceClassification llama 't["score.weight"] = t.pop("lm_head.weight"); t["score.bias"] = ["BF16", [320], bytes(640)]'
  edit tuned/model.safetensors 't["score.weight"][2] = b"\1" + t["score.weight"][2][1:]'
  expect 0 extract --rank 4
  has stderr "2 tensors are stored whole: score.weight, score.bias"
  grep -A2 modules_to_save out/adapter_config.json | grep -q '"score"'
  grep -q '"task_type": "SEQ_CLS"' out/adapter_config.json
  expect 0 extract --rank 4 --exclude score
  has stderr "score.weight"
  ! grep -q '"score"' out/adapter_config.json
  grep -q '"task_type": null' out/adapter_config.json
}

@test "the head of a classifier that did not change is stored too, since PEFT wants it" {
  both LlamaForSequenceClassification llama 't["score.weight"] = t.pop("lm_head.weight")'
  expect 0 extract --rank 4
  [[ $stderr != *"stored whole"* ]]
  grep -A2 modules_to_save out/adapter_config.json | grep -q '"score"'
  expect 0 st-inspect --names out
  has output "base_model.model.score.weight"
  rm -r tuned
  cp -r base tuned
  expect 1 extract --rank 4
  has stderr "no difference"
}

@test "--compare compares all that adapters hold" {
  cp -r "$FIXTURES/lora-adapter" a
  chmod -R u+w a
  edit a/adapter_model.safetensors 't["base_model.model.lm_head.weight"] = ["F32", [4, 2], struct.pack("<8f", *range(8))]'
  for change in 't["base_model.model.lm_head.weight"][2] = struct.pack("<8f", *range(1, 9))' 't.pop("base_model.model.lm_head.weight")' \
    't["base_model.model.lm_head.weight"][1] = [2, 4]' 't["base_model.model.model.norm.weight"] = ["F32", [1], bytes(4)]' \
    't["base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector"] = ["F32", [32], bytes(128)]'; do
    rm -rf b
    cp -r a b
    edit b/adapter_model.safetensors "$change"
    expect 1 lora-extract --compare a b
    has stderr "1 of 6 modules and "
    expect 1 lora-extract --compare b a
  done
  rm -r b
  cp -r a b
  edit b/adapter_model.safetensors 't["base_model.model.lm_head.weight"] = ["F64", [4, 2], struct.pack("<8d", *range(8))]'
  expect 0 lora-extract --compare a b
  has output "lm_head.weight"
  has stderr "same to 1e-06: 6 modules and 1 other tensor"
  expect 0 lora-extract --json --compare a b
  python3 -c 'import json, sys; d = json.load(sys.stdin); assert d["tensors"] == [{"name": "lm_head.weight", "in_a": True, "in_b": True, "distance": 0}]' <<< "$output"
}

@test "a kernel that is not there is refused, in a dry run too, before anything is written" {
  both LlamaForCausalLM llama
  for n in "" -n "-n --json" "--part 1/2"; do
    expect 2 lora-extract --base base --tuned tuned -o out $n --kernel sse9
    has stderr "--kernel takes auto, avx512, avx2, neon or baseline, not 'sse9'"
    # No machine has both.
    if lora-extract --base base --tuned tuned -o other --kernel neon -n > /dev/null 2>&1; then missing=avx2; else missing=neon; fi
    expect 2 lora-extract --base base --tuned tuned -o out $n --kernel $missing
    has stderr "this machine can't run --kernel $missing"
  done
  [ ! -e out ] && [ ! -e out.parts ]
}
