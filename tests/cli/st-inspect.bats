# SPDX-License-Identifier: Apache-2.0
load helper

# Runs in the fixtures, so that paths in golden outputs are short.
in_fixtures() { cd "$FIXTURES" || return; }

@test "overview of a checkpoint, an adapter, shards" {
  in_fixtures
  for path in full-run/checkpoint-40 lora-run/checkpoint-40 sharded tied; do
    expect 0 st-inspect "$path"
    golden "st-inspect-${path//\//-}.txt"
  done
}

@test "listings" {
  in_fixtures
  expect 0 st-inspect -t sharded
  golden st-inspect-tensors.tsv
  expect 0 st-inspect --tree=3 full-run/checkpoint-40
  golden st-inspect-tree.txt
  expect 0 st-inspect --names --filter '*norm*' --filter 'lm_head*' --sort name sharded
  golden st-inspect-names.txt
  expect 0 st-inspect --json sharded
  golden st-inspect.json
  python3 -m json.tool <<< "$output" > /dev/null
}

@test "statistics and hashes" {
  in_fixtures
  expect 0 st-inspect --stats tied
  golden st-inspect-stats.tsv
  expect 0 st-inspect --hash sharded
  golden st-inspect-hash.tsv
  has output "$(sha256sum < sharded/model-00001-of-00003.safetensors | cut -d' ' -f1)"
  for threads in 1 2 5; do
    expect 0 st-inspect --stats -j $threads tied
    golden st-inspect-stats.tsv
  done
}

@test "the content digest survives packing and sharding" {
  digest() { st-inspect --hash "$1" | grep ^content | cut -f2; }
  st-pack -q "$FIXTURES/base" -o out --max-shard-size 30KB --metadata a=b
  [ "$(ls out/*.safetensors | wc -l)" -gt 3 ]
  [ "$(digest "$FIXTURES/base")" = "$(digest out)" ]
  [ "$(digest "$FIXTURES/base")" != "$(digest "$FIXTURES/tied")" ]
}

@test "--check: exit codes by level" {
  expect 0 st-inspect --check=hub "$FIXTURES/full-run/checkpoint-40"
  safetensors plain.safetensors "{$(tensor a U8 '[1]' 0 1),$(tensor b F32 '[1]' 1 5)}" 5
  expect 0 st-inspect --check=loads plain.safetensors
  expect 1 st-inspect --check plain.safetensors
  has output "[ST-ALIGN spec warning]"
  head -c 20000 "$FIXTURES/base/model.safetensors" > cut
  expect 4 st-inspect --check=loads cut
  has output "byte 20000: the file ends 138,424 bytes early: of 21 tensors 0 before 'lm_head.weight' survive"
  expect 4 st-inspect cut
  has stderr "[ST-SIZE]"
  expect 7 st-inspect --check missing
}

@test "--check=hub: folders that are not complete" {
  fault() { has output "$1"; }
  cp -r "$FIXTURES/full-run/checkpoint-40" f && chmod -R u+w f
  rm f/tokenizer.json
  expect 1 st-inspect --check=hub f
  fault MD-TOKENIZER
  sed -i 's/float32/bfloat16/' f/config.json
  expect 1 st-inspect --check=hub f
  fault "says bfloat16 but the tensors are float32 [MD-DTYPE"
  rm f/config.json
  expect 1 st-inspect --check=hub f
  fault MD-CONFIG
  expect 0 st-inspect --check=spec f
  cp f/model.safetensors f/model-00001-of-00007.safetensors
  cp "$FIXTURES/sharded/model.safetensors.index.json" f
  expect 1 st-inspect --check=hub f
  fault MD-BOTH
  fault MD-LEFTOVER
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 17\n' > f/tokenizer.json
  expect 1 st-inspect --check=hub f
  fault MD-LFS
  echo '{' > f/config.json
  expect 1 st-inspect --check=hub f
  fault MD-JSON
  cp -r "$FIXTURES/tied" t && chmod -R u+w t
  sed -i 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' t/config.json
  expect 1 st-inspect --check=hub t
  fault MD-TIED
}

@test "--check=hub: sets without an index, checkpoints that were cut off or moved" {
  cp -r "$FIXTURES/sharded" s && chmod -R u+w s
  rm s/model.safetensors.index.json
  expect 1 st-inspect --check=hub s
  has output MD-INDEX
  cp -r "$FIXTURES/full-run/checkpoint-40" checkpoint-41 && chmod -R u+w checkpoint-41
  touch checkpoint-41/checkpoint-is-incomplete.txt
  expect 1 st-inspect --check=hub checkpoint-41
  has output MD-STEP
  has output MD-INCOMPLETE
  expect 0 st-inspect -v checkpoint-41
  has output MD-INCOMPLETE
}

