# SPDX-License-Identifier: Apache-2.0
# st-pack of models that are on a hub: the bytes that a local copy gives, each read once and only if it is needed, held to one commit.
load helper
load hub
load remote

setup() { hub_home; }

@test "every kind of model gives what its local copy gives" {
  start_hub --lfs-threshold 20000
  local kind
  for kind in base sharded tied full-run/checkpoint-40 fsdp-run/checkpoint-1 zero2-run/checkpoint-1 zero3-run/checkpoint-1 \
    names/GptOssForCausalLM/memory names/Qwen2_5_VLForConditionalGeneration/memory quantized/ct-nvfp4 torch/model-sharded \
    fsdp-ranks/accelerate-2; do
    publish "$FIXTURES/$kind" "ada/${kind//\//-}" --all
    alike "$FIXTURES/$kind" "hf://ada/${kind//\//-}" || { echo "$kind"; return 1; }
  done
  no_leak
}

@test "options do what they do with a local copy" {
  start_hub
  cp -r "$FIXTURES/sharded" m
  mkdir m/original && cp "$FIXTURES/base/config.json" m/original
  printf 'x = 1\n' > m/modeling_x.py
  publish m ada/m
  local options
  for options in '--dtype bf16' '--dtype *norm*=f32 --dtype f16' '--select *layers.0*' '--exclude *mlp*' '--max-shard-size 20KB' '--max-shard-size 0' \
    '--rename s/model/other/' '--weights-only' '--metadata a=b' '--verify' '-j 1' '--quantize fp8-dynamic' '--quantize mxfp4 --keep *mlp*' \
    '--connections 2' '--limit-rate 100MB'; do
    # shellcheck disable=SC2086
    alike m hf://ada/m $options || { echo "$options"; return 1; }
  done
  publish "$FIXTURES/quantized/bnb-nf4" ada/nf4
  alike "$FIXTURES/quantized/bnb-nf4" hf://ada/nf4 --dequantize
  publish "$FIXTURES/quantized/gpt-oss-mxfp4" ada/mxfp4
  alike "$FIXTURES/quantized/gpt-oss-mxfp4" hf://ada/mxfp4 --dequantize=f16
}

@test "one file, a folder below, a revision, standard output, a URL" {
  start_hub
  publish "$FIXTURES/base" ada/m
  expect 0 hub-push -q --revision dev/x "$FIXTURES/sharded" ada/m below
  local far
  for far in hf://ada/m/model.safetensors "$HF_ENDPOINT/ada/m/resolve/main/model.safetensors" "$HF_ENDPOINT/ada/m/blob/main/model.safetensors"; do
    alike "$FIXTURES/base/model.safetensors" "$far"
  done
  for far in none.safetensors below model; do
    expect 6 st-pack "hf://ada/m/$far" -o none
    has stderr "hf://ada/m/$far: the repository has no such file or folder at commit"
  done
  alike "$FIXTURES/base" "$HF_ENDPOINT/ada/m"
  alike "$FIXTURES/sharded" hf://ada/m@dev%2Fx/below
  st-pack -q "$FIXTURES/base" --dtype f16 -o here.safetensors
  for far in hf://ada/m hf://ada/m/model.safetensors; do
    rm -f there.safetensors
    expect 0 st-pack -q "$far" --dtype f16 -o there.safetensors
    cmp here.safetensors there.safetensors
    st-pack -q "$far" --dtype f16 -o - > there.safetensors
    cmp here.safetensors there.safetensors
  done
  curl -sS -T "$FIXTURES/base/model.safetensors" "$HF_STORAGE/_files/x.safetensors"
  alike "$FIXTURES/base/model.safetensors" "$HF_STORAGE/_files/x.safetensors"
  no_leak
}

@test "adapters and bases on the hub, in every place" {
  start_hub
  publish "$FIXTURES/base" ada/base
  publish "$FIXTURES/lora-adapter" ada/lora
  expect 0 st-pack -q "$FIXTURES/base" --adapter "$FIXTURES/lora-adapter:0.5" -o here
  local base lora
  for base in "$FIXTURES/base" hf://ada/base; do
    for lora in "$FIXTURES/lora-adapter" hf://ada/lora hf://ada/lora@main; do
      rm -rf there
      expect 0 st-pack -q "$base" --adapter "$lora:0.5" -o there
      diff -r here there
      # What is there is replaced.
      expect 0 st-pack -q "$base" --adapter "$lora:0.25" --adapter "$lora:0.25" --dtype f32 -o there --force
    done
  done
  alike "$FIXTURES/base" hf://ada/base --adapter "$FIXTURES/lora-adapter" --quantize fp8-dynamic
  publish "$FIXTURES/zero3-run/checkpoint-1" ada/zero --all
  expect 0 st-pack -q "$FIXTURES/zero3-run/checkpoint-1" --base "$FIXTURES/base" -o here2
  expect 0 st-pack -q hf://ada/zero --base hf://ada/base -o there2
  diff -r here2 there2
  no_leak
}

