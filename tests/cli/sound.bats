# Sound means that loaders load it: what --check finds in names, shapes and configs.
bats_require_minimum_version 1.5.0
load helper

tensors() { python3 "$BATS_TEST_DIRNAME/tensors.py" "$@"; }
# model TENSOR...: the folder m with a small config and these tensors.
model() {
  rm -rf m && mkdir m && echo "${config:-{\}}" > m/config.json && echo '{}' > m/tokenizer.json
  tensors m/model.safetensors "$@"
}
# adapter CONFIG TENSOR...: the folder ad.
adapter() {
  rm -rf ad && mkdir ad && echo "$1" > ad/adapter_config.json
  shift && tensors ad/adapter_model.safetensors "$@"
}
lora() { echo base_model.model.q.lora_A.weight:F32:"$1",8 base_model.model.q.lora_B.weight:F32:8,"$1"; }
hub() { expect "$1" st-inspect --check=hub "$2" && has output "$3"; }

@test "--check=hub: placeholders of ZeRO stage 3" {
  model embed.weight:F32:0 norm.weight:F32:8
  hub 1 m "1 of 2 tensors have shape [0], such as 'embed.weight'"
  has output '[MD-PLACEHOLDER hub error]'
  expect 0 st-inspect --check m
  model embed.weight:F32:0 norm.weight:F32:0
  hub 1 m '2 of 2 tensors have shape [0]'
  model embed.weight:F32:8,8 norm.bias:BF16:0
  hub 1 m norm.bias
  # A file alone, too.
  hub 1 m/model.safetensors MD-PLACEHOLDER
  # Buffers of integers and what belongs to quantised weights may be empty, as may a matrix.
  model x.weight:F32:8,8 ids:I64:0 y.weight:F32:0,8 scaled_fp8:F8_E4M3:0
  hub 0 m sound
}

@test "--check=hub: names of wrappers" {
  model module.a.weight:F32:8,8 module.b.bias:F32:8
  hub 1 m "m: 'module.' of a wrapper in 2 names: loaders don't find them; st-pack removes it [MD-WRAPPER hub error]"
  expect 0 st-inspect --check m
  hub 1 m/model.safetensors "'module.' of a wrapper"
  model _orig_mod.a.weight:F32:8,8 _orig_mod.b.bias:F32:8
  hub 1 m "'_orig_mod.' of a wrapper in 2 names"
  model a._fsdp_wrapped_module.weight:F32:8,8 b.bias:F32:8
  hub 1 m "'_fsdp_wrapped_module.' of a wrapper in 1 name"
  model module.module.a.weight:F32:8,8
  hub 1 m "'module.module.' of a wrapper"
  model base_model.model.a.weight:F32:8,8
  hub 1 m "'base_model.model.' of a wrapper"
  # A model may have a part that is called so.
  model module.a.weight:F32:8,8 head.weight:F32:8
  hub 0 m sound
  adapter '{"peft_type":"LORA","r":4}' $(lora 4)
  hub 0 ad sound
  adapter '{"peft_type":"LORA","r":4}' $(lora 4 | sed 's/base_model/module.&/g')
  hub 1 ad "'module.' of a wrapper begins all names of the adapter"
  adapter '{"peft_type":"LORA","r":4}' $(lora 4 | sed 's/model.q/model._orig_mod.q/g')
  hub 1 ad "'_orig_mod.' of a wrapper in 2 names"
}

@test "--check: adapters without values, or of another rank than their config" {
  local lora='"peft_type":"LORA"'
  adapter "{$lora,\"r\":4}"
  expect 1 st-inspect --check ad
  has output 'the adapter holds no tensors [AD-EMPTY spec error]'
  adapter "{$lora,\"r\":4}" base_model.model.q.lora_A.weight:F32:0 base_model.model.q.lora_B.weight:F32:0
  expect 1 st-inspect --check ad
  has output 'all tensors of the adapter are empty'
  adapter "{$lora,\"r\":4}" $(lora 4) base_model.model.k.lora_A.weight:F32:0
  hub 1 ad "1 of 3 tensors have shape [0]"
  adapter "{$lora,\"r\":4}" $(lora 4)
  hub 0 ad sound
  adapter "{$lora,\"r\":16}" $(lora 4)
  hub 1 ad "'base_model.model.q.lora_A.weight' has rank 4, the config says 16 (and 1 more differ): PEFT refuses the adapter [AD-RANK"
  adapter "{$lora}" $(lora 4)
  hub 1 ad 'has rank 4, the config says 8'
  adapter "{$lora,\"r\":4}" base_model.model.e.lora_embedding_A:F32:4,30 base_model.model.e.lora_embedding_B:F32:8,2
  hub 1 ad "lora_embedding_B' has rank 2"
  # All experts of a parameter are in one factor.
  adapter "{$lora,\"r\":4,\"target_parameters\":[\"experts.up\"]}" base_model.model.experts.lora_A.weight:F32:12,8 base_model.model.experts.lora_B.weight:F32:8,12
  hub 0 ad sound
  # Ranks of single modules.
  adapter "{$lora,\"r\":16,\"rank_pattern\":{\"(q|k)\":4}}" $(lora 4)
  hub 0 ad sound
  adapter "{$lora,\"r\":4,\"rank_pattern\":{\"q\":8}}" $(lora 4)
  hub 1 ad 'has rank 4, the config says 8'
  adapter "{$lora,\"r\":4,\"rank_pattern\":{\"q**\":8}}" $(lora 4)
  hub 1 ad "rank_pattern: the pattern 'q**' can't be used: a repetition is repeated [AD-CONFIG"
  # Other kinds have other shapes.
  adapter '{"peft_type":"VERA","r":256}' base_model.model.q.vera_lambda_b:F32:8
  hub 0 ad sound
}

