# Quantised weights and their scales: never cast alone, and known by st-inspect.
bats_require_minimum_version 1.5.0
load helper

tensors() { python3 "$BATS_TEST_DIRNAME/tensors.py" "$@"; }
# model CONFIG TENSOR...: the folder m with this config.json and these tensors.
model() {
  rm -rf m out && mkdir m && echo "$1" > m/config.json && echo '{}' > m/tokenizer.json
  shift && tensors m/model.safetensors norm.weight:BF16:8 "$@"
}
# uncast NAME ARGUMENT...: st-pack refuses the cast and names the tensor; a copy without a cast is equal.
uncast() {
  rm -rf out
  expect 5 st-pack m -o out "${@:2}"
  has stderr "'$1'"
  [ ! -e out ] || return 1
  expect 0 st-pack m -o out
  expect 0 st-inspect --diff m out
}

@test "scaled weights and scales are not cast, however they are spelled" {
  local scale
  for scale in x.weight_scale_inv x.weight_scale x.w_scale x.scale x.scale_weight x.weight.absmax x.qscale_weight; do
    model '{}' x.weight:F8_E4M3:8,8 "$scale:F32:1"
    uncast x.weight --dtype 'x.weight=bf16'
    uncast "$scale" --dtype "$scale=bf16"
    uncast x.weight --dtype f16
    expect 0 st-pack m -o norms --dtype 'norm*=f32' --force
  done
  for scale in x.SCB x.scales x.zero_point x.weight_zp x.w_zeros; do
    model '{}' x.weight:I8:8,8 "$scale:F32:8"
    uncast "$scale" --dtype bf16
    uncast "$scale" --dtype '*=f16'
  done
  model '{}' x.weight:BF16:32,1 x.weight.absmax:F32:1 y.weight:BF16:4
  uncast x.weight --dtype '*.weight=f32'
  expect 0 st-pack m -o out --force --dtype 'y.weight=f32'
  model '{}' x._weight_qdata:I8:8,8 x._weight_scale:F32:8,1
  uncast x._weight_scale --dtype bf16
  model '{}' e.up_blocks:U8:2,8,1,16 e.up_scales:U8:2,8,1
  uncast e.up_blocks --dtype f32
  model '{}' x.qweight:I32:8,1 x.qzeros:I32:1,1 x.scales:F16:1,8
  uncast x.scales --dtype bf16
  # In another shard of the set.
  model '{}' x.weight:F8_E4M3:8,8 x.weight_scale:F32:1
  st-pack -q m -o set --max-shard-size 70
  expect 5 st-pack set -o out2 --dtype 'x.weight=bf16'
}

@test "plain fp8 and names that sound like scales are cast" {
  model '{}' x.weight:F8_E4M3:8,8 logit_scale:F32: layer.layer_scale_parameter:F32:8 y.scale:F32:8
  expect 0 st-pack m -o out --dtype bf16
  [ "$(st-inspect -t out | cut -f2 | sort -u)" = BF16 ]
  # Files of ComfyUI hold both.
  model '{}' x.weight:F8_E4M3:8,8 x.scale_weight:F32: y.weight:F8_E4M3:8,8 scaled_fp8:F8_E4M3:2
  uncast x.weight --dtype 'x.*=bf16'
  uncast scaled_fp8 --dtype 'scaled_fp8=bf16'
  expect 0 st-pack m -o out --force --dtype 'y.weight=bf16'
}

@test "a config says it, wherever it stands" {
  local fp8='{"quant_method":"fp8"}' config
  for config in "{\"quantization_config\":$fp8}" "{\"text_config\":{\"quantization_config\":$fp8}}" \
    "{\"thinker_config\":{\"text_config\":{\"quantization_config\":$fp8}}}" '{"compression_config":{"config_groups":{}}}'; do
    model "$config" x.weight:F8_E4M3:8,8 x.odd:F32:1
    expect 5 st-pack m -o out --dtype bf16
    has stderr "_config: --dtype would"
    expect 5 st-pack m -o out --dtype 'x.weight=bf16'
    has stderr "'x.weight' is a quantised weight"
    expect 0 st-pack m -o out --dtype 'norm.weight=f32'
  done
  # Of files, the configs beside them.
  expect 5 st-pack m/model.safetensors -o out.safetensors --dtype bf16
  has stderr "model.safetensors: config.json has a compression_config"
  expect 0 st-pack m/model.safetensors -o out.safetensors --dtype 'norm.weight=f32'
  model '{' x.weight:F8_E4M3:8,8
  expect 0 st-pack m/model.safetensors -o out.safetensors --force --dtype bf16
  model '{}' x.weight:F8_E4M3:8,8
  echo '{"producer":{"name":"modelopt"},"quantization":{"quant_algo":"FP8"}}' > m/hf_quant_config.json
  expect 5 st-pack m -o out --dtype bf16
  has stderr hf_quant_config.json
}

@test "--check=hub: scales without quantization_config, and the reverse" {
  model '{}' x.weight:F8_E4M3:8,8 x.w_scale:F32:1
  expect 1 st-inspect --check=hub m
  has output "such as 'x.weight': loaders ignore the scales [MD-QUANT-CONFIG hub error]"
  model '{"dtype":"bfloat16","text_config":{"quantization_config":{"quant_method":"fp8"}}}' x.weight:F8_E4M3:8,8 x.weight_scale_inv:F32:1,1
  expect 0 st-inspect --check=hub m
  model '{"quantization_config":{"quant_method":"fp8"}}' x.weight:F8_E4M3:8,8 x.weight_scale_inv:F32:1,1 y.weight:F8_E4M3:8,8
  expect 1 st-inspect --check=hub m
  has output "1 tensor is quantised without a scale, such as 'y.weight' [MD-QUANT-SCALES hub error]"
  model '{"quantization_config":{"quant_method":"gptq"}}' x.weight:BF16:8,8
  expect 1 st-inspect --check=hub m
  has output "(gptq), but no tensor has a scale [MD-QUANT-SCALES"
  # What is sound: methods that may store no scales, a model in plain fp8, files of ComfyUI.
  model '{"quantization_config":{"quant_method":"bitnet"}}' x.weight:BF16:8,8
  expect 0 st-inspect --check=hub m
  model '{"quantization_config":{"quant_method":"compressed-tensors","config_groups":{}}}' x.weight:BF16:8,8
  expect 0 st-inspect --check=hub m
  model '{}' x.weight:F8_E4M3:8,8
  expect 0 st-inspect --check=hub m
  model '{}' x.weight:F8_E4M3:8,8 x.scale_weight:F32: scaled_fp8:F8_E4M3:2
  expect 0 st-inspect --check=hub m
}

@test "--dequantize: Conv1D of GPT-2, which bitsandbytes holds as linear layers, is turned back" {
  local type
  for type in gpt2 llama; do
    model "{\"model_type\":\"$type\",\"quantization_config\":{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}}" \
      h.0.attn.c_proj.weight:I8:2,3 h.0.attn.c_proj.SCB:F32:2
    expect 0 st-pack m -o out --dequantize
    [ "$(st-inspect -t out | awk '/c_proj/ { print $3 }')" = "$([ $type = gpt2 ] && echo 3,2 || echo 2,3)" ]
  done
}

@test "hostile: whatever a layout trusts is changed, one thing at a time" {
  local every=41
  ! ldd "$BIN_DIR/st-pack" | grep -qE 'asan|tsan' || every=211  # each run takes longer
  expect 0 python3 "$BATS_TEST_DIRNAME/hostile_quantised.py" "$FIXTURES/quantized" "$BATS_TEST_TMPDIR/hostile" "$every"
}