@test "--check with --stats looks into the data" {
  safetensors b.safetensors "{$(tensor b BOOL '[2]' 0 2)}" 2
  printf '\x02' | dd of=b.safetensors bs=1 seek=$(($(stat -c %s b.safetensors) - 1)) conv=notrunc 2> /dev/null
  expect 0 st-inspect --check b.safetensors
  expect 1 st-inspect --check --stats b.safetensors
  has output ST-BOOL
}

@test "colours and progress only where they are wanted" {
  expect 0 st-inspect --color=always "$FIXTURES/tied"
  has output $'\x1b['
  for arguments in "" --color=auto --color=never; do
    expect 0 st-inspect $arguments "$FIXTURES/tied"
    ! grep -q $'\x1b' <<< "$output"
  done
  expect 0 st-inspect --hash "$FIXTURES/tied"
  [ -z "$stderr" ]
  expect 0 st-inspect --hash --no-progress --progress "$FIXTURES/tied"
}

@test "--check: index against shards" {
  cp -r "$FIXTURES/sharded" s && chmod -R u+w s
  sed -i 's/"model.norm.weight": "model-00003/"model.norm.weight": "model-00001/; s/78144/1/' s/model.safetensors.index.json
  expect 1 st-inspect --check s
  has output IX-MISSING
  has output IX-TOTAL
  rm s/model-00002-of-00003.safetensors
  expect 4 st-inspect --check s
  has output "IX-SHARD"
  expect 4 st-inspect s
  sed -i 's/"model-00002-of-00003/"..\/model-00002-of-00003/' s/model.safetensors.index.json
  expect 4 st-inspect s
  has stderr "leads out of the folder"
}

@test "files that are something else are named" {
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4976698672\n' > model.safetensors
  expect 4 st-inspect model.safetensors
  has stderr "Git LFS pointer (4.977 GB)"
  has stderr "git lfs pull"
  echo '<!DOCTYPE html>' > page.safetensors
  expect 4 st-inspect page.safetensors
  has stderr "web page"
  printf '7z\xbc\xaf\x27\x1c\x00\x04' > model.bin
  expect 4 st-inspect model.bin
  has stderr "7-Zip archive"
  printf 'PYTORCH1 and more' > model.pt
  expect 4 st-pack model.pt -o out
  has stderr "preview of torch's format"
  # A picture and a text that are called otherwise.
  printf '\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR' > picture.pt
  echo 'hello there, this is not a pickle' > text.bin
  for file in picture.pt text.bin; do
    expect 4 st-pack "$file" -o out
    has stderr "$file: byte"
    [ ! -e out ]
  done
  : > empty.safetensors
  expect 4 st-inspect empty.safetensors
  has stderr "the file is empty"
  mkdir folder
  expect 4 st-inspect folder
  has stderr "no weights in this folder"
  mkdir -p run/checkpoint-7
  expect 4 st-inspect run
  has stderr "checkpoint-7"
}

@test "standard input, as a pipe and as a file" {
  file=$FIXTURES/tied/model.safetensors
  for view in "" -t --names --header --stats --hash --check "--print model.norm.weight[0:2]"; do
    st-inspect $view "$file" | sed "s|$file|-|; s|model.safetensors|-|" > expected
    cat "$file" | st-inspect $view - | diff expected -
    st-inspect $view - < "$file" | diff expected -
  done
  # A header needs no more than the header: the writer is told to stop.
  expect 0 bash -c "(head -c 3000 '$file'; sleep 0; cat '$file') | st-inspect --names -"
  expect 4 bash -c "head -c 5000 '$file' | st-inspect -"
  expect 4 bash -c ": | st-inspect -"
}

@test "--print: slices" {
  in_fixtures
  expect 0 st-inspect --print 'model.norm.weight[0:3]' tied
  [ "$output" = "1 1 1" ]
  expect 0 st-inspect --print 'model.layers.0.mlp.down_proj.weight[0:2,-2:]' tied
  golden st-inspect-print.txt
  expect 0 st-inspect --json --print 'model.layers.0.mlp.down_proj.weight[0,:2]' tied
  has output '"shape":[2]'
  expect 4 st-inspect --print 'nobody[0]' tied
  expect 2 st-inspect --print 'model.norm.weight[99]' tied
  expect 2 st-inspect --print 'model.norm.weight[0,0]' tied
  expect 2 st-inspect --print 'model.norm.weight[x]' tied
}

