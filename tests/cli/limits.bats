# SPDX-License-Identifier: Apache-2.0
# Limits of the shell and of disks, sizes beyond any machine, thousands of files, locales.
load helper
load hub

setup() { hub_home; }

# A model of 4 tensors of $1 bytes each, sparse.
giant() {
  mkdir "$2"
  python3 - "$1" "$2/model.safetensors" <<'PY'
import json, struct, sys
size, path = int(sys.argv[1]), sys.argv[2]
header = json.dumps({f"layer.{i}.weight": {"dtype": "BF16", "shape": [size // 8192, 4096], "data_offsets": [i * size, (i + 1) * size]} for i in range(4)}).encode()
header += b" " * (-len(header) % 8)
with open(path, "wb") as f:
    f.write(struct.pack("<Q", len(header)) + header)
    f.truncate(8 + len(header) + 4 * size)
PY
}

# Sanitizers reserve more addresses than any of these limits.

@test "a model of a terabyte is listed and planned in little memory" {
  no_sanitizer
  giant 274877906944 big 2> /dev/null || skip "the disk takes no file of a terabyte"
  expect 0 bash -c 'ulimit -v 300000; st-inspect big'
  has output "1.100 TB"
  expect 0 bash -c 'ulimit -v 300000; st-pack -n big -o out --max-shard-size 50GB --dtype f8_e4m3'
  has output "model-00001-of-"
  expect 7 st-pack big -o out --dtype f32
  has stderr "free"
  [ ! -e out ]
  expect 0 bash -c 'ulimit -v 400000; lora-extract -n --base big --tuned big -o none'
}

@test "a gigabyte is cast in a quarter of a gigabyte of addresses" {
  no_sanitizer
  giant 268435456 big
  expect 0 bash -c 'ulimit -v 262144; st-pack -q -j 2 big -o out --dtype f8_e4m3'
  expect 0 bash -c 'ulimit -v 262144; st-inspect --stats --hash out'
}

@test "a hundred thousand experts are split and stacked in the memory that their list takes" {
  no_sanitizer
  mkdir in
  python3 - <<'PY'
import json, struct
layers, experts, tensors, at = 50, 667, {}, 0
json.dump({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": experts}, open("in/config.json", "w"))
for layer in range(layers):
    for name, shape in (("gate_up_proj", [experts, 2, 1]), ("down_proj", [experts, 1, 1])):
        size = 2 * experts * shape[1]
        tensors[f"model.layers.{layer}.mlp.experts.{name}"] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
text = json.dumps(tensors).encode()
open("in/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + bytes(i % 251 for i in range(at)))
PY
  expect 0 bash -c 'ulimit -v 400000; st-pack -j 1 in -o out'
  has stderr "(100 -> 100050)"
  expect 0 bash -c 'ulimit -v 400000; st-pack -q -j 1 out -o back --experts stack'
  expect 0 st-inspect --diff in back
}

@test "a limit on the size of files is an error, no signal; nothing is left" {
  cp -r "$FIXTURES/base" in
  expect 7 bash -c 'ulimit -f 8; st-pack in -o out'
  has stderr "st-pack: "
  [ ! -e out ]
  [ "$(find . -name '.*mu-*' | wc -l)" = 0 ]
  has stderr "File too large"
}

@test "not a byte may be written: a card is an error, no signal; nothing is left" {
  no_sanitizer  # that of threads writes a file itself
  cp -r "$FIXTURES/base" in
  expect 7 bash -c 'ulimit -f 0; card-gen -i in --base a/b'
  [ ! -e in/README.md ]
  [ "$(find in -name '.*mu-*' | wc -l)" = 0 ]
}

@test "few descriptors are enough" {
  cp -r "$FIXTURES/sharded" in
  for tool in "st-inspect --hash in" "st-pack -q in -o out" "card-gen in --base a/b" "lora-extract -q --base in --tuned in -o none"; do
    run bash -c "ulimit -n 20; $tool"
    [ "$status" = 0 ] || [ "$status" = 1 ]
  done
}

@test "a disk that can only be read is named" {
  [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null || skip "needs namespaces"
  cp -r "$FIXTURES/full-run" run
  cp -r "$FIXTURES/base" in
  mkdir disk
  for tool in "st-pack in -o disk/out" "lora-extract run/checkpoint-40 --alpha 1 -o disk/out" "card-gen -i disk/model --base a/b" "ckpt-prune --keep 1 disk/run" "hub-push --endpoint file://disk/hub in a/b"; do
    run unshare -m bash -c "mount -t tmpfs none disk && cp -r run disk/run && cp -r in disk/model && mount -o remount,ro disk && $tool"
    [ "$status" = 7 ] || [ "$status" = 3 ] || [ "$status" = 4 ] || { echo "$status: $tool: $output"; return 1; }
    [[ $output != *"report it"* ]]
  done
}

@test "folders of ten thousand files" {
  mkdir many
  (cd many && cp "$FIXTURES"/base/* . && python3 -c '
for i in range(10_000): open(f"note-{i:05}.txt", "w").write("x")')
  expect 0 st-inspect many
  expect 0 st-pack -n many -o out
  expect 0 card-gen many --base a/b
  start_hub
  expect 5 hub-push -n many ada/many
  has stderr "takes 10,000 a folder"
  expect 0 hub-push -n --allow folder-size many ada/many
}

@test "the locale changes nothing" {
  cp -r "$FIXTURES/base" in
  for view in --json -t --stats; do
    LC_ALL=C st-inspect $view in > c
    for locale in C.UTF-8 de_DE.UTF-8 tr_TR.UTF-8; do
      LC_ALL=$locale st-inspect $view in > other
      cmp c other
    done
  done
  LC_ALL=C card-gen in --base a/b > c
  LC_ALL=tr_TR.UTF-8 card-gen in --base a/b > other
  cmp c other
}
