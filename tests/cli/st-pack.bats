# SPDX-License-Identifier: Apache-2.0
load helper

hidden() { find . -maxdepth 1 -name '.*.mu-*'; }

@test "a checkpoint becomes a model folder" {
  expect 0 st-pack "$FIXTURES/full-run/checkpoint-40" -o out
  [ -z "$output" ]
  has stderr "out: 21 tensors in 1 weights file"
  diff <(ls out) - <<'LIST'
chat_template.jinja
config.json
generation_config.json
model.safetensors
tokenizer.json
tokenizer_config.json
LIST
  for file in out/*; do cmp "$file" "$FIXTURES/full-run/checkpoint-40/${file#out/}"; done
  [ -z "$(hidden)" ]
}

@test "the dry run tells each file's fate and writes nothing" {
  cd "$FIXTURES"
  expect 0 st-pack full-run/checkpoint-40 -o /nowhere/out -n
  golden st-pack-plan.txt
  expect 0 st-pack lora-run/checkpoint-40 -o /nowhere/out -n --dtype f16
  golden st-pack-plan-lora.txt
  expect 0 st-pack full-run/checkpoint-40 -o /nowhere/out -n --json --weights-only
  golden st-pack-plan.json
  python3 -m json.tool <<< "$output" > /dev/null
}

@test "--json after the fact" {
  expect 0 st-pack "$FIXTURES/tied" -o out --json -q
  python3 -c 'import json,sys; d=json.load(sys.stdin); assert d["done"] and d["schema"]=="modelutils.st-pack/1"' <<< "$output"
  [ -z "$stderr" ]
}

@test "a file, a stream, several inputs, arrays" {
  expect 0 st-pack "$FIXTURES/tied/model.safetensors" -o one.safetensors
  cmp one.safetensors "$FIXTURES/tied/model.safetensors"
  st-pack "$FIXTURES/tied" -o - | cmp - one.safetensors
  cat one.safetensors | st-pack - -o - | cmp - one.safetensors
  expect 0 st-pack "$FIXTURES"/sharded/*.safetensors -o merged.safetensors
  expect 0 st-inspect --diff merged.safetensors "$FIXTURES/sharded"
  expect 0 st-pack "$FIXTURES/sharded/model.safetensors.index.json" -o merged
  [ "$(ls merged)" = model.safetensors ]
  expect 0 st-pack one.safetensors "extra=$FIXTURES/formats/one.npy" -o both.safetensors
  st-inspect --names both.safetensors | grep -qx extra
  expect 0 st-pack both.safetensors --select extra -o extra.npy
  cmp <(tail -c +129 extra.npy) <(tail -c +129 "$FIXTURES/formats/one.npy")
  expect 5 st-pack one.safetensors -o many.npy
  expect 5 st-pack "$FIXTURES/sharded" --select model.norm.weight -o bf16.npy
  expect 5 st-pack one.safetensors one.safetensors -o twice.safetensors
}

@test "selecting and renaming" {
  base=$FIXTURES/base/model.safetensors
  expect 0 st-pack "$base" -o s.safetensors --select '*.layers.0.*' --exclude '*norm*' --rename 's/^model\.//' --rename 's/layers/h/'
  [ "$(st-inspect --names s.safetensors | sort | head -n 1)" = h.0.mlp.down_proj.weight ]
  [ "$(st-inspect --names s.safetensors | wc -l)" = 7 ]
  printf 'lm_head.weight\nmodel.norm.weight\n' > names
  expect 0 st-pack "$base" -o n.safetensors --names-from names
  [ "$(st-inspect --names n.safetensors | wc -l)" = 2 ]
  tr '\n' '\0' < names > names0
  expect 0 st-pack "$base" -o n0.safetensors -0 --names-from names0
  st-inspect --names "$base" | grep norm | st-pack "$base" -o piped.safetensors --names-from -
  [ "$(st-inspect --names piped.safetensors | grep -c norm)" = 5 ]
  echo nobody >> names
  expect 4 st-pack "$base" -o x.safetensors --names-from names
  has stderr "nobody"
  expect 5 st-pack "$base" -o x.safetensors --select 'zz*'
  expect 5 st-pack "$base" -o x.safetensors --rename 's/.*norm.*/same/'
  has stderr "two tensors would be called 'same'"
  expect 7 st-pack "$base" -o x.safetensors --names-from missing
  [ ! -e x.safetensors ] && [ -z "$(hidden)" ]
}

