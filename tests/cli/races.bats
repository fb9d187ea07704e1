# SPDX-License-Identifier: Apache-2.0
# What others do at the worst moment: right before a system call of ours (tests/faults/faulty.cc), and from other PID and
# mount namespaces.
load helper

setup() {
  start
  faulty=$(realpath -m "$BIN_DIR/../tests/faults/libfaulty.so")
  [ -e "$faulty" ] || skip "a build with sanitizers"
}

# at CALL NUMBER SHELL CODE COMMAND...: runs it, and SHELL right before that call; exit CODE.
at() {
  local call=$1 number=$2 shell=$3 code=$4
  shift 4
  expect "$code" env LD_PRELOAD="$faulty" FAULTY_CALL="$call" FAULTY_AT="$number" FAULTY_RUN="$shell" FAULTY_LOG=called "$@"
  [ -e called ] || { echo "no call $number of $call"; return 1; }
  rm called
}

# A run of three checkpoints, saved long ago.
make_run() {
  local step
  for step in 30 40 60; do  # the log calls 20 the best
    mkdir -p "run/checkpoint-$step"
    cp "$FIXTURES"/full-run/checkpoint-20/* "run/checkpoint-$step"
    sed -i "s/\"global_step\": [0-9]*/\"global_step\": $step/" "run/checkpoint-$step/trainer_state.json"
  done
  find run -exec touch -d '2020-01-01' {} +
}

another() { cp -r run/checkpoint-40 fresh && echo new > fresh/NEW; }
swap='mv run/checkpoint-30 away && mv fresh run/checkpoint-30'
hidden() { find run -name '.*' -path '*mu-gone*'; }

@test "ckpt-prune: another checkpoint under the judged one's name is put back" {
  make_run && another
  at renameat2 1 "$swap" 3 ckpt-prune --keep 1 run
  has stderr "checkpoint-30: was changed or replaced at the last moment: put back"
  [ "$(cat run/checkpoint-30/NEW)" = new ]
  [ ! -e run/checkpoint-40 ]
  [ -z "$(hidden)" ]
}

@test "ckpt-prune: what a killed run hid and had not judged is put back, where its name is taken in sight" {
  make_run
  mv run/checkpoint-30 judged && cp -r judged run/checkpoint-30
  other=$(stat -c '%i' run/checkpoint-40)
  name=$(printf '.checkpoint-30.mu-gone.elsewhere.0badcafe.ns1.7.1.%x-%x' "$(stat -c %d run)" "$other")
  mv judged "run/$name"
  expect 3 ckpt-prune --keep 9 run
  has stderr "it is now kept-checkpoint-30"
  [ -e run/kept-checkpoint-30/trainer_state.json ]
  [ -e run/checkpoint-30/trainer_state.json ]
  [ -z "$(hidden)" ]
}

@test "ckpt-prune --trash: another one does not land there" {
  make_run && another
  at renameat2 1 "$swap" 3 ckpt-prune --trash trash --keep 1 run
  [ "$(cat run/checkpoint-30/NEW)" = new ]
  [ "$(ls trash/run)" = checkpoint-40 ]
}