@test "--diff: same, different, renamed" {
  st-pack -q "$FIXTURES/base" -o out --dtype bf16
  expect 0 st-inspect --diff "$FIXTURES/base" "$FIXTURES/base"
  [ "$output" = "same: 21 tensors" ]
  expect 1 st-inspect --diff "$FIXTURES/base" out
  has output "f32 against bf16"
  expect 0 st-inspect --diff --ignore-dtype --rtol 0.01 --atol 0.001 "$FIXTURES/base" out
  expect 1 st-inspect --diff --rtol 0.01 --atol 0.001 "$FIXTURES/base" out
  st-pack -q "$FIXTURES/base" -o renamed --rename 's/^model\./m./'
  expect 1 st-inspect --diff "$FIXTURES/base" renamed
  has output "- model.norm.weight"
  has output "+ m.norm.weight"
  expect 0 st-inspect --diff --map 's/^model\./m./' "$FIXTURES/base" renamed
  expect 1 st-inspect --diff --json "$FIXTURES/base" out
  python3 -m json.tool <<< "$output" > /dev/null
  expect 7 st-inspect --diff "$FIXTURES/base" missing
}

@test "--fail-on" {
  python3 - <<'PY'
import struct
h = b'{"t":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
h += b" " * (-len(h) % 8)
for name, values in (("nan", (1.0, float("nan"))), ("inf", (1.0, float("inf"))), ("fine", (1.0, 2.0))):
    open(name, "wb").write(struct.pack("<Q", len(h)) + h + struct.pack("<2f", *values))
PY
  expect 0 st-inspect --fail-on nan,inf fine
  expect 1 st-inspect --fail-on nan nan
  expect 0 st-inspect --fail-on inf nan
  expect 1 st-inspect --fail-on nan,inf inf
  expect 1 st-inspect --fail-on inf --json inf
}

@test "metadata" {
  safetensors m.safetensors '{"__metadata__":{"format":"pt","ss":"{\\"a\\":1}","long":"'"$(printf 'x%.0s' {1..500})"'"}}' 0
  expect 0 st-inspect --metadata m.safetensors
  has output 'ss = {"a":1}'
  has output '(500 bytes)'
  expect 0 st-inspect --metadata=ss m.safetensors
  [ "$output" = '{"a":1}' ]
  expect 1 st-inspect --metadata=nothing m.safetensors
}

@test "torch, NumPy and GGUF files" {
  in_fixtures
  expect 0 st-inspect torch/odd-tensors.pt torch/legacy.pt torch/model-sharded formats/arrays.npz formats/arrays-deflated.npz \
    formats/one.npy formats/tiny.gguf
  golden st-inspect-formats.txt
  expect 0 st-inspect --hash torch/odd-tensors.pt
  golden st-inspect-hash-odd.tsv
  expect 0 st-inspect --stats formats/arrays.npz
  [[ $output == *$'\nc\ti16\t6\t'* ]]
  expect 0 st-inspect --print 'b[0:2]' formats/arrays.npz
  [ "${#lines[@]}" = 2 ]
  expect 4 st-inspect formats/object.npy
  has stderr "Python objects"
  expect 4 st-inspect --header torch/legacy.pt
}

@test "pickles: what they hold" {
  in_fixtures
  expect 0 st-inspect torch/training.pth torch/whole-module.pt full-run/checkpoint-40/{optimizer.pt,scheduler.pt,rng_state.pth}
  golden st-inspect-pickles.txt
  expect 0 st-inspect --tree=1 full-run/checkpoint-40/optimizer.pt
  [ "${lines[0]}" = "state         dict of 21" ]
  expect 0 st-inspect --metadata=learning_rate full-run/checkpoint-40/training_args.bin
  [ "$output" = 0.02 ]
  expect 0 st-inspect --metadata=lr_scheduler_type full-run/checkpoint-40/training_args.bin
  [ "$output" = linear ]
  expect 0 st-inspect --metadata full-run/checkpoint-40/training_args.bin
  [[ $output == *$'per_device_train_batch_size\tint\t4'* ]]
  expect 1 st-inspect --metadata=nothing full-run/checkpoint-40/training_args.bin
  expect 0 st-inspect --json full-run/checkpoint-40/training_args.bin
  jq -e '.object.fields[] | select(.name == "bf16") | .value == false' <<< "$output"
  jq -e '.pickles[0].verdict == "harmless" and (.pickles[0].weights_only | not)' <<< "$output"
}

@test "pickles: moments by dtype, generators that are not saved" {
  python3 - <<'PY'
import struct, zipfile
text = lambda s: b"X" + struct.pack("<I", len(s)) + s.encode()
tensor = lambda kind, key: (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key)
                            + text("cpu") + b"K\4tQK\0K\4\x85K\1\x85\x89}tR")
state = b"}K\0}" + text("state1") + tensor("ByteStorage", "0") + b"ssK\1}" + text("state1") + tensor("FloatStorage", "1") + b"ss"
with zipfile.ZipFile("optimizer.pt", "w") as z:
    z.writestr("x/data.pkl", b"\x80\2}" + text("state") + state + b"s" + text("param_groups") + b"]s.")
    z.writestr("x/data/0", bytes(4))
    z.writestr("x/data/1", bytes(16))
