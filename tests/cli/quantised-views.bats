# Quantised models as st-inspect shows them: how they are stored, in how many bits, what they are when plain.
bats_require_minimum_version 1.5.0
load lora

Q=$FIXTURES/quantized
tensors() { python3 "$BATS_TEST_DIRNAME/tensors.py" "$@"; }
# model CONFIG TENSOR...: the folder m with this config.json and these tensors.
model() {
  rm -rf m && mkdir m && echo "$1" > m/config.json && echo '{}' > m/tokenizer.json
  shift && tensors m/model.safetensors norm.weight:BF16:8 "$@"
}
# lacks output|stderr TEXT
lacks() { [[ ${!1} != *"$2"* ]] || return 1; }
# shows LINE: the overview of m has it.
shows() {
  expect 0 st-inspect m
  has output "$1"
}

@test "the overview names scheme, bits and plain size" {
  local row kind line
  while IFS='|' read -r kind line; do
    expect 0 st-inspect "$Q/$kind"
    has output "  quantised: $line; plain in bf16: "
  done << 'END'
awq|awq 4 bit, 4.62 bits a weight (7 of 9 matrices)
bnb-int8|bitsandbytes int8, 8.47 bits a weight (7 of 9 matrices)
bnb-nf4|bitsandbytes nf4, 6.42 bits a weight (7 of 9 matrices)
ct-fp8-block|compressed-tensors float-quantized, 8.00 bits a weight (7 of 9 matrices)
ct-int4-asym|compressed-tensors pack-quantized, 4.65 bits a weight (7 of 9 matrices)
ct-mxfp4|compressed-tensors mxfp4-pack-quantized, 4.25 bits a weight (7 of 9 matrices)
ct-nvfp4|compressed-tensors nvfp4-pack-quantized, 4.51 bits a weight (7 of 9 matrices)
fp8-block|fp8 block 128x128, 8.01 bits a weight (7 of 9 matrices)
gpt-oss-mxfp4|mxfp4, 4.25 bits a weight (2 of 11 matrices)
torchao-fp8|torchao Float8Tensor, 8.47 bits a weight (7 of 9 matrices)
END
  # A weight and what belongs to it are one line.
  expect 0 st-inspect "$Q/ct-nvfp4"
  has output "model.layers.0.mlp.up_proj.weight               4.51 bits  [96, 64]"
  lacks output "model.layers.0.mlp.up_proj.weight_"
  expect 0 st-inspect "$Q/gpt-oss-mxfp4"
  has output "model.layers.0.mlp.experts.gate_up_proj         4.25 bits  [2, 64, 64]"
  # Scales without their weight stay.
  expect 0 st-inspect --filter '*_scale' "$Q/ct-mxfp4"
  has output "model.layers.0.mlp.up_proj.weight_scale"
}

@test "--json: quantization" {
  expect 0 st-inspect --json "$Q/ct-nvfp4"
  [ "$(jq -c '[.quantization, .logical_parameters, .plain_bytes, .parameters]' <<< "$output")" = \
    '[{"method":"compressed-tensors","format":"nvfp4-pack-quantized","effective_bits":4.507291666666666,"modules":7},39104,78208,25671]' ]
  expect 0 st-inspect --json "$FIXTURES/base"
  [ "$(jq 'has("quantization") or has("logical_parameters")' <<< "$output")" = false ]
  # The file alone, whose config lies beside it.
  expect 0 st-inspect --json "$Q/fp8-block/model.safetensors"
  [ "$(jq -r '.quantization.format' <<< "$output")" = "block 128x128" ]
}

@test "layouts that can't be made plain, and torn ones, have an overview" {
  # GPTQ in 3 bits: 64 columns, groups of 32.
  model '{"quantization_config":{"quant_method":"gptq","bits":3,"group_size":32}}' \
    x.qweight:I32:6,8 x.qzeros:I32:2,1 x.scales:F16:2,8 x.g_idx:I32:64
  shows "quantised: gptq 3 bit, 7.62 bits a weight (1 of 1 matrix)"
  has output "note: st-pack --dequantize refuses: "
  model '{"quantization_config":{"quant_method":"aqlm"}}' x.codes:I16:8,8,1 x.codebooks:BF16:1,4 x.scales:BF16:8,1,1 y.weight:BF16:8,8
  expect 0 st-inspect m
  model '{"quantization_config":{"quant_method":"hqq"}}' x.W_q:U8:8,8 x.W_scale:F32:8
  shows "quantised: hqq (1 of 1 matrix)"
  has output "u8 + scales"
  has output "the quant_method 'hqq' can't be made plain here"
  model '{"quantization_config":{"quant_method":"fp8","weight_block_size":[0,"a"]}}' x.weight:F8_E4M3:8,8 x.weight_scale_inv:F32:3,9
  shows "quantised: fp8 block 0x0, "
  has output "weight_block_size"
  model '{"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"a":{"weights":{"num_bits":4}}}}}' \
    x.weight_packed:I32:8,2 x.weight_scale:BF16:8,1 x.weight_shape:I64:2
  shows "6.00 bits" # weight_shape says 0 times 0
  model '{"quantization_config":{"quant_method":"gptq"}}' x.qweight:I32:8,8
  shows "quantised: gptq (1 of 1 matrix)"
  model '{"quantization_config":{"quant_method":"fp8"}}' y.weight:BF16:8,8
  shows "note: config.json has a quantization_config, but no tensor is quantised"
}