@test "a rank is a positive whole number" {
  local r
  for r in 0 -4 4.0 1e1 true '"4"' null '[4]' 99999999; do
    adapter "{\"peft_type\":\"LORA\",\"r\":$r}" $(lora 4)
    hub 1 ad 'ad/adapter_config.json: r is '
    has output 'AD-CONFIG'
    tensors base.safetensors q.weight:F32:8,8
    expect 4 st-pack base.safetensors -o out.safetensors --adapter ad
    has stderr 'ad/adapter_config.json: r is '
  done
  adapter '{"peft_type":"LORA","r":4,"rank_pattern":{"q":2.5}}' $(lora 4)
  hub 1 ad "rank_pattern: the rank of 'q' is 2.5"
  expect 4 st-pack base.safetensors -o out.safetensors --adapter ad
}

@test "--check=hub: the dtype of nested configs and mixed models" {
  config='{"dtype":"bfloat16"}' model a.weight:F32:4 b.weight:BF16:4
  hub 0 m sound
  config='{"text_config":{"dtype":"bfloat16"},"dtype":"float32"}' model a.weight:BF16:4
  hub 0 m sound
  config='{"text_config":{"torch_dtype":"float16"},"vision_config":{"dtype":"bfloat16"}}' model a.weight:BF16:4
  hub 0 m sound
  config='{"dtype":"float32","encoder":{"model_type":"t5","dtype":"bfloat16"}}' model a.weight:BF16:4
  hub 0 m sound
  config='{"text_config":{"dtype":"float16"}}' model a.weight:BF16:4 ids:I64:4
  hub 1 m 'says float16 but the tensors are bfloat16 [MD-DTYPE'
  config='{"dtype":"float16"}' model ids:I64:4
  hub 0 m sound
}

@test "--fail-on says what it can't look into" {
  python3 - <<'PY'
import struct
def text(s): return struct.pack("<Q", len(s)) + s
def gguf(name, kinds):
    head = b"GGUF" + struct.pack("<IQQ", 3, len(kinds), 1) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    data = b""
    for i, (kind, values) in enumerate(kinds):
        head += text(b"t%d" % i) + struct.pack("<IQIQ", 1, 32, kind, len(data))
        data += values + bytes(-len(values) % 32)
    open(name, "wb").write(head + bytes(-len(head) % 32) + data)
q8 = struct.pack("<e", float("inf")) + bytes(32)
gguf("q8.gguf", [(8, q8)])
gguf("both.gguf", [(8, q8), (0, struct.pack("<32f", *[float("nan")] * 32))])
gguf("f32.gguf", [(0, bytes(128))])
PY
  expect 3 st-inspect --stats --fail-on nan,inf q8.gguf
  has stderr "q8.gguf: --fail-on can't look into 1 of 1 tensor, such as 't0': the type q8_0 is not read"
  expect 3 st-inspect --json --fail-on inf q8.gguf f32.gguf
  expect 1 st-inspect --fail-on nan both.gguf
  expect 1 st-inspect --fail-on nan q8.gguf both.gguf
  expect 0 st-inspect --fail-on nan,inf f32.gguf
  expect 0 st-inspect --fail-on nan,inf both.gguf --filter none
  expect 0 st-inspect --stats q8.gguf
}

@test "every view has the same verdict on broken inputs" {
  # With sanitizers, which take a hundred times as long to start, each tenth input.
  python3 "$BATS_TEST_DIRNAME/verdicts.py" "$FIXTURES" inputs $(ldd "$BIN_DIR/st-pack" | grep -qE 'asan|tsan' && echo 10)
}
