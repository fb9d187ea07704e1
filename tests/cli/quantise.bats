# SPDX-License-Identifier: Apache-2.0
# st-pack --quantize: real models of llm-compressor are met byte for byte; what stays, what is refused, and the steps before it.
load helper

quantized=$FIXTURES/quantized

# base MODEL: the folder base, from which the fixture MODEL was quantised.
base() {
  local weights=base-96
  [ "$1" != ct-fp8-block ] || weights=base-160
  rm -rf base && mkdir base && cp "$quantized/$weights.safetensors" base/model.safetensors
  python3 -c 'import json, sys; config = json.load(open(sys.argv[1])); del config["quantization_config"]; json.dump(config, open("base/config.json", "w"), indent=2)' \
    "$quantized/$1/config.json"
}

same_json() { python3 -c 'import json, sys; a, b = (json.load(open(p)) for p in sys.argv[1:]); assert a == b, (a, b)' "$@"; }

# tensors FILE SPEC...: see tensors.py.
tensors() { python3 "$BATS_TEST_DIRNAME/tensors.py" "$@"; }

@test "tensors and configs of llm-compressor" {
  local scheme
  for scheme in fp8-dynamic fp8-block mxfp4 nvfp4; do
    base ct-$scheme
    expect 0 st-pack base -o out --quantize $scheme --force --verify
    expect 0 st-inspect --diff out "$quantized/ct-$scheme/model.safetensors"
    same_json out/config.json "$quantized/ct-$scheme/config.json"
  done
  # As one file, where no config can say so.
  expect 0 st-pack base -o one.safetensors --quantize NVFP4A16
  expect 0 st-inspect --diff one.safetensors out
  expect 0 st-pack base -o - --quantize nvfp4
  expect 0 st-pack base -o one.safetensors --quantize nvfp4 --force
  has stderr 'no config.json is written'
}

@test "the plan names scheme, sizes and what stays" {
  base ct-mxfp4
  expect 0 st-pack base -o out --quantize mxfp4 --keep '*.down_proj' -n
  has output '6 modules'
  has output 'mxfp4 (compressed-tensors MXFP4), from 78.21 KB; activations are quantised to fp4 when served'
  grep -qE '^stay +lm_head +8.192 KB +head$' <<< "$output"
  grep -qE '^stay +model.embed_tokens +8.192 KB +embedding$' <<< "$output"
  grep -qE '^stay +model.layers.0.mlp.down_proj +12.29 KB +--keep$' <<< "$output"
  [ ! -e out ]
  expect 0 st-pack base -o out --quantize mxfp4 --keep '*.down_proj.weight' -n --json
  has stderr "--keep '*.down_proj.weight' matches no module"
  python3 - "$output" <<'PY'
import json, sys
plan = json.loads(sys.argv[1])["quantize"]
assert (plan["scheme"], plan["preset"], plan["modules"]) == ("mxfp4", "MXFP4", 7), plan
assert plan["config"]["ignore"] == ["lm_head", "model.embed_tokens"], plan
assert {"module": "lm_head", "reason": "head"} in plan["stay"], plan
assert plan["bytes_before"] > plan["bytes"] and "errors" not in plan, plan
PY
}

@test "the error of each module, with -v and in JSON" {
  base ct-nvfp4
  expect 0 st-pack base -o out --quantize nvfp4 -v
  [ "$(grep -cE 'st-pack: model.layers.0.[a-z_.]+: moved by 0.0[0-9]+ at most, 0.0[0-9]+ relative' <<< "$stderr")" = 7 ]
  expect 0 st-pack base -o out --quantize nvfp4 --json --force -j 1
  python3 -c 'import json, sys; print(json.loads(sys.argv[1])["quantize"]["errors"])' "$output" > one
  [ "$(grep -o relative_l2 one | wc -l)" = 7 ]
  expect 0 st-pack base -o out --quantize nvfp4 --json --force --verify -j 3
  python3 -c 'import json, sys; print(json.loads(sys.argv[1])["quantize"]["errors"])' "$output" | diff one -
}

@test "after --dequantize and --adapter, in one run and in parts" {
  expect 5 st-pack "$quantized/fp8-block" -o out --quantize nvfp4
  has stderr 'is quantised already'
  has stderr '--dequantize'
  expect 0 st-pack "$quantized/fp8-block" -o plain --dequantize
  expect 0 st-pack plain -o two --quantize nvfp4
  expect 0 st-pack "$quantized/fp8-block" -o out --dequantize --quantize nvfp4
  expect 0 st-inspect --diff out two
  same_json out/config.json two/config.json

  expect 0 lora-extract --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 2 -o found
  expect 0 st-pack "$FIXTURES/pair/base" --adapter found -o merged
  expect 0 st-pack merged -o two --quantize fp8-dynamic --force
  expect 0 st-pack "$FIXTURES/pair/base" --adapter found -o out --quantize fp8-dynamic --force
  expect 0 st-inspect --diff out two
  same_json out/config.json two/config.json

  base ct-nvfp4
  options=(base -o parts --quantize nvfp4 --max-shard-size 20KB)
  expect 0 st-pack "${options[@]}" --part 1/2
  expect 5 st-pack "${options[@]}" --keep '*.up_proj' --part 2/2
  expect 0 st-pack "${options[@]}" --part 2/2
  expect 0 st-pack "${options[@]}"
  has stderr 'taken from parts'
  expect 0 st-inspect --diff parts "$quantized/ct-nvfp4/model.safetensors"
}