@test "casting, the config that follows, and what it did to values" {
  expect 0 st-pack "$FIXTURES/base" -o out --dtype bf16 --dtype '*norm*=f32'
  [ "$(st-inspect -t out | grep norm | cut -f2 | sort -u)" = F32 ]
  [ "$(st-inspect -t out | grep -v norm | cut -f2 | sort -u)" = BF16 ]
  grep -q '"dtype": "bfloat16"' out/config.json
  diff <(grep -v '"dtype"' out/config.json) <(grep -v '"dtype"' "$FIXTURES/base/config.json")
  expect 0 st-pack "$FIXTURES/base" -o small --dtype f8_e4m3
  has stderr "became 0"
  sed 's/"vocab_size"/"quantization_config": {}, "vocab_size"/' "$FIXTURES/base/config.json" > c
  cp -r "$FIXTURES/base" q && chmod -R u+w q && cp c q/config.json
  expect 5 st-pack q -o no --dtype bf16
  has stderr quantization_config
  expect 0 st-pack q -o yes --dtype '*mlp*=bf16'
}

@test "shards" {
  expect 0 st-pack "$FIXTURES/base" -o out --max-shard-size 50KB
  ls out/model-0000[1-4]-of-00004.safetensors
  expect 0 st-inspect --check=hub out
  expect 0 st-inspect --diff out "$FIXTURES/base"
  expect 0 st-pack out -o again
  cmp again/model.safetensors "$FIXTURES/base/model.safetensors"
  expect 0 st-pack out -o unlimited --max-shard-size 0
  [ -e unlimited/model.safetensors ]
}

@test "metadata" {
  expect 0 st-pack "$FIXTURES/tied" -o a.safetensors --metadata run=7 --metadata 'note=a=b'
  [ "$(st-inspect --metadata=note a.safetensors)" = a=b ]
  expect 0 st-pack a.safetensors -o b.safetensors --metadata run=
  expect 1 st-inspect --metadata=run b.safetensors
  [ "$(st-inspect --metadata=format b.safetensors)" = pt ]
}

@test "metadata: every shard holds those of all inputs" {
  local i
  for i in 1 2; do
    safetensors $i.safetensors "{\"__metadata__\":{\"tensor_names\":\"[\\\\\"$i\\\\\"]\",\"only$i\":\"x\"},$(tensor $i F32 '[2]' 0 8)}" 8
  done
  expect 0 st-pack 1.safetensors 2.safetensors -o out --max-shard-size 8
  for i in 1 2; do
    expect 0 st-inspect --metadata out/model-0000$i-of-00002.safetensors
    has output '["1", "2"]'
    has output only1
    has output only2
  done
  expect 0 st-pack 1.safetensors -o again.safetensors --metadata run=1
  expect 0 st-pack 2.safetensors -o other.safetensors --metadata run=2
  expect 5 st-pack again.safetensors other.safetensors -o no
  has stderr "the metadata key 'run'"
  [ ! -e no ]
  expect 0 st-pack again.safetensors other.safetensors -o yes.safetensors --metadata run=3
  [ "$(st-inspect --metadata=run yes.safetensors)" = 3 ]
}

@test "what exists stays unless forced, and then only ours is replaced" {
  st-pack -q "$FIXTURES/base" -o out --max-shard-size 50KB
  echo mine > out/notes.txt
  echo old > out/pytorch_model.bin
  expect 5 st-pack "$FIXTURES/tied" -o out
  [ -e out/model-00001-of-00004.safetensors ]
  expect 0 st-pack "$FIXTURES/tied" -o out -n --force
  has output "replace  model-00001-of-00004.safetensors"
  has output "keep     notes.txt"
  expect 0 st-pack "$FIXTURES/tied" -o out --force
  [ "$(cat out/notes.txt)" = mine ]
  [ "$(ls out/*.safetensors* out/*.bin 2> /dev/null)" = out/model.safetensors ]
  mkdir out/.git
  expect 5 st-pack "$FIXTURES/tied" -o out --force
  has stderr .git
  expect 5 st-pack "$FIXTURES/tied/model.safetensors" -o out/model.safetensors
  expect 0 st-pack "$FIXTURES/tied/model.safetensors" -o out/model.safetensors --force
  [ -z "$(hidden)" ]
}

