# SPDX-License-Identifier: Apache-2.0
# The names that tensors have: what wrappers add, where a state dict lies, and the options that choose by name.
load helper

# torch FILE EXPRESSION: a torch file of what EXPRESSION makes; t(n) is a tensor of n numbers.
torch() {
  PYTHONPATH=$BATS_TEST_DIRNAME python3 - "$@" <<'PY'
import io, pathlib, struct, sys
from ranks import Tensor, torch_zip, write
def t(*shape, start=0):
    n = 1
    for d in shape: n *= d
    return Tensor(struct.pack(f"<{n}f", *range(start, start + n)), "F32", shape)
write(pathlib.Path(sys.argv[1]), torch_zip("archive", eval(sys.argv[2])))
PY
}

# names_are NAME...: those of o.safetensors.
names_are() { diff <(printf '%s\n' "$@") <(st-inspect --names o.safetensors); }

# two FILE NAME NAME: a file of two tensors with three numbers each.
two() { safetensors "$1" "{$(tensor "$2" F32 '[3]' 0 12),$(tensor "$3" F32 '[3]' 12 24)}" 24; }

pack() { expect "$1" st-pack "${@:2}" --force -o o.safetensors; }

@test "names are freed of wrappers, in safetensors too" {
  two in.safetensors module._orig_mod.a.weight module._orig_mod.b.weight
  pack 0 in.safetensors
  names_are a.weight b.weight
  has stderr "'_orig_mod.' removed from 2 names"
  has stderr "'module.' removed from 2 names"
  two in.safetensors base_model.model.a.weight base_model.model.b.weight
  pack 0 in.safetensors --rename 's/^a/c/'
  names_are b.weight c.weight
  two in.safetensors model.a.weight model.b.weight
  pack 0 in.safetensors
  cmp <(st-inspect --names in.safetensors) <(st-inspect --names o.safetensors)
  [[ $stderr != *removed* ]]
}

@test "names stay, with the reason, where a wrapper may be something else" {
  two in.safetensors module.a b
  pack 0 in.safetensors
  names_are b module.a
  has stderr "'module.' stays at the beginning of 1 of 2 names"
  two in.safetensors _orig_mod.a a
  pack 0 in.safetensors
  names_are _orig_mod.a a
  has stderr "would have one name"
  two in.safetensors module.a module.q.lora_A.weight
  pack 0 in.safetensors
  names_are module.a module.q.lora_A.weight
  has stderr "is a tensor of an adapter"
  expect 0 st-pack "$FIXTURES/lora-adapter" -o adapter
  cmp <(st-inspect --names adapter) <(st-inspect --names "$FIXTURES/lora-adapter")
  [[ $stderr != *base_model* ]]
}

@test "a folder of wrapped shards becomes the model, its copies of tied embeddings dropped" {
  mkdir in
  cp "$FIXTURES/tied/config.json" in
  expect 0 st-pack "$FIXTURES/tied" -o - --rename 's/^/_orig_mod./'
  st-pack "$FIXTURES/tied" -o in/model.safetensors --rename 's/^/_orig_mod./'
  expect 0 st-pack in -o out
  expect 0 st-inspect --diff "$FIXTURES/tied" out
}

@test "a state dict below any key" {
  torch f.pt '{"ema": {"a.weight": t(2)}, "iter": 7, "optimizer": {"state": {0: {"x": t(2)}}, "param_groups": []}}'
  pack 0 f.pt
  names_are a.weight
  has stderr "the weights are under 'ema' of f.pt"
  torch f.pt '{"generator": {"a": t(2)}, "discriminator": {"b": t(2)}}'
  pack 4 f.pt
  has stderr "holds several state dicts: 'generator', 'discriminator'"
  has stderr "--key"
  pack 0 f.pt --key discriminator
  names_are b
  pack 4 f.pt --key nowhere
  has stderr "no state dict under 'nowhere'"
  torch f.pt '{"model": {"a": t(2)}, "ema": {"a": t(2, start=5)}}'
  pack 0 f.pt
  has stderr "another is under 'ema'"
  pack 0 f.pt --key ema
  mkdir folder
  torch folder/pytorch_model.bin '{"ema": {"a": t(2)}, "net": {"b": t(2)}}'
  echo '{}' > folder/config.json
  expect 0 st-pack folder --key net -o out
  [ "$(st-inspect --names out)" = b ]
  expect 0 st-pack - --key net -o - < folder/pytorch_model.bin
}

@test "--key where it means nothing is wrong usage" {
  torch f.pt '{"a": t(2)}'
  pack 2 f.pt --key a
  pack 2 "$FIXTURES/tied" --key a
  pack 2 "$FIXTURES/tied/model.safetensors" --key a
  pack 2 "$FIXTURES/formats/one.npy" --key a
  pack 2 "$FIXTURES/zero3-run/checkpoint-1" --key a
  [ ! -e o.safetensors ]
}