open("rng.pkl", "wb").write(b"\x80\2}" + text("python") + b"K\3s" + text("numpy") + b"Ns.")
PY
  expect 0 st-inspect optimizer.pt
  [[ $output =~ state1\ +f32\ +1\ +4\ +16\ B ]]
  [[ $output =~ state1\ +u8\ +1\ +4\ +4\ B ]]
  expect 0 st-inspect rng.pkl
  [[ $output =~ numpy\ +None ]]
  has output "Mersenne Twister"
}

@test "pickles: what they would call" {
  in_fixtures
  for file in full-run/checkpoint-40/*.{pt,pth,bin} torch/{legacy.pt,training.pth,odd-tensors.pt}; do
    expect 0 st-inspect --check "$file"
  done
  expect 4 st-inspect torch/unsafe.pt
  has output "dangerous pickle: names posix.system"
  for file in torch/unsafe.pt torch/unsafe-plain.pkl; do
    expect 4 st-inspect --check "$file"
    has output "dangerous posix.system"
    has output "REDUCE would call posix.system"
    has output "weights_only=True) refuses it"
    [[ $output != *sound* ]]
    expect 4 st-inspect --names "$file"
  done
  printf 'cmine\nThing\n)R.' > "$BATS_TEST_TMPDIR/unknown.pkl"
  expect 1 st-inspect --check "$BATS_TEST_TMPDIR/unknown.pkl"
  has output "unknown mine.Thing"
  expect 0 st-inspect "$BATS_TEST_TMPDIR/unknown.pkl"
  # The payload comes first and the file breaks after it.
  printf 'cos\nsystem\n(Vid\ntR\xff' > "$BATS_TEST_TMPDIR/broken.pkl"
  expect 4 st-inspect --check "$BATS_TEST_TMPDIR/broken.pkl"
  has output "dangerous os.system"
  has output "byte 18: broken here: opcode 0xff is unknown"
  [ ! -e PWNED ]
}

@test "pickles, archives and headers that would cost without end" {
  no_sanitizer
  no_counting
  expect 0 python3 "$BATS_TEST_DIRNAME/hostile.py" "$BATS_TEST_TMPDIR"
  [ -z "$output" ]
}

@test "a dangerous pickle is never passed over in silence" {
  in_fixtures
  for view in --names --tensors --tree --stats --hash --metadata; do
    expect 4 st-inspect $view torch/unsafe.pt
    has stderr "byte 169: a pickle that is dangerous to load: it names posix.system"
  done
  expect 4 st-inspect --diff torch/unsafe.pt torch/unsafe.pt
  has stderr "dangerous to load"
  expect 4 st-inspect --json torch/unsafe.pt
  [ -z "$stderr" ]
  jq -e '.pickles[0].verdict == "dangerous"' <<< "$output"
}

@test "a shard that is a link to no regular file is refused at once" {
  mkfifo pipe
  for target in pipe /dev/zero . nothing; do
    ln -sf -T "$target" pytorch_model-00001-of-00001.bin
    printf '{"weight_map":{"a":"pytorch_model-00001-of-00001.bin"}}' > pytorch_model.bin.index.json
    run -- timeout 5 st-pack pytorch_model.bin.index.json -o out
    [ "$status" = 7 ] || [ "$status" = 4 ]
    [ ! -e out ]
  done
  for name in ../x.bin /etc/passwd a/../../x.bin; do
    printf '{"weight_map":{"a":"%s"}}' "$name" > pytorch_model.bin.index.json
    expect 4 st-pack pytorch_model.bin.index.json -o out
    [ ! -e out ]
  done
}

@test "tokens in arguments are not shown" {
  printf '(dS"hub_token"\nS"hf_abcdefghijklmnopqrstuvwxyz"\nsS"note"\nS"see hf_abcdefghijklmnopqrstuvwxyz."\nsS"eos_token"\nS"</s>"\ns.' > a.pkl
  for view in "" --metadata --metadata=note --tree --json; do
    expect 0 st-inspect $view a.pkl
    has output "***"
    [[ $output != *hf_abc* ]]
  done
  expect 0 st-inspect --metadata=eos_token a.pkl
  [ "$output" = "</s>" ]
  # Wrapped in an object, in a list, as a number.
  printf '(dS"api_key"\ncpydantic.types\nSecretStr\n)R(dS"_secret_value"\nS"abcdef"\nsbsS"hub_token"\n(lS"abcdef"\nasS"password"\nI123456\ns.' > b.pkl
  for view in "" --metadata --metadata=password --metadata=api_key --tree --json; do
    expect 0 st-inspect $view b.pkl
    has output "***"
    [[ $output != *abcdef* && $output != *123456* ]]
  done
}