@test "--dequantize: every view sees the plain tensors" {
  expect 0 st-pack "$Q/fp8-block" -o plain --dequantize
  for view in -t --names --tree --stats "--print model.layers.0.self_attn.k_proj.weight[:2]"; do
    expect 0 st-inspect $view plain
    cut -f1-5 <<< "$output" > want
    expect 0 st-inspect $view --dequantize "$Q/fp8-block"
    has stderr "is quantised (fp8 block 128x128): 7 weights dequantised to bf16, 43.05 KB -> 86.02 KB"
    diff <(sort want) <(cut -f1-5 <<< "$output" | sort)
  done
  expect 0 st-inspect --hash plain
  want=$(grep -o 'st-content-1:.*	' <<< "$output")
  expect 0 st-inspect --hash --dequantize "$Q/fp8-block"
  has output "$want"
  expect 0 st-inspect --dequantize=f16 "$Q/fp8-block"
  has output "model.layers.0.mlp.up_proj.weight               f16"
  lacks output "quantised:"
  expect 0 st-inspect --json --dequantize=f32 "$Q/fp8-block"
  [ "$(jq -c '[has("quantization"), .parameters]' <<< "$output")" = '[false,51392]' ]
  # What has no plain side.
  for view in --header --metadata --check; do
    expect 2 st-inspect "$view" --dequantize "$Q/fp8-block"
  done
  expect 2 st-inspect --dequantize=f8 "$Q/fp8-block"
  expect 5 st-inspect --dequantize plain
  has stderr "nothing in it is quantised"
  model '{"quantization_config":{"quant_method":"fp8"}}' x.weight:F8_E4M3:8,8
  expect 4 st-inspect -t --dequantize m
}

@test "a pipeline whose folders are quantised: no claim that is untrue of them" {
  mkdir -p pipe/text_encoder && cp "$Q/ct-nvfp4/"{config.json,model.safetensors} pipe/text_encoder
  echo '{"_class_name":"P","text_encoder":["transformers","LlamaForCausalLM"]}' > pipe/model_index.json
  expect 0 st-inspect pipe
  has output "quantised: "
  lacks output "refuses"
  expect 5 st-inspect --dequantize pipe
  has stderr "name one of its folders"
  expect 0 st-inspect --dequantize pipe/text_encoder
  expect 0 st-pack pipe -o plain --dequantize
}

@test "--dequantize in parts" {
  for i in 1 2; do st-inspect -q --stats --hash --dequantize=f16 "$Q/fp8-block" --part $i/2 > p$i; done
  st-inspect -q --stats --hash --dequantize=f16 "$Q/fp8-block" > whole
  expect 0 st-inspect --combine p1 p2
  diff whole - <<< "$output"
  st-inspect -q --stats --hash --dequantize "$Q/fp8-block" --part 2/2 > p2
  expect 5 st-inspect --combine p1 p2
  expect 2 st-inspect --combine --dequantize p1 p2
}

@test "--print: a tensor that exists only when plain, and stored values" {
  expect 0 st-inspect --print 'model.layers.0.self_attn.k_proj.weight[0,:4]' "$Q/torchao-fp8"
  has stderr "dequantised to bf16"
  want=$output
  expect 0 st-inspect --print 'model.layers.0.self_attn.k_proj.weight[0,:4]' --dequantize "$Q/torchao-fp8"
  [ "$output" = "$want" ]
  expect 0 st-inspect --print 'model.layers.0.self_attn.k_proj.weight[0,:4]' "$Q/fp8-block"
  [ "$output" = "-56 -18 -224 96" ]
  has stderr "these are its stored values; --dequantize"
  expect 4 st-inspect --print 'model.layers.0.self_attn.k_proj' "$Q/torchao-fp8"
  has stderr "there is no tensor"
}