@test "bytes in an io.BytesIO are harmless and left out" {
  torch f.pt '{"a.weight": t(2), "a._extra_state": io.BytesIO(b"123")}'
  pack 0 f.pt
  names_are a.weight
  has stderr "a._extra_state (_io.BytesIO)"
  expect 0 st-inspect --check f.pt
}

@test "options choose by the names that st-inspect lists, and by those without a wrapper" {
  two in.safetensors module.a.weight module.b.weight
  for name in module.a.weight a.weight; do
    pack 0 in.safetensors --select $name
    names_are a.weight
    pack 0 in.safetensors --exclude "$name"
    names_are b.weight
    pack 0 in.safetensors --dtype "$name=bf16"
    has output ''
    [ "$(st-inspect -t o.safetensors | grep -ci bf16)" = 1 ]
  done
  st-inspect --names in.safetensors > list
  pack 0 in.safetensors --names-from list
  echo module.c > list
  pack 4 in.safetensors --names-from list
  has stderr "'module.c'"
}

@test "a glob or a rule that matches nothing gives a warning" {
  two in.safetensors a b
  pack 0 in.safetensors --select a --select 'x*' --exclude y --dtype 'z=f16' --rename s/q/r/
  for text in "--select 'x*'" "--exclude 'y'" "--dtype 'z=f16'" "--rename 's/q/r/'"; do
    has stderr "warning: $text matches no tensor"
  done
  expect 0 st-pack in.safetensors -o new.safetensors -n --exclude y
  has stderr "--exclude 'y' matches no tensor"
  pack 0 in.safetensors --select 'a' --exclude 'b' --rename s/a/c/
  [[ $stderr != *warning* ]]
}

@test "placeholders of ZeRO-3 are counted among what is taken" {
  safetensors in.safetensors "{$(tensor a.weight F32 '[0]' 0 0),$(tensor b.weight F32 '[3]' 0 12)}" 12
  pack 4 in.safetensors
  has stderr "1 of 2 tensors has shape [0]"
  pack 0 in.safetensors --exclude a.weight
  names_are b.weight
  pack 4 in.safetensors --select 'a*'
  has stderr "1 of 1 tensor has shape [0]"
}

@test "an adapter is not a base model" {
  expect 4 st-pack "$FIXTURES/lora-adapter" --adapter "$FIXTURES/lora-adapter" -o out
  has stderr "is an adapter, not a base model"
  expect 4 st-pack "$FIXTURES/lora-adapter/adapter_model.safetensors" --adapter "$FIXTURES/lora-adapter" -o out
  expect 4 st-pack "$FIXTURES/zero3-run/checkpoint-1" --base "$FIXTURES/lora-adapter" -o out
  expect 4 lora-extract --base "$FIXTURES/lora-adapter" --tuned "$FIXTURES/base" --rank 2 -o out
  [ ! -e out ]
}

@test "a tensor without a name is refused, and the message says how to give it one" {
  two in.safetensors '' b
  pack 5 in.safetensors
  has stderr "empty name; st-pack(1) shows how to give it one"
  [[ $stderr != *--exclude* && $stderr != *--rename* ]]
  pack 0 in.safetensors --exclude ''
  names_are b
  pack 0 in.safetensors --rename 's/^$/c/'
  names_are b c
}

@test "an output whose name ends as another format's is wrong usage" {
  for ending in gguf bin pt pth ckpt npz h5 onnx msgpack PT; do
    expect 2 st-pack "$FIXTURES/tied" -o "out.$ending"
    [ ! -e "out.$ending" ]
  done
  expect 0 st-pack "$FIXTURES/tied" -o qwen2.5
  [ -f qwen2.5/model.safetensors ]
  expect 0 st-pack "$FIXTURES/tied" -o "out.bin/"
  [ -f out.bin/model.safetensors ]
}

@test "the file of a run of one process packs like any torch file, with the config beside it" {
  mkdir -p actor/huggingface
  torch actor/model_world_size_1_rank_0.pt '{"a.weight": t(2, 3)}'
  torch actor/optim_world_size_1_rank_0.pt '{"state": {}}'
  cp "$FIXTURES/base/config.json" actor/huggingface
  expect 0 st-pack actor -o out
  [ "$(st-inspect --names out)" = a.weight ]
  cmp out/config.json actor/huggingface/config.json
  touch actor/model_world_size_2_rank_1.pt
  expect 4 st-pack actor -o out --force
  has stderr "FS-COUNT"
}