@test "ckpt-prune --torn aside: another one keeps its name" {
  make_run && another
  : > run/checkpoint-30/model.safetensors
  touch -d '2020-01-01' run/checkpoint-30/* run/checkpoint-30
  at renameat2 1 "$swap" 75 ckpt-prune --torn aside run
  [ "$(cat run/checkpoint-30/NEW)" = new ]
  [ ! -e run/torn-checkpoint-30 ]
}

@test "ckpt-prune: an entry that comes while its checkpoint is slimmed stays, and so does all of it" {
  make_run
  before=$(ls run/checkpoint-30)
  at renameat2 3 'echo theirs > run/checkpoint-30/x && mv run/checkpoint-30/x run/checkpoint-30/scheduler.pt' 75 \
    ckpt-prune --keep-optimizer-last 2 run
  [ "$(cat run/checkpoint-30/scheduler.pt)" = theirs ]
  [ "$(ls run/checkpoint-30)" = "$before" ]
  [ -z "$(hidden)" ]
}

@test "st-pack --force: what comes into OUT meanwhile is carried over, or kept beside it" {
  cp -r "$FIXTURES/tied" in
  expect 0 st-pack in -o out
  at renameat2 1 'echo theirs > out/NEW.md' 0 st-pack --force in -o out
  [ "$(cat out/NEW.md)" = theirs ]
  [ "$(ls -A | grep -c out)" = 1 ]
  at renameat2 1 'echo theirs > out/x && mv out/x out/config.json' 3 st-pack --force in -o out
  has stderr "out.old: is what is left of the old out: config.json"
  [ "$(cat out.old/config.json)" = theirs ]
  [ "$(ls -A out.old)" = config.json ]
  cmp out/config.json in/config.json
  cmp out/model.safetensors <(st-pack in/model.safetensors -o -)
}

# in_another_world COMMAND...: in PID and mount namespaces of its own.
in_another_world() { unshare --pid --mount --fork --kill-child --mount-proc "$@"; }
# (sh is their process 1, which nobody can kill.)
may_leave() { in_another_world true 2> /dev/null || skip "not allowed on this machine"; }

@test "a writer in another PID and mount namespace, under another path" {
  may_leave
  make_run
  mkdir inside && mkfifo ready go
  in_another_world sh -c 'mount --bind run inside && mount --make-private inside 2> /dev/null
    exec 9>> inside/checkpoint-30/model.safetensors; echo > ready; read line < go' &
  local outsider=$!
  read -r < ready
  find run -exec touch -d '2020-01-01' {} +
  expect 0 ckpt-prune --keep 1 run
  echo > go
  wait "$outsider"  # not for all: bats has a watch of its own in the background
  [ -d run/checkpoint-30 ]
  [ ! -e run/checkpoint-40 ]
  expect 0 ckpt-prune --keep 1 run
  [ ! -e run/checkpoint-30 ]
}

@test "what a run in another PID namespace hid is finished at once, what it was writing is left alone" {
  may_leave
  make_run
  in_another_world env LD_PRELOAD="$faulty" FAULTY_CALL=unlinkat FAULTY_AT=2 FAULTY_ERRNO=0 FAULTY_LOG=called \
    sh -c 'ckpt-prune --keep 1 run; true'
  [ -n "$(hidden)" ]
  expect 0 ckpt-prune --keep 1 run
  has stderr "finished"
  [ "$(ls -A run)" = checkpoint-60 ]

  cp -r "$FIXTURES/tied" in
  in_another_world env LD_PRELOAD="$faulty" FAULTY_CALL=fsync FAULTY_AT=1 FAULTY_ERRNO=0 FAULTY_LOG=called \
    sh -c 'st-pack in -o out; true'
  stage=$(ls -d .out.mu-stage.*)
  expect 0 st-pack in -o other
  [ -d "$stage" ]
  touch -d '2020-01-01' "$stage"
  expect 0 st-pack in -o third
  [ ! -e "$stage" ]
}

@test "nothing is written through links into a cache, or among its blobs" {
  cp -r "$FIXTURES/tied" in
  printf -- '---\nlicense: mit\n---\n# mine\n' > in/README.md
  expect 0 hub-push -q --endpoint "file://$PWD/hub" in ada/x
  repo=hub/models--ada--x
  snapshot=$(echo "$repo"/snapshots/*)
  sums=$(cd "$repo/blobs" && sha256sum -- *)
  blob=$(realpath "$snapshot/model.safetensors")
  expect 5 st-pack --force in -o "$blob"
  has stderr "lies among blobs"
  expect 0 st-pack --force --dtype f16 in/model.safetensors -o "$snapshot/model.safetensors"
  [ ! -L "$snapshot/model.safetensors" ]
  expect 0 card-gen -q -i "$snapshot" --base ada/base
  [ ! -L "$snapshot/README.md" ]
  [ "$(cd "$repo/blobs" && sha256sum -- *)" = "$sums" ]
}