@test "the input is never the output" {
  cp -r "$FIXTURES/tied" in && chmod -R u+w in
  ln -s in link
  before=$(cat in/* | sha256sum)
  expect 5 st-pack in -o in --force
  has stderr "is the input itself"
  expect 5 st-pack in -o link --force
  expect 5 st-pack in/model.safetensors -o in --force
  expect 5 st-pack in -o in/model.safetensors --force
  # Links lead into the output, or an adapter lies there.
  mkdir links && ln -s ../in/model.safetensors ../in/config.json links
  expect 5 st-pack links -o in --force
  [ "$(cat in/* | sha256sum)" = "$before" ]
  cp -r "$FIXTURES/lora-run/checkpoint-40" adapter && chmod -R u+w adapter
  before=$(cat adapter/* | sha256sum)
  expect 5 st-pack "$FIXTURES/base" --adapter adapter -o adapter --force
  has stderr "is the input itself"
  expect 5 st-pack "$FIXTURES/base" --adapter adapter:0.5 -o adapter/adapter_model.safetensors --force
  [ "$(cat adapter/* | sha256sum)" = "$before" ]
}

@test "broken input is refused and nothing is left" {
  head -c 50000 "$FIXTURES/base/model.safetensors" > cut.safetensors
  expect 4 st-pack cut.safetensors -o out
  expect 7 st-pack missing -o out
  cp -r "$FIXTURES/sharded" s && chmod -R u+w s
  sed -i 's/"model.norm.weight"/"model.gone.weight"/' s/model.safetensors.index.json
  expect 4 st-pack s -o out
  has stderr "model.gone.weight"
  cp -r "$FIXTURES/tied" t && chmod -R u+w t
  echo '{"dtype": ' > t/config.json
  expect 4 st-pack t -o out
  has stderr "config.json"
  expect 7 st-pack "$FIXTURES/tied" -o no/such/folder
  [ ! -e out ] && [ -z "$(hidden)" ]
}

@test "--verify rereads the output" {
  expect 0 st-pack "$FIXTURES/base" -o out --verify --dtype bf16
  has stderr "$(st-inspect --hash out | grep ^content | cut -f2)"
}

@test "code that a config names comes along" {
  cp -r "$FIXTURES/tied" in && chmod -R u+w in
  sed -i 's/"vocab_size"/"auto_map": {"AutoModel": "modeling_x.X"}, "vocab_size"/' in/config.json
  echo 'from .helper_x import y' > in/modeling_x.py
  touch in/helper_x.py in/train.py
  expect 0 st-pack in -o out
  [ "$(cd out && echo *.py)" = "helper_x.py modeling_x.py" ]
}

@test "modes follow the umask and those of what is replaced" {
  (umask 027 && st-pack -q "$FIXTURES/tied" -o out)
  [ "$(stat -c %a out out/model.safetensors | tr '\n' ' ')" = "750 640 " ]
  st-pack -q "$FIXTURES/tied" -o f.safetensors
  chmod 604 f.safetensors
  st-pack -q "$FIXTURES/tied" -o f.safetensors --force
  [ "$(stat -c %a f.safetensors)" = 604 ]
}

# A file of 64 MiB of zeros in 64 tensors.
large() {
  local header="" i
  for i in $(seq 0 63); do header+=$(tensor "t$i" F32 '[262144]' $((i * 1048576)) $(((i + 1) * 1048576))),; done
  safetensors "$1" "{${header%,}}" 67108864
}

@test "kill -9 at any moment: the old output is intact or the new complete, and the next run cleans up" {
  large in.safetensors
  mkdir model && mv in.safetensors model/model.safetensors
  st-pack -q "$FIXTURES/tied" -o out
  old=$(cat out/model.safetensors | sha256sum)
  new=$(st-pack model -o - --dtype bf16 | sha256sum)
  for i in $(seq 1 25); do
    st-pack -q model -o out --force --dtype bf16 &
    # A share of the run's length that moves on with every round.
    timeout 0.$(printf %03d $((i * 3))) tail --pid=$! -f /dev/null || kill -9 $! 2> /dev/null || true
    wait $! 2> /dev/null || true
    now=$(cat out/model.safetensors | sha256sum)
    [ "$now" = "$old" ] || [ "$now" = "$new" ]
    if [ "$now" = "$new" ]; then st-pack -q "$FIXTURES/tied" -o out --force; fi
  done
  st-pack -q model -o out --force --dtype bf16
  [ -z "$(hidden)" ]
  [ "$(ls out/*.safetensors)" = out/model.safetensors ]
}

@test "SIGTERM, SIGINT and SIGHUP clean up and are seen by the shell" {
  expect 0 timeout 60 python3 - "$FIXTURES/base/model.safetensors" <<'PY'
import os, signal, subprocess, sys
data = open(sys.argv[1], "rb").read()
def spooling(pid):
    try:
        return any("mu-spool" in os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return False
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    # It reads from a pipe that stays open, so it is at work when the signal comes.
    run = subprocess.Popen(["st-pack", "-", "-o", "out"], stdin=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    run.stdin.write(data[:3000])
    run.stdin.flush()
    while run.poll() is None and not spooling(run.pid):
        pass
    run.send_signal(number)
    assert run.wait() == -number, (number, run.returncode)
    run.stdin.close()
PY
  [ ! -e out ] && [ -z "$(hidden)" ]
}

@test "a full disk leaves nothing behind (a preloaded library)" {
  cat > full.c <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static long left = -1;
static int full(size_t n) {
  if (left < 0) left = atol(getenv("DISK_BYTES"));
  if ((long)n > left) { errno = ENOSPC; return 1; }
  left -= (long)n;
  return 0;
}
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
  static ssize_t (*real)(int, const void *, size_t, off_t);
  if (!real) real = dlsym(RTLD_NEXT, "pwrite");
  return full(n) ? -1 : real(fd, b, n, o);
}
ssize_t pwrite64(int fd, const void *b, size_t n, off_t o) { return pwrite(fd, b, n, o); }
ssize_t copy_file_range(int in, off64_t *i, int out, off64_t *o, size_t n, unsigned f) {
  static ssize_t (*real)(int, off64_t *, int, off64_t *, size_t, unsigned);
  if (!real) real = dlsym(RTLD_NEXT, "copy_file_range");
  return full(n) ? -1 : real(in, i, out, o, n, f);
}
C
  cc -shared -fPIC -o full.so full.c -ldl
  # A sanitizer's runtime must come first.
  asan=$(ldd "$BIN_DIR/st-pack" | awk '/libasan/ {print $3}')
  st-pack -q "$FIXTURES/tied" -o out
  before=$(cat out/* | sha256sum)
  for bytes in 0 100 3000 100000; do
    for options in "-o out --force" "-o out --force --dtype bf16" "-o new" "-o new.safetensors" "-o new --max-shard-size 20KB"; do
      expect 7 env DISK_BYTES=$bytes LD_PRELOAD="$asan $PWD/full.so" st-pack "$FIXTURES/base" $options -j 2
      has stderr "No space left on device"
      [ ! -e new ] && [ ! -e new.safetensors ] && [ -z "$(hidden)" ]
      [ "$(cat out/* | sha256sum)" = "$before" ]
      [ $bytes -lt 100000 ] || break
    done
  done
}

@test "a full disk is seen before anything is written (a small tmpfs)" {
  unshare -rm true 2> /dev/null || skip "no user namespaces here"
  expect 7 unshare -rm bash -c "mkdir small && mount -t tmpfs -o size=64k none small && st-pack '$FIXTURES/base' -o small/out; code=\$?; ls -A small; exit \$code"
  [ -z "$output" ]
  has stderr "are free; nothing was written"
}

@test "a mount point as output keeps its place" {
  unshare -rm true 2> /dev/null || skip "no user namespaces here"
  expect 0 unshare -rm bash -c "mkdir m && mount -t tmpfs -o size=4m none m && st-pack -q '$FIXTURES/base' -o m --max-shard-size 50KB && st-pack -q '$FIXTURES/tied' -o m --force && st-inspect --diff m '$FIXTURES/tied' && ls -A m"
  [ "$output" = "$(printf 'same: 20 tensors\n'; ls "$FIXTURES/tied")" ]
}

@test "folders that may not be written to, as another user" {
  [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null || skip "needs root to become another user"
  chmod 755 "$BATS_TEST_TMPDIR"
  cp "$BIN_DIR/st-pack" "$FIXTURES/tied/model.safetensors" .
  chmod 600 model.safetensors
  as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
  as_nobody test -x ./st-pack || skip "the temporary folder can't be reached by another user"
  mkdir open && chmod 777 open
  expect 7 as_nobody ./st-pack model.safetensors -o open/out
  is_empty open
  has stderr "Permission denied"
  chmod 644 model.safetensors
  expect 7 as_nobody ./st-pack model.safetensors -o out
  has stderr "Permission denied"
}

@test "torch and NumPy files" {
  expect 0 st-pack "$FIXTURES/torch/model-sharded" -o out --verify
  [ "$(ls out)" = $'config.json\nmodel.safetensors' ]
  expect 0 st-inspect --diff "$FIXTURES/torch/model-sharded" out
  expect 0 st-pack "$FIXTURES/torch/odd-tensors.pt" -o odd.safetensors --verify
  has stderr "'shared.a', 'shared.b' share their storage, but there is no config.json: each is written"
  expect 0 st-inspect --diff "$FIXTURES/torch/odd-tensors.pt" odd.safetensors
  expect 0 st-pack "$FIXTURES/torch/training.pth" -o training.safetensors
  has stderr "the weights are under 'model'"
  expect 0 st-pack "$FIXTURES/formats/arrays-deflated.npz" -o - --dtype f32
  printf '%s' "" > none
  expect 0 st-pack "$FIXTURES/formats/arrays.npz" -o arrays.safetensors
  expect 0 st-inspect --diff "$FIXTURES/formats/arrays.npz" arrays.safetensors
}

@test "what is not packed is refused by name, and nothing is written" {
  mkdir in && cd in
  for file in torch/whole-module.pt torch/unsafe.pt torch/unsafe-plain.pkl formats/tiny.gguf formats/object.npy \
    full-run/checkpoint-40/optimizer.pt; do
    expect 4 st-pack "$FIXTURES/$file" -o out
    has stderr "$(basename "$file"): "
    is_empty .
  done
  expect 0 st-pack "$FIXTURES/torch/unsafe.pt" -o out.safetensors --salvage
  has stderr "left out, not tensors: x (posix.system)"
  [ ! -e PWNED ]
}

@test "a link that leads out of the folder is named; to a secret it is refused" {
  cp -r "$FIXTURES/base" in
  mkdir away
  token=hf_abcdefghijklmnop
  token+=qrstuvwxyzABCDEFGH
  echo "$token" > away/token
  mv in/tokenizer.json away
  ln -s ../away/tokenizer.json in/tokenizer.json
  expect 0 st-pack in -o out
  has stderr "tokenizer.json: is a link that leads out of the folder, copied from $PWD/away/tokenizer.json"
  cmp out/tokenizer.json away/tokenizer.json
  for name in vocab.txt merges.txt; do
    ln -sf ../away/token "in/$name"
    expect 5 st-pack in -o out2
    has stderr "in/$name: is a link that leads out of the folder, to a file that holds a secret"
    [[ $stderr != *qrst* ]]
    [ ! -e out2 ]
    expect 0 st-pack --weights-only in -o only && rm -r only
    rm "in/$name"
  done
  ln -s tokenizer.json in/vocab.json
  mkdir -p cache/models--a--b/{blobs,snapshots/x}
  cp in/* cache/models--a--b/blobs 2> /dev/null || :
  blob=$(printf 'a%.0s' {1..40})
  mv cache/models--a--b/blobs/config.json cache/models--a--b/blobs/$blob
  rm in/vocab.json
  ln -sf ../cache/models--a--b/blobs/$blob in/config.json
  rm -r out
  expect 0 st-pack in -o out
  [[ $stderr != *"config.json: a link"* ]]
}

@test "elements of less than a byte are copied, in shards too" {
  safetensors in.safetensors "{$(tensor q F4 '[3, 2]' 0 3),$(tensor r F6_E2M3 '[4]' 3 6),$(tensor s F6_E3M2 '[2, 4]' 6 12)}" 12
  expect 0 st-pack in.safetensors -o out --max-shard-size 4 --verify
  expect 0 st-inspect --check out
  expect 0 st-inspect --diff in.safetensors out
  expect 0 st-pack out -o one.safetensors
  diff <(st-inspect -t in.safetensors | cut -f 1-5 | sort) <(st-inspect -t one.safetensors | cut -f 1-5 | sort)
}