@test "--diff with the plain model, and between quantised ones" {
  expect 0 st-pack "$Q/fp8-block" -o plain --dequantize=f16
  expect 0 st-inspect --diff "$Q/fp8-block" plain
  has stderr "A is quantised (fp8 block 128x128): compared as dequantised to f16"
  expect 0 st-inspect --diff --json plain "$Q/fp8-block"
  [ "$(jq -c '[.same, .dequantized]' <<< "$output")" = '[true,{"b":"F16"}]' ]
  # Alike: what is stored. Otherwise both plain.
  expect 0 st-inspect --diff "$Q/fp8-block" "$Q/fp8-block"
  lacks stderr "quantised"
  has output "same: 19 tensors"
  expect 1 st-inspect --diff "$Q/torchao-fp8" "$Q/torchao-int8"
  has stderr "A is quantised (torchao Float8Tensor)"
  has stderr "B is quantised (torchao Int8Tensor)"
  has output "relative L2 0.0"
  expect 0 st-inspect --diff --rtol 0.2 --atol 0.01 "$Q/torchao-fp8" "$Q/torchao-int8"
  expect 0 st-inspect --diff --dequantize "$Q/fp8-block" "$Q/fp8-block"
  has output "same: 12 tensors"
  expect 5 st-inspect --diff --dequantize plain plain
  # A side that can't be made plain is compared as it is stored.
  model '{"quantization_config":{"quant_method":"hqq"}}' x.W_q:U8:8,8 x.W_scale:F32:8
  expect 1 st-inspect --diff m plain
  has stderr "A is compared as it is stored: the quant_method 'hqq' can't be made plain here"
}

# broken KIND PYTHON: the folder m is a copy of a fixture whose tensors t (name: [dtype, shape, bytes]) are changed.
broken() {
  rm -rf m && cp -r "$Q/$1" m && chmod -R u+w m && echo '{}' > m/tokenizer.json
  edit m/model.safetensors "$2"
}
# finds KIND PYTHON TEXT: it is a finding of the scales.
finds() {
  broken "$1" "$2"
  expect 1 st-inspect --check=hub m
  has output "$3"
  has output "[MD-QUANT-SCALES hub error]"
}

@test "--check=hub: real files are sound" {
  for kind in "$Q"/*/; do
    broken "$(basename "$kind")" ""
    expect 0 st-inspect --check=hub m
  done
}

@test "--check=hub: scales that don't fit, and scales of zero, NaN and infinity" {
  local x=model.layers.0.mlp.up_proj
  finds fp8-block "t['$x.weight_scale_inv'][1] = [1, 2]" "'$x.weight_scale_inv'"
  finds ct-mxfp4 "t['$x.weight_scale'][1] = [2, 96]" "'$x.weight_scale'"
  finds bnb-int8 "t['$x.SCB'] = ['F32', [95], bytes(4 * 95)]" "'$x.SCB'"
  finds awq "t['$x.scales'][1] = [96, 2]" "'$x."
  # Values.
  finds fp8-block "t['$x.weight_scale_inv'][2] = bytes(8)" \
    "1 scale of quantised weights holds zero, such as '$x.weight_scale_inv' (2 of 2 values)"
  finds fp8-block "t['$x.weight_scale_inv'][2] = bytes.fromhex('0000c07f') + t['$x.weight_scale_inv'][2][4:]" "holds NaN, such as '$x.weight_scale_inv' (1 of 2 values)"
  finds ct-fp8-dynamic "t['$x.weight_scale'][2] = bytes.fromhex('807f') + t['$x.weight_scale'][2][2:]" "holds infinity"
  finds ct-nvfp4 "t['$x.weight_scale'][2] = b'\x7f' + t['$x.weight_scale'][2][1:]" "holds NaN"
  finds ct-mxfp4 "t['$x.weight_scale'][2] = b'\xff' + t['$x.weight_scale'][2][1:]" "holds NaN, such as '$x.weight_scale'"
  finds awq "t['$x.scales'][2] = bytes(2) + t['$x.scales'][2][2:]" "holds zero"
  finds bnb-nf4 "t['$x.weight.nested_absmax'][2] = bytes.fromhex('0000807f')" "holds infinity"
  # The data of a stream are not kept.
  cat "$Q/bnb-nf4/model.safetensors" | st-inspect --check=hub - > seen 2> said
  grep -q 'sound, level hub' seen && grep -q 'scales were not read, as it is a stream' said
  cat "$Q/bnb-nf4/model.safetensors" | st-inspect - > seen
  output=$(< seen)
  has output 'quantised: bitsandbytes nf4'
  lacks output refuses
  # The overview reads no scales; zero does no harm to zeros, and is usual for bitsandbytes.
  broken fp8-block "t['$x.weight_scale_inv'][2] = bytes(8)"
  expect 0 st-inspect m
  has output "  sound"
  broken fp8-block "t['$x.weight_scale_inv'][2] = bytes(8); t['$x.weight'][2] = bytes(len(t['$x.weight'][2]))"
  expect 0 st-inspect --check=hub m
  broken bnb-int8 "t['$x.SCB'][2] = bytes(4) + t['$x.SCB'][2][4:]"
  expect 0 st-inspect --check=hub m
}
