# SPDX-License-Identifier: Apache-2.0
# lora-extract, and st-pack --adapter. What PEFT makes of the same is compared in the interop suite.
load lora

pair() { lora-extract -q --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" "$@"; }

@test "a checkpoint of a LoRA run gives the adapter as it was saved, tokenizer along" {
  expect 0 lora-extract "$FIXTURES/lora-run/checkpoint-40" -o out --verify
  has stderr "6 modules of rank 4, alpha 8, 1,664 parameters"
  for name in adapter_model.safetensors adapter_config.json tokenizer.json; do cmp out/$name "$FIXTURES/lora-run/checkpoint-40/$name"; done
  [ ! -e out/optimizer.pt ] && [ ! -e out/trainer_state.json ]
  expect 5 lora-extract "$FIXTURES/lora-run/checkpoint-40" -o out
  expect 0 lora-extract --force "$FIXTURES/lora-run/checkpoint-40" -o out
  expect 0 lora-extract --weights-only --dtype bf16 --base-id me/base "$FIXTURES/lora-run/checkpoint-40" -o half
  [ "$(ls half | tr '\n' ' ')" = "adapter_config.json adapter_model.safetensors " ]
  grep -q '"base_model_name_or_path": "me/base"' half/adapter_config.json
  expect 0 st-inspect -t half
  has output BF16
  expect 0 lora-extract -n "$FIXTURES/lora-run/checkpoint-40" -o none
  has output "leave  optimizer.pt"
  [ ! -e none ]
  expect 0 lora-extract --json -n "$FIXTURES/lora-run/checkpoint-40" -o none
  python3 -c 'import json, sys; d = json.load(sys.stdin); assert d["schema"] == "modelutils.lora-extract/1" and len(d["modules"]) == 6 and not d["done"]' <<< "$output"
}

@test "what holds no adapter, half of one, or values that are none is refused by name" {
  expect 4 lora-extract "$FIXTURES/base" -o out
  has stderr "holds no LoRA tensors; --base and --tuned"
  cp -r "$FIXTURES/lora-run/checkpoint-40" half
  edit half/adapter_model.safetensors 'del t[sorted(t)[0]]'
  expect 4 lora-extract half -o out
  has stderr "model.layers.0.mlp.down_proj: has lora_B but no lora_A"
  cp -r "$FIXTURES/lora-run/checkpoint-40" nan
  edit nan/adapter_model.safetensors 'k = sorted(t)[3]; t[k][2] = struct.pack("<f", float("nan")) + t[k][2][4:]'
  expect 4 lora-extract nan -o out
  has stderr "holds 1 NaN and 0 infinite values"
  cp -r "$FIXTURES/lora-run/checkpoint-40" other
  sed -i 's/"LORA"/"LOHA"/' other/adapter_config.json
  expect 4 lora-extract other -o out
  has stderr "the adapter is of type LOHA"
  cp -r "$FIXTURES/lora-run/checkpoint-40" slice
  edit slice/adapter_model.safetensors 'k = [k for k in sorted(t) if "lora_A" in k][0]; t[k] = [t[k][0], [2, t[k][1][1]], t[k][2][:len(t[k][2]) // 2]]'
  expect 4 lora-extract slice -o out
  has stderr "lora_A has 2 rows but lora_B has 4 columns"
  rm slice/adapter_config.json
  cp "$FIXTURES/lora-run/checkpoint-40/adapter_model.safetensors" slice
  expect 4 lora-extract slice -o out
  has stderr "give the alpha of the training with --alpha"
  expect 0 lora-extract slice --alpha 8 -o out
  expect 0 lora-extract --compare out "$FIXTURES/lora-run/checkpoint-40"
  expect 4 lora-extract slice --adapter other --alpha 8 -o out2
  [ ! -e out2 ]
  if [ -w /dev/shm ] && [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null; then
    mkdir small
    expect 7 unshare -m bash -c "mount -t tmpfs -o size=16k none small && lora-extract '$FIXTURES/lora-run/checkpoint-40' -o small/out; code=\$?; [ -z \"\$(ls -A small)\" ] || exit 99; exit \$code"
  fi
}

@test "an adapter whose alpha is 0 is neither written nor merged; --alpha mends it" {
  cp -r "$FIXTURES/lora-run/checkpoint-40" void
  sed -i 's/"lora_alpha": 8/"lora_alpha": 0/' void/adapter_config.json
  for command in "lora-extract void" "lora-extract --resize 2 void" "st-pack void" "st-pack $FIXTURES/base --adapter void" "st-pack $FIXTURES/base --adapter void:2"; do
    expect 4 $command -o out
    has stderr "void/adapter_config.json: lora_alpha is 0"
    has stderr "lora-extract --alpha N"
    [ ! -e out ]
  done
  expect 0 lora-extract void --alpha 8 -o mended
  cmp mended/adapter_config.json "$FIXTURES/lora-run/checkpoint-40/adapter_config.json"
  expect 2 lora-extract mended --alpha 4 -o out  # only 0 is overridden
  expect 0 st-pack void -o void.safetensors
  expect 0 st-pack void --weights-only -o bare
  sed -i 's/"alpha_pattern": {}/"alpha_pattern": {"q_proj": 8}/' void/adapter_config.json
  expect 0 st-pack void -o out
}

@test "between two models: auto finds the true rank of every module" {
  expect 0 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank auto -o out
  [ "$(awk 'NR > 1 && $2 == 4' <<< "$output" | wc -l)" = 14 ]
  [ "${#lines[@]}" = 15 ]
  has stderr "2 tensors changed but are not in the adapter: model.layers.1.input_layernorm.weight"
  grep -q '"r": 4' out/adapter_config.json
  grep -q '"lora_alpha": 4' out/adapter_config.json
  grep -q '"base_model_name_or_path": null' out/adapter_config.json
  [ "$(grep -c '_proj"' out/adapter_config.json)" = 7 ]
  expect 0 lora-extract -v --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank energy=0.99 -o energy
  has output █
  expect 0 st-pack -q "$FIXTURES/pair/base" --adapter out -o merged
  expect 0 st-inspect --diff --rtol 0.02 --atol 0.0005 --filter '*proj*' merged "$FIXTURES/pair/tuned" || expect 1 st-inspect --diff --rtol 0.02 --atol 0.0005 merged "$FIXTURES/pair/tuned"
}

@test "between two models: experts in one tensor get factors one by one, merged back together" {
  local side
  for side in base tuned; do
    cp -r "$FIXTURES/pair/$side" "$side"
    edit "$side/model.safetensors" '
layer = "model.layers.%d.mlp.%s.weight"
new = {}
for parameter, name in (("gate_up_proj", "up_proj"), ("down_proj", "down_proj")):
    both = [t[layer % (i, name)] for i in (0, 1)]
    new["model.layers.0.mlp.experts." + parameter] = [both[0][0], [2, *both[0][1]], both[0][2] + both[1][2]]
t = new'
  done
  expect 0 lora-extract --base base --tuned tuned --rank auto -o out
  [ "$(awk 'NR > 1 && $2 == 4' <<< "$output" | wc -l)" = 4 ]
  has output 'experts.gate_up_proj[1]'
  has stderr 'as PEFT 0.20 and later read them'
  expect 0 st-inspect --tensors out
  has output $'base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight\tBF16\t8,64'
  has output $'base_model.model.model.layers.0.mlp.experts.lora_B.weight\tBF16\t64,8'
  expect 0 st-pack -q base --adapter out -o merged
  expect 0 st-inspect --diff --rtol 0.02 --atol 0.0005 merged tuned
}

@test "merge, extract, merge again; the bytes are the same for any number of threads" {
  expect 0 lora-extract --base "$FIXTURES/base" --tuned "$FIXTURES/lora-merged" --rank 4 --tolerance 1e-6 -o found
  has stderr "8 modules unchanged and left out"
  expect 1 lora-extract --compare --tolerance 1e-9 found "$FIXTURES/lora-adapter"
  expect 0 lora-extract --compare --tolerance 1e-5 found "$FIXTURES/lora-adapter"
  expect 0 st-pack -q "$FIXTURES/base" --adapter found -o again
  expect 0 st-inspect --diff --rtol 1e-6 --atol 1e-8 again "$FIXTURES/lora-merged"
  for threads in 1 2 5; do
    pair --rank 8 --kernel baseline -j $threads -o t$threads
    cmp t1/adapter_model.safetensors t$threads/adapter_model.safetensors
  done
  pair --rank 8 --svd exact --alpha 16 --dtype f32 -o scaled
  expect 1 lora-extract --compare scaled t1
  expect 0 lora-extract --compare --tolerance 0.02 scaled t1
}

@test "targets, whole modules, embeddings, tolerance" {
  pair --rank 4 --target '*self_attn*' --exclude '*k_proj' -o out
  [ "$(st-inspect --names out | wc -l)" = 12 ]
  ! grep -q k_proj out/adapter_config.json
  pair --rank 4 --full-modules '*norm' --embeddings lora -o whole
  grep -q 'model.layers.1.input_layernorm' whole/adapter_config.json
  expect 1 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 1 --tolerance 0.1 -o small
  has stderr "14 modules above the tolerance of 0.1"
  [ -e small/adapter_model.safetensors ]
  expect 0 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 40 -o high
  has stderr "rank 40 is more than the matrix has in 4 of 14 modules: these get the full rank of the matrix"
  expect 0 lora-extract -n --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" -o none
  has output "14 matrix pairs to compare, "
  has output "about a second of work"
  [ ! -e none ]
  expect 0 lora-extract --json --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" -o json
  python3 -c 'import json, sys; d = json.load(sys.stdin); assert d["mode"] == "pair" and len(d["modules"]) == 14 and d["lost"] and d["modules"][0]["error"] < 0.01' <<< "$output"
}

@test "models that don't match, are the same, hold NaN or grew are reported, and nothing is written" {
  expect 1 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/base" -o out
  has stderr "no difference"
  expect 4 lora-extract --base "$FIXTURES/base" --tuned "$FIXTURES/pair/tuned" -o out
  has stderr "the models don't match: 'lm_head.weight' is [320, 32] in the base and [320, 64] in the tuned model"
  has stderr "and 16 more"
  cp -r "$FIXTURES/pair/tuned" nan
  edit nan/model.safetensors 'k = "model.layers.1.mlp.up_proj.weight"; t[k][2] = b"\xc0\x7f" + t[k][2][2:]'
  expect 4 lora-extract --base "$FIXTURES/pair/base" --tuned nan -o out
  has stderr "'model.layers.1.mlp.up_proj.weight' holds NaN or infinity"
  cp -r "$FIXTURES/pair/tuned" grown
  edit grown/model.safetensors 'for k in ("lm_head.weight", "model.embed_tokens.weight"): t[k] = [t[k][0], [322, 64], t[k][2] + bytes(256)]'
  expect 4 lora-extract --base "$FIXTURES/pair/base" --tuned grown -o out
  has stderr "the vocabulary changed; --embeddings full"
  [ ! -e out ]
  expect 0 lora-extract -q --base "$FIXTURES/pair/base" --tuned grown --embeddings full -o out
  grep -q embed_tokens out/adapter_config.json
  cp -r "$FIXTURES/pair/tuned" quantised
  sed -i 's/{/{"quantization_config": {"bits": 4},/' quantised/config.json
  expect 4 lora-extract --base "$FIXTURES/pair/base" --tuned quantised -o out2
  has stderr "quantization_config"
  expect 4 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/lora-adapter" -o out2
  has stderr "is an adapter"
}

@test "--resize keeps the largest values; a rank that is high enough changes nothing" {
  expect 0 lora-extract --resize 2 "$FIXTURES/lora-adapter" -o two
  has output "model.layers.0.mlp.down_proj"
  grep -q '"r": 2' two/adapter_config.json
  expect 1 lora-extract --compare two "$FIXTURES/lora-adapter"
  expect 0 lora-extract --resize 9 "$FIXTURES/lora-adapter" -o nine
  expect 0 lora-extract --compare nine "$FIXTURES/lora-adapter"
  expect 0 lora-extract --json --compare nine "$FIXTURES/lora-adapter"
  python3 -c 'import json, sys; d = json.load(sys.stdin); assert all(m["distance"] < 1e-6 and m["rank_a"] == 9 for m in d["modules"])' <<< "$output"
  expect 5 lora-extract --resize 9 "$FIXTURES/lora-adapter" -o nine
}

@test "st-pack --adapter merges, by any scale, in one file or many, and says what it did" {
  expect 0 st-pack "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter" -o out --verify
  has stderr "6 modules of rank 4"
  has stderr "6 tensors of the base merged"
  expect 0 st-inspect --diff --rtol 1e-6 --atol 1e-8 out "$FIXTURES/lora-merged"
  expect 0 st-pack -q "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter:0.5" --adapter "$FIXTURES/lora-adapter:0.5" --max-shard-size 40KB -o halves
  expect 0 st-inspect --diff --rtol 1e-6 --atol 1e-8 halves "$FIXTURES/lora-merged"
  expect 0 st-pack -q "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter:0" -o none
  expect 0 st-inspect --diff none "$FIXTURES/base"
  expect 0 st-pack -q "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter" -o - > piped.safetensors
  expect 0 st-pack -q "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter" --dtype bf16 -o half
  expect 0 st-pack -n "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter" -o dry
  [ ! -e dry ]
}

@test "st-pack --adapter refuses a base that is not the adapter's, and adapters it does not know" {
  expect 4 st-pack "$FIXTURES/pair/base" --adapter "$FIXTURES/lora-adapter" -o out
  has stderr "model.layers.0.mlp.down_proj: its delta is 32 x 64, but the tensor is [64, 160]"
  cp -r "$FIXTURES/base" renamed
  edit renamed/model.safetensors 't = {k.replace("q_proj", "query"): v for k, v in t.items()}'
  expect 4 st-pack renamed --adapter "$FIXTURES/lora-adapter" -o out
  has stderr "model.layers.0.self_attn.q_proj: the base has no tensor 'model.layers.0.self_attn.q_proj.weight'"
  has stderr "was trained on base"
  expect 7 st-pack "$FIXTURES/base" --adapter "$FIXTURES/base" -o out
  expect 2 st-pack "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter:much" -o out
  expect 4 st-pack "$FIXTURES/lora-adapter" --adapter "$FIXTURES/lora-adapter" -o out
  cp -r "$FIXTURES/lora-run/checkpoint-40" other
  sed -i 's/"use_dora": false/"use_bdlora": true/' other/adapter_config.json
  expect 4 st-pack "$FIXTURES/base" --adapter other -o out
  has stderr "use_bdlora is set: this variant of LoRA is not supported"
  cp -r "$FIXTURES/lora-run/checkpoint-40" nan
  edit nan/adapter_model.safetensors 'k = sorted(t)[3]; t[k][2] = struct.pack("<f", float("inf")) + t[k][2][4:]'
  expect 4 st-pack "$FIXTURES/base" --adapter nan -o out
  has stderr "holds NaN or infinity"
  [ ! -e out ]
  is_empty "$(mktemp -d)"
}

@test "parts of the work: any number, in any order, done twice or missing, give the bytes of one run" {
  # The kernel that parts have by default.
  pair --rank auto --kernel avx2 -o whole || pair --rank auto --kernel neon -o whole || skip "neither AVX2 nor NEON"
  for n in 1 2 3 7; do
    for i in $(seq "$n" | shuf); do pair --rank auto -o out --part "$i/$n"; done
    pair --rank auto -o out --part "1/$n"
    [ ! -e out ]
    expect 0 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank auto -o out
    has stderr "21 of 21 tensors taken from parts"
    cmp out/adapter_model.safetensors whole/adapter_model.safetensors
    cmp out/adapter_config.json whole/adapter_config.json
    [ ! -e out.parts ]
    rm -r out
  done
  pair --rank auto -o out --part 2/3
  expect 5 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 4 -o out
  has stderr "out.parts"
  pair --rank auto -o out -j 1
  cmp out/adapter_model.safetensors whole/adapter_model.safetensors
  rm -r out
  pair --rank auto -o out --part 1/2
  printf '{}' > out.parts/*/share.json
  expect 5 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank auto -o out
  has stderr "is not a whole part"
  expect 0 lora-extract -q --force --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank auto -o out
  cmp out/adapter_model.safetensors whole/adapter_model.safetensors
  expect 0 lora-extract -n --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" -o no --part 1/14
  expect 2 lora-extract "$FIXTURES/lora-run/checkpoint-40" -o no --part 1/2
}

@test "a model that is read is never replaced" {
  cp -r "$FIXTURES/pair/base" "$FIXTURES/pair/tuned" . && chmod -R u+w base tuned
  ln -s base link
  mkdir links && ln -s "$PWD"/base/* links
  before=$(cat base/* tuned/* | sha256sum)
  for out in base tuned link; do
    expect 5 lora-extract --base base --tuned tuned --rank 1 --force -o $out
    has stderr "is the input itself"
  done
  expect 5 lora-extract --base links --tuned tuned --rank 1 --force -o base
  expect 5 lora-extract --base base --tuned tuned/model.safetensors --rank 1 --force -o tuned
  [ "$(cat base/* tuned/* | sha256sum)" = "$before" ]
}

# wrapped IN OUT PATTERN: the tensors of a folder's model.safetensors as a pytorch_model.bin whose names a wrapper changed.
wrapped() {
  mkdir -p "$2" && cp "$1/config.json" "$2"
  PYTHONPATH=$BATS_TEST_DIRNAME python3 - "$@" <<'PY'
import json, pathlib, struct, sys
source, out, pattern = sys.argv[1:]
from ranks import Tensor, torch_zip, write
data = pathlib.Path(source, "model.safetensors").read_bytes()
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + size])
header.pop("__metadata__", None)
tensors = {}
for name, entry in header.items():
    begin, end = entry["data_offsets"]
    wrapped = pattern.replace("NAME", name.replace(".self_attn.", "._orig_mod.self_attn."))
    tensors[wrapped] = Tensor(data[8 + size + begin:8 + size + end], entry["dtype"], entry["shape"])
write(pathlib.Path(out, "pytorch_model.bin"), torch_zip("archive", tensors))
PY
}

@test "between two models, names that wrappers changed are read as they were" {
  pair --rank 4 -o plain
  for pattern in module.NAME _orig_mod.NAME; do
    wrapped "$FIXTURES/pair/base" base $pattern
    wrapped "$FIXTURES/pair/tuned" tuned $pattern
    expect 0 lora-extract --base base --tuned tuned --rank 4 --force -o out
    has stderr "tuned: '_orig_mod.' removed from"
    expect 0 lora-extract --compare out plain
    expect 0 lora-extract --base "$FIXTURES/pair/base" --tuned tuned --rank 4 --force -o mixed
    expect 0 lora-extract --compare mixed plain
  done
}