@test "after a cast, of all or by name" {
  base ct-nvfp4
  expect 0 st-pack base -o wide --dtype f32
  expect 0 st-pack wide -o one --dtype bf16 --quantize nvfp4
  expect 0 st-pack wide -o two --dtype '*=bf16' --quantize nvfp4
  for out in one two; do
    expect 0 st-inspect --diff $out "$quantized/ct-nvfp4/model.safetensors"
    same_json $out/config.json "$quantized/ct-nvfp4/config.json"
  done
  # Scales have the type of the weights.
  expect 0 st-pack wide -o three --quantize fp8-dynamic
  expect 0 st-inspect -t three
  grep -qP 'q_proj.weight_scale\tF32\t' <<< "$output"
}

@test "what is refused, and with which code" {
  base ct-mxfp4
  for scheme in NVFP4 FP8; do
    expect 5 st-pack base -o out --quantize $scheme
    has stderr 'calibrated'
  done
  expect 2 st-pack base -o out --quantize w8a8
  expect 2 st-pack base -o out --keep x
  expect 2 st-pack base -o out --quantize fp8 --experts stack
  expect 2 st-pack base -o out.npy --quantize fp8 --select lm_head.weight
  expect 5 st-pack base -o out --quantize fp8 # no matrix is whole blocks
  has stderr 'nothing to quantise'
  has stderr 'embedding (1), head (1), norm (3), not whole blocks of 128 x 128 (7)'
  expect 4 st-pack "$FIXTURES/lora-adapter" -o out --quantize fp8-dynamic
  mkdir odd && tensors odd/model.safetensors a.b_proj.weight:BF16:32,48
  expect 5 st-pack odd -o out --quantize mxfp4
  has stderr "'a.b_proj' [32, 48] can't be quantised to mxfp4"
  has stderr "--keep 'a.b_proj'"
  [ ! -e out ]
}

@test "values that a cast or dequantising loses on the way are counted once, where they are written" {
  mkdir few && python3 - <<'PY'
import json, struct
# 3 values are too small for f16.
header = json.dumps({"a.weight": {"dtype": "F32", "shape": [2, 32], "data_offsets": [0, 256]}})
data = struct.pack("<64f", *[1.0] * 61, *[1e-9] * 3)
open("few/model.safetensors", "wb").write(struct.pack("<Q", len(header)) + header.encode() + data)
PY
  tensors m.safetensors a.weight:F8_E4M3:2,32 a.weight_scale_inv:F32:1,1
  # 1, but for 3 of 1/512; times 1e-6.
  python3 -c 'import struct; d = open("m.safetensors", "rb").read(); open("m.safetensors", "wb").write(d[:-68] + bytes([0x38] * 61 + [1] * 3) + struct.pack("<f", 1e-6))'
  for scheme in fp8-dynamic mxfp4 nvfp4; do
    expect 0 st-pack few -o out --dtype f16 --quantize $scheme --force --json
    [ "$(jq -c '[.losses[] | [(.tensor | test("scale")), .underflowed]]' <<< "$output")" = '[[false,3]]' ]
    expect 0 st-pack m.safetensors -o out --dequantize=f16 --quantize $scheme --force --json
    [ "$(jq -c '[.losses[] | [(.tensor | test("scale")), .underflowed]]' <<< "$output")" = '[[false,3]]' ]
  done
}

@test "NaN is malformed, names the weight and leaves nothing" {
  mkdir nan
  python3 - <<'PY'
import json, struct
header = json.dumps({"a.weight": {"dtype": "BF16", "shape": [2, 32], "data_offsets": [0, 128]}})
data = struct.pack("<64H", *[0x3F80] * 40, 0x7FC0, *[0x3F80] * 23)
open("nan/model.safetensors", "wb").write(struct.pack("<Q", len(header)) + header.encode() + data)
PY
  for scheme in fp8-dynamic fp8-block mxfp4 nvfp4; do
    expect 4 st-pack nan -o out --quantize $scheme -j 2
    has stderr "'a.weight' holds NaN or infinity"
    [ ! -e out ]
  done
}