@test "one look-up, one listing, one redirect a file, and no byte twice" {
  start_hub
  big m 2 6 3000000
  publish m ada/m
  alike m hf://ada/m
  [ "$(hub_count 'e["route"] == "info"')" = 1 ]
  [ "$(hub_count 'e["route"] == "tree"')" = 1 ]
  [ "$(hub_count 'e["route"] == "resolve"')" -le 4 ]  # two files of weights, and config and index, which are in git
  [ "$(sent)" -le 18400000 ]
  [ "$(hub_count 'e["port"] == "storage" and not e["range"]')" = 0 ]
  no_leak
}

@test "what can't be: outputs on a hub, and a rate of nothing" {
  local out
  for out in hf://ada/out https://example.org/x.safetensors; do
    expect 2 st-pack "$FIXTURES/base" -o "$out"
    has stderr "OUT is on this machine, so it can't be '$out'"
    expect 2 lora-extract "$FIXTURES/lora-run" -o "${out%.*}"
  done
  expect 2 st-pack hf://ada/m --limit-rate 0 -o out
  has stderr "--limit-rate must be more than 0"
  expect 2 hub-push --limit-rate 0 "$FIXTURES/base" ada/m
}

@test "an adapter that is missing here: how to name it on the hub" {
  expect 7 st-pack "$FIXTURES/base" --adapter ada/lora -o out
  has stderr "to read it from the hub, write hf://ada/lora"
  expect 7 lora-extract ada/lora --resize 2 -o out
  has stderr "to read it from the hub, write hf://ada/lora"
  expect 7 lora-extract --compare "$FIXTURES/lora-adapter" ada/lora
  has stderr "to read it from the hub, write hf://ada/lora"
}

@test "only needed bytes are read, and -n says how many before it reads any" {
  start_hub
  big m 1 24 2000000
  publish m ada/m
  expect 0 st-pack hf://ada/m --select 'model.layers.7.*' -n -o out
  has output "would read 2.000 MB of 48.00 MB from hf://ada/m in 1 file"
  [ "$(sent)" -le 101000 ]
  expect 0 st-pack hf://ada/m --select 'model.layers.7.*' -n --json -o out
  hub_admin DELETE log > /dev/null
  alike m hf://ada/m --select 'model.layers.7.*'
  [ "$(sent)" -le 2200000 ]
  hub_admin DELETE log > /dev/null
  expect 0 st-pack -q hf://ada/m --select 'model.layers.7.*' -o - > /dev/null
  [ "$(sent)" -le 2200000 ]
}

@test "what the branch becomes meanwhile is not read" {
  start_hub
  cp -r "$FIXTURES/base" other
  printf '\n' >> other/config.json
  printf X | dd of=other/model.safetensors bs=1 seek=150000 conv=notrunc status=none
  expect 0 st-pack -q "$FIXTURES/base" -o here
  # Held back: the listing, the header, its redirect, a small file.
  local place n=0
  for place in tree storage-get resolve resolve-cache; do
    n=$((n + 1))
    publish "$FIXTURES/base" ada/m$n
    hub_fault $place stall
    at_stall 1 st-pack -q hf://ada/m$n -o there$n
    expect 0 hub-push -q other ada/m$n
    all_well
    ended 0
    diff -r here there$n
  done
}

@test "standard output of an array that is stored in the order of columns" {
  start_hub
  python3 - <<'PY'
import random, struct
header = b"{'descr': '<f4', 'fortran_order': True, 'shape': (2500, 4000), }"
header += b" " * (-(len(header) + 11) % 64) + b"\n"
with open("x.npy", "wb") as file:
    file.write(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + random.Random(3).randbytes(40_000_000))
PY
  curl -sf -T x.npy "$HF_STORAGE/_files/x.npy"
  st-pack -q x=x.npy -o - > here
  st-pack -q "x=$HF_STORAGE/_files/x.npy" -o - > there
  cmp here there
  # It does not fit in memory, so some of it comes twice: not all of it for each MiB, and not element by element.
  [ "$(hub_count 'e["route"] == "file-get"')" -le 200 ]
  [ "$(sent)" -le 120000000 ]
}
