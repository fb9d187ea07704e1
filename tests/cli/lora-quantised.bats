# Adapters between models of which one or both are quantised.
bats_require_minimum_version 1.5.0
load helper

P=$FIXTURES/pair

@test "an adapter of a quantised base, or tuned model, is that of the plain one" {
  local scheme
  for scheme in fp8-dynamic nvfp4; do
    rm -rf q plain && st-pack -q "$P/base" -o q --quantize $scheme && st-pack -q q -o plain --dequantize
    expect 0 lora-extract --base q --tuned "$P/tuned" --rank 4 -o a --force
    has stderr "q is quantised (compressed-tensors "
    has stderr "14 weights dequantised to bf16"
    expect 0 lora-extract --base plain --tuned "$P/tuned" --rank 4 -o b --force
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    expect 0 lora-extract --base "$P/base" --tuned q --rank 4 -o a --force
    expect 0 lora-extract --base "$P/base" --tuned plain --rank 4 -o b --force
    cmp a/adapter_model.safetensors b/adapter_model.safetensors
    # Both: nothing differs.
    expect 1 lora-extract --base q --tuned q --rank 4 -o none
    has stderr "no difference"
  done
}

@test "what was merged into a quantised base comes back" {
  st-pack -q "$P/base" -o q --quantize fp8-dynamic
  lora-extract -q --base "$P/base" --tuned "$P/tuned" --rank 4 -o adapter > /dev/null
  st-pack -q q -o merged --adapter adapter
  expect 0 lora-extract --base q --tuned merged --rank 4 -o back --json
  [ "$(jq '[.modules[].error] | max < 0.1' <<< "$output")" = true ]
  st-pack -q q -o again --adapter back
  expect 0 st-inspect --diff --atol 0.01 merged again
}

@test "parts of a quantised pair: the same adapter, and other parts are refused" {
  st-pack -q "$P/base" -o q --quantize fp8-dynamic
  for i in 1 2; do expect 0 lora-extract -q --base q --tuned "$P/tuned" --rank 4 -o out --part $i/2; done
  expect 0 lora-extract --base q --tuned "$P/tuned" --rank 4 -o out
  has stderr "taken from parts"
  expect 0 lora-extract --base q --tuned "$P/tuned" --rank 4 -o whole
  # Rounding of sums may differ by kernel, not what they are of.
  expect 0 st-inspect --diff --atol 0.001 out whole
  # A config that says something else of the same tensors makes other parts.
  expect 0 lora-extract -q --base q --tuned "$P/tuned" --rank 4 -o out2 --part 1/2
  sed -i 's/"dtype": "[a-z0-9]*"/"dtype": "float32"/' q/config.json
  grep -q float32 q/config.json
  expect 5 lora-extract -q --base q --tuned "$P/tuned" --rank 4 -o out2 --part 2/2
}

@test "a quantised base: --check --base and --for still work" {
  st-pack -q "$P/base" -o q --quantize fp8-dynamic
  lora-extract -q --base "$P/base" --tuned "$P/tuned" --rank 4 -o adapter > /dev/null
  expect 0 st-inspect --check --base q adapter
  has output "14"
  expect 0 lora-extract adapter --for vllm --base q -o served
  expect 0 lora-extract --base q --tuned "$P/tuned" --rank 4 --for vllm -o served2
}

@test "what can't be made plain is refused" {
  cp -r "$P/tuned" q
  jq '.quantization_config = {"quant_method": "hqq"}' q/config.json > c && mv c q/config.json
  python3 "$BATS_TEST_DIRNAME/tensors.py" q/model.safetensors x.W_q:U8:8,8 x.W_scale:F32:8
  expect 5 lora-extract --base "$P/base" --tuned q -o out
  has stderr "the quant_method 'hqq' can't be made plain here"
  cp -r "$P/tuned" said
  jq '.quantization_config = {"quant_method": "fp8"}' said/config.json > c && mv c said/config.json
  expect 4 lora-extract --base "$P/base" --tuned said -o out
  has stderr "has a quantization_config, but no tensor is quantised"
}
