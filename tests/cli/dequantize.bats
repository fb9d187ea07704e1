# SPDX-License-Identifier: Apache-2.0
# Quantised models made plain: st-pack --dequantize, from real models of the libraries to what those read from them, with every other option;
# and merging into quantised bases.
load helper

quantized=$FIXTURES/quantized

tensors() { python3 "$BATS_TEST_DIRNAME/tensors.py" "$@"; }
plain() { python3 "$BATS_TEST_DIRNAME/plain.py" "$@"; }
# setting FILE EXPRESSION: a value of a JSON document, "c" is the whole.
setting() { python3 -c 'import json, sys; c = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"; }
# config FOLDER CHANGE: runs the statement on its config.json, "c" is the whole.
config() {
  python3 -c 'import json, sys; p = sys.argv[1] + "/config.json"; c = json.load(open(p)); exec(sys.argv[2]); json.dump(c, open(p, "w"))' "$@"
}
# adapter FOLDER BASE: of rank 1, for q_proj of the fixtures.
adapter() {
  local m=base_model.model.model.layers.0.self_attn.q_proj
  floats "$1/adapter_model.safetensors" $m.lora_A.weight:1x64:0.01 $m.lora_B.weight:64x1:n
  echo '{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"], "base_model_name_or_path": "'"$2"'"}' > "$1/adapter_config.json"
}

@test "every layout: from folders, files, shards, a stream and in parts to what its library reads" {
  local model name part
  for model in "$quantized"/*/; do
    name=$(basename "$model")
    expect 0 st-pack "$model" -o "$name" --dequantize --verify
    has stderr "$name/ is quantised ("
    plain "$model" "$name/model.safetensors"
    [ "$(setting "$name/config.json" '"quantization_config" in c, c["dtype"]')" = "(False, 'bfloat16')" ]
    # The config beside a file counts.
    expect 0 st-pack "$model/model.safetensors" -o one.safetensors --dequantize --force
    plain "$model" one.safetensors
    # Small shards tear modules apart; those of the output have the plain sizes.
    expect 0 st-pack "$model" -o shards --max-shard-size 20KB --force
    expect 0 st-pack shards -o - --dequantize
    st-pack -q shards -o - --dequantize | cmp - one.safetensors
    for part in 1 2; do
      expect 0 st-pack shards -o "$name-parts" --dequantize --max-shard-size 40KB --part $part/2
    done
    expect 0 st-pack shards -o "$name-parts" --dequantize --max-shard-size 40KB
    has stderr "taken from parts"
    expect 0 st-pack shards -o "$name-whole" --dequantize --max-shard-size 40KB
    diff -r "$name-parts" "$name-whole"
  done
}

@test "files without a config are known by their tensors, also from standard input" {
  local name
  for name in bnb-int8 bnb-nf4 fp8-block gpt-oss-mxfp4 torchao-fp8 torchao-int8; do
    cp "$quantized/$name/model.safetensors" "$name.safetensors"
    expect 0 st-pack "$name.safetensors" -o plain.safetensors --dequantize --force
    plain "$quantized/$name" plain.safetensors
    st-pack -q - -o - --dequantize < "$name.safetensors" | cmp - plain.safetensors
  done
  for name in awq ct-nvfp4 ct-fp8-dynamic; do
    cp "$quantized/$name/model.safetensors" "$name.safetensors"
    expect 5 st-pack "$name.safetensors" -o no.safetensors --dequantize
    has stderr "no quantization_config says how; put the config.json of the model beside it"
  done
  [ ! -e no.safetensors ]
}

@test "shards of torchao, each with the metadata of its own tensors" {
  mkdir m && cp "$quantized/torchao-int8/config.json" m
  python3 - "$quantized/torchao-int8/model.safetensors" <<'PY'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
begin = 8 + struct.unpack_from("<Q", data)[0]
header = json.loads(data[8:begin])
metadata, where = header.pop("__metadata__"), {}
for shard, is_mine in (("1", lambda name: "mlp" in name), ("2", lambda name: "mlp" not in name)):
    file, body, mine = f"model-0000{shard}-of-00002.safetensors", b"", {}
    for name in filter(is_mine, header):
        first, last = header[name]["data_offsets"]
        mine[name] = header[name] | {"data_offsets": [len(body), len(body) + last - first]}
        body += data[begin + first:begin + last]
        where[name] = file
    about = {key: value for key, value in metadata.items() if key != "tensor_names" and is_mine(key)}
    mine["__metadata__"] = about | {"format": "pt", "tensor_names": json.dumps(list(filter(is_mine, json.loads(metadata["tensor_names"]))))}
    text = json.dumps(mine).encode()
    open(f"m/{file}", "wb").write(struct.pack("<Q", len(text)) + text + body)
json.dump({"metadata": {}, "weight_map": where}, open("m/model.safetensors.index.json", "w"))
PY
  expect 0 st-pack m -o out --dequantize
  plain "$quantized/torchao-int8" out/model.safetensors
}

@test "scales and zero points of activations and caches go" {
  mkdir m
  tensors m/model.safetensors x.k_proj.weight:I8:4,4 x.k_proj.weight_scale:F32:4,1 x.k_proj.input_scale:F32:1 x.k_proj.input_zero_point:I8:1 \
    x.k_proj.output_scale:F32:1 x.k_proj.output_zero_point:I8:1 x.k_scale:F32:1 x.k_zero_point:I8:1 x.v_scale:F32:1 x.v_zero_point:I8:1 x.q_scale:F32:1
  echo '{"quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {"group_0": {
    "targets": ["Linear"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}}}}' > m/config.json
  expect 0 st-pack m -o out --dequantize
  [ "$(st-inspect -t out | cut -f1-3)" = "x.k_proj.weight	BF16	4,4" ]
}

@test "settings that AutoGPTQ and AutoAWQ kept in files of their own" {
  local config='{"model_type":"llama","dtype":"bfloat16"}'
  cp -r "$quantized/awq" m && chmod -R u+w m
  config m 'del c["quantization_config"]'
  echo '{"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}' > m/quant_config.json
  expect 0 st-pack m -o out --dequantize
  has stderr 'quant_config.json is left behind'
  plain "$quantized/awq" out/model.safetensors
  expect 0 st-pack m/model.safetensors -o one.safetensors --dequantize
  plain "$quantized/awq" one.safetensors
  # Transformers doesn't read it; a cast would ruin the weights all the same.
  expect 1 st-inspect --check=hub m
  has output MD-QUANT-CONFIG
  expect 5 st-pack m -o no --dtype f32
  has stderr 'quant_config.json has a quantization'
  # Parts were made by other settings.
  expect 0 st-pack m -o cut --dequantize --part 1/2
  echo '{"zero_point": true, "q_group_size": 32, "w_bit": 4, "version": "gemm"}' > m/quant_config.json
  expect 5 st-pack m -o cut --dequantize
  has stderr 'another plan'
  rm -r m && mkdir m && echo "$config" > m/config.json
  tensors m/model.safetensors x.qweight:I32:8,8 x.qzeros:I32:2,1 x.scales:F16:2,8
  echo '{"bits": 4, "group_size": 32, "desc_act": false, "sym": true, "model_file_base_name": "model"}' > m/quantize_config.json
  expect 0 st-pack m -o gptq --dequantize
  [ "$(st-inspect -t gptq | cut -f1-3)" = "x.weight	BF16	8,64" ]
  echo '{"bits": 4, "group_size": 16}' > m/quantize_config.json
  expect 4 st-pack m -o no --dequantize
  has stderr "x.scales"
  # Beside plain weights it says nothing.
  cp m/quantize_config.json gptq
  expect 0 st-pack gptq -o cast --dtype f32
}

@test "all options see the plain tensors" {
  local nf4=$quantized/bnb-nf4
  expect 0 st-pack "$nf4" -o out --dequantize -n
  has output '79.41 KB'
  has output 'quantization_config removed'
  expect 0 st-pack "$nf4" -o out --dequantize=f32 --json --select '*q_proj.weight' --select '*norm*' --rename 's/^model/m/' --metadata a=b
  echo "$output" > report
  [ "$(setting report '[c["dequantized"][k] for k in ("method", "dtype", "weights", "bytes_before", "bytes_after")]')" = "['bitsandbytes', 'F32', 7, 24661, 122880]" ]
  [ "$(st-inspect -t out | cut -f1-3 | sort)" = "m.layers.0.input_layernorm.weight	BF16	64
m.layers.0.post_attention_layernorm.weight	BF16	64
m.layers.0.self_attn.q_proj.weight	F32	64,64
m.norm.weight	BF16	64" ]
  [ "$(st-inspect --metadata=a out)" = b ]
  # A scale has no name any more, a plain weight has.
  expect 0 st-pack "$quantized/awq" -o out --dequantize --select '*q_proj.weight' --force
  echo model.layers.0.self_attn.q_proj.qweight > names
  expect 4 st-pack "$quantized/awq" -o out --dequantize --names-from names --force
  # A cast comes afterwards, of all or of some.
  expect 0 st-pack "$nf4" -o cast --dequantize=f16 --dtype bf16
  [ "$(st-inspect -t cast | cut -f2 | sort -u)" = BF16 ]
  [ "$(setting cast/config.json 'c["dtype"]')" = bfloat16 ]
  expect 0 st-pack "$nf4" -o some --dequantize --dtype '*q_proj*=f32'
  [ "$(st-inspect -t some | cut -f2 | sort | uniq -c | xargs)" = "11 BF16 1 F32" ]
  expect 5 st-pack "$nf4" -o no --dtype bf16
  has stderr '--dequantize'
}

@test "what a config calls its formats is escaped" {
  cp -r "$quantized/ct-int4-asym" m && chmod -R u+w m
  config m 'c["quantization_config"]["config_groups"]["odd"] = {"targets": ["none"], "weights": {"num_bits": 8, "type": "int", "strategy": "channel"}, "format": "a\x1b\nb"}'
  expect 0 st-pack m -o out --dequantize
  has stderr 'is quantised (compressed-tensors pack-quantized, a\x1b\nb): 7 weights'
  expect 0 st-inspect --diff m out
  has stderr 'A is quantised (compressed-tensors pack-quantized, a\x1b\nb): compared'
}

@test "the dtype is set where it stands, and files that describe the quantised weights stay behind" {
  local file
  cp -r "$quantized/fp8-block" m && chmod -R u+w m
  config m 'c["torch_dtype"] = c.pop("dtype")'
  expect 0 st-pack m -o out --dequantize=f16
  [ "$(setting out/config.json 'c["torch_dtype"], "dtype" in c')" = "('float16', False)" ]
  # In text_config; what else has a type keeps it, as its tensors do.
  config m 'c["text_config"] = {"dtype": c.pop("torch_dtype"), "quantization_config": c.pop("quantization_config")}; c["vision_config"] = {"dtype": "float32"}'
  expect 0 st-pack m -o out --dequantize --force
  [ "$(setting out/config.json 'c["text_config"], c["vision_config"], "dtype" in c')" = "({'dtype': 'bfloat16'}, {'dtype': 'float32'}, False)" ]
  expect 0 st-pack m -o out --dequantize=f32 --force
  [ "$(setting out/config.json 'c["text_config"], c["vision_config"]')" = "({'dtype': 'float32'}, {'dtype': 'float32'})" ]
  # Nowhere.
  config m 'del c["text_config"]["dtype"]'
  for file in quantize_config.json hf_quant_config.json recipe.yaml tokenizer.json; do echo '{}' > m/$file; done
  expect 0 st-pack m -o out --dequantize --force
  has stderr 'quantize_config.json is left behind: it describes the quantised weights'
  [ "$(setting out/config.json 'c["dtype"], c["text_config"]')" = "('bfloat16', {})" ]
  [ "$(ls out)" = "config.json
model.safetensors
tokenizer.json" ]
}

@test "what can't be made plain is refused by name, and nothing is written" {
  expect 5 st-pack "$FIXTURES/full-run/checkpoint-40" -o out --dequantize
  has stderr 'nothing in it is quantised'
  cp -r "$quantized/bnb-nf4" m && chmod -R u+w m
  config m 'c["quantization_config"]["quant_method"] = "hqq"'
  expect 5 st-pack m -o out --dequantize
  has stderr "'hqq'"
  # Also where its tensors are unknown here.
  tensors m/model.safetensors x.W_q:U8:8,8 x.meta:U8:8
  expect 5 st-pack m -o out --dequantize
  has stderr "'hqq'"
  rm m/model.safetensors
  tensors m/model.safetensors x.compressed:F16:8 x.bitmask:U8:2,1 x.shape:I64:2
  config m 'c["quantization_config"] = {"quant_method": "compressed-tensors", "config_groups": {}}'
  expect 5 st-pack m -o out --dequantize
  has stderr "'x.bitmask' belongs to a sparse weight"
  rm -r m && cp -r "$quantized/bnb-nf4" m && chmod -R u+w m
  # Config and tensors disagree.
  config m 'c["quantization_config"]["quant_method"] = "fp8"'
  expect 5 st-pack m -o out --dequantize
  has stderr "'fp8'"
  has stderr 'bitsandbytes'
  cp "$quantized/bnb-nf4/config.json" m
  config m 'c["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}'
  expect 5 st-pack m -o out --dequantize
  has stderr "the config says load_in_8bit, but 'model.layers.0.mlp.down_proj.weight' is stored in 4 bits"
  # Of names alone, GPTQ and AWQ are one.
  rm -rf g && mkdir g
  tensors g/model.safetensors x.qweight:I32:8,16 x.qzeros:I32:2,2 x.scales:F16:2,16 x.g_idx:I32:64
  echo '{"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 32}}' > g/config.json
  expect 5 st-pack g -o out --dequantize
  has stderr "the config says AWQ, but 'x.qweight' [8, 16] and 'x.scales' [2, 16] are stored as GPTQ does"
  tensors g/model.safetensors x.qweight:I32:64,2 x.qzeros:I32:2,2 x.scales:F16:2,16
  sed -i 's/awq/gptq/' g/config.json
  expect 5 st-pack g -o out --dequantize
  has stderr "the config says GPTQ, but 'x.qweight' [64, 2] and 'x.scales' [2, 16] are stored as AWQ does"
  # Plain tensors under a config.
  st-pack -q "$quantized/bnb-nf4" -o p --dequantize
  cp m/config.json p
  expect 5 st-pack p -o out --dequantize
  has stderr 'all tensors are plain'
  # A scale is gone.
  cp "$quantized/bnb-nf4/config.json" m
  rm m/model.safetensors
  expect 0 st-pack "$quantized/bnb-nf4/model.safetensors" -o m/model.safetensors --exclude '*q_proj.weight.absmax'
  expect 4 st-pack m -o out --dequantize
  has stderr 'q_proj.weight'
  [ ! -e out ]
  expect 2 st-pack m -o out --dequantize=f64
  expect 2 st-pack m -o out --dequantize f16
  has stderr "there is no file 'f16'; a type goes with an equals sign: --dequantize=f16"
}

@test "experts in stacks get published names when plain" {
  mkdir m
  tensors m/model.safetensors model.layers.0.mlp.experts.gate_up_proj:F8_E4M3:2,8,4 model.layers.0.mlp.experts.gate_up_proj_scale_inv:F32:2,1,1 \
    model.layers.0.mlp.experts.down_proj:F8_E4M3:2,4,4 model.layers.0.mlp.experts.down_proj_scale_inv:F32:2,1,1 model.norm.weight:BF16:4
  echo '{"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 2, "num_hidden_layers": 1,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}' > m/config.json
  expect 5 st-pack m -o no --experts split
  has stderr '--dequantize'
  expect 0 st-pack m -o out --dequantize
  st-inspect --names out | grep -q '^model.layers.0.mlp.experts.1.up_proj.weight$'
  expect 0 st-pack m -o as-is --dequantize --names as-is
  st-inspect --names as-is | grep -q '^model.layers.0.mlp.experts.gate_up_proj$'
  expect 0 st-pack out -o back --experts stack
  expect 0 st-inspect --diff as-is back
}

@test "a quantised component of a pipeline" {
  mkdir -p pipe/text_encoder pipe/unet
  cp "$quantized"/bnb-nf4/{config.json,model.safetensors} pipe/text_encoder
  tensors pipe/unet/diffusion_pytorch_model.safetensors w.weight:BF16:4,4
  echo '{"_class_name": "UNet2DConditionModel"}' > pipe/unet/config.json
  echo '{"_class_name": "StableDiffusionPipeline", "text_encoder": ["transformers", "LlamaForCausalLM"], "unet": ["diffusers", "UNet2DConditionModel"]}' > pipe/model_index.json
  expect 0 st-pack pipe -o out --dequantize --json
  has stderr 'text_encoder: is quantised (bitsandbytes'
  echo "$output" > report
  [ "$(setting report 'c["dequantized_of_folders"][0]["folder"], "dequantized" in c')" = "('text_encoder', False)" ]
  plain "$quantized/bnb-nf4" out/text_encoder/model.safetensors
  cmp pipe/unet/config.json out/unet/config.json
}

@test "values beyond f16 are counted" {
  tensors m.safetensors x.weight:F8_E4M3:1,4 x.weight_scale_inv:F32:1,1
  # 448, 448, 448 and 1, times 1000.
  python3 -c 'import struct; d = open("m.safetensors", "rb").read(); open("m.safetensors", "wb").write(d[:-8] + bytes([0x7e, 0x7e, 0x7e, 0x38]) + struct.pack("<f", 1000))'
  expect 0 st-pack m.safetensors -o out.safetensors --dequantize=f16
  has stderr 'x.weight: 3 values overflowed'
  expect 0 st-pack m.safetensors -o - --dequantize=f16
  expect 0 st-pack m.safetensors -o out.safetensors --dequantize --force
  ! grep -q overflowed <<< "$stderr"
}

@test "merging into a quantised base is merging into the plain one" {
  local name
  adapter lora owner/full-precision
  for name in bnb-nf4 fp8-block gpt-oss-mxfp4 awq; do
    expect 0 st-pack "$quantized/$name" --adapter lora -o merged --force
    has stderr "is quantised ("
    has stderr "): merged into the dequantised weights ("
    has stderr "adapter_config.json names the base 'owner/full-precision'"
    st-pack -q "$quantized/$name" -o plain --dequantize --force
    expect 0 st-pack plain --adapter lora -o both --force
    expect 0 st-inspect --diff merged both
    diff -r merged both
    expect 1 st-inspect --diff plain merged
    has output 'q_proj.weight'
    expect 0 st-pack "$quantized/$name" --adapter lora --part 1/2 -o cut --max-shard-size 30KB --force
    expect 0 st-pack "$quantized/$name" --adapter lora -o cut --max-shard-size 30KB --force
    expect 0 st-inspect --diff merged cut
  done
  expect 0 st-pack "$quantized/bnb-nf4" --adapter lora -o wide --dequantize=f32 --dtype f32 --verify
  [ "$(st-inspect -t wide | cut -f2 | sort -u)" = F32 ]
  # A base that stays quantised is refused, and a better one named.
  cp -r "$quantized/bnb-nf4" m && chmod -R u+w m
  config m 'c["quantization_config"]["quant_method"] = "hqq"'
  expect 5 st-pack m --adapter lora -o no
  has stderr "'hqq'"
  has stderr "owner/full-precision"
  [ ! -e no ]
}
