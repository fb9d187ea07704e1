# SPDX-License-Identifier: Apache-2.0
# st-pack of a model on a hub, killed and run again: little is read twice, and the result is that of one run. Storage holds back requests
# (at_stall) where a run is to be killed, so nothing sleeps.
load helper
load hub
load remote

setup() { hub_home; }

# Two tensors of 52 MB in one file, ada/m, and what a local run makes of it in ./here.
ready() {
  mkdir data
  start_hub --data data
  big m 1 2 52000000
  publish m ada/m
  expect 0 st-pack -q m -o here "$@"
}
# Since the log was emptied, storage sent the model of so many MB, and what may be read again.
resumed() { [ "$(sent)" -le $((${1:-104} * 1000000 + 48000000)) ] || { sent; return 1; }; }

# halted COUNT COMMAND...: runs it until all of its four connections wait, after so many answers of storage, 4 MiB each.
halted() {
  hub_admin DELETE log > /dev/null
  hub_fault storage-get stall "\"after\":$1,\"times\":4"
  at_stall 4 "${@:2}" --connections 4
}
# killed COUNT [OPTIONS]: st-pack of ada/m is killed there.
killed() {
  halted "$1" st-pack hf://ada/m -o there "${@:2}"
  kill -9 $pid
  ended 137
  all_well
  [ ! -e there ] && [ -e there.partial ]
}
# whole [OPTIONS]: a run that ends, with the bytes of the local one.
whole() {
  expect 0 st-pack hf://ada/m -o there --connections 4 "$@"
  diff -r here there
  [ ! -e there.partial ]
}

@test "progress of a resumed run counts what was there" {
  ready
  killed 20
  expect 0 st-pack hf://ada/m -o there --connections 4 --progress --limit-rate 30MB
  # Of 104 MB, 84 MB were there, and at most 42 MB of these not noted yet.
  tr '\r' '\n' <<< "$stderr" | grep -oE '[0-9]+ %' | tr -d ' %' > drawn
  [ "$(head -n 1 drawn)" -ge 30 ]
  [ "$(tail -n 1 drawn)" -le 100 ]
}

@test "killed early, late and often: at most 48 MB are read again, inside a shard too" {
  ready
  local count all=0
  for count in 2 18; do
    killed $count
    whole
    resumed
    rm -r there
  done
  for count in 12 8 6; do
    killed $count
    all=$((all + $(sent)))
  done
  hub_admin DELETE log > /dev/null
  whole
  [ $((all + $(sent))) -le $((104000000 + 3 * 48000000)) ]
}

@test "many files, shards of the output, casts, merged adapters: resumed alike" {
  mkdir data
  start_hub --data data
  big m 3 12 8000000
  publish m ada/m
  local options
  for options in '--dtype bf16' '--max-shard-size 20MB' '--weights-only --exclude *.11.*'; do
    rm -rf here there
    # shellcheck disable=SC2086
    expect 0 st-pack -q m -o here $options
    # shellcheck disable=SC2086
    killed 14 $options
    # shellcheck disable=SC2086
    whole $options
    resumed 96
  done
}

@test "a resumed run verifies as a whole run does" {
  ready
  hub_fault storage-get corrupt '"after":3'
  killed 8
  expect 6 st-pack hf://ada/m -o there
  has stderr SHA-256
  [ ! -e there ] && [ ! -e there.partial ]
  # And the other way round: what is corrupt comes after the kill.
  killed 12
  hub_fault storage-get corrupt '"after":2'
  expect 6 st-pack hf://ada/m -o there
  has stderr SHA-256
  [ ! -e there ] && [ ! -e there.partial ]
}

@test "signals, and a hub that fails for good: size and command are printed, and the command continues" {
  ready
  local signal
  for signal in INT:130 TERM:143 HUP:129; do
    halted 14 st-pack hf://ada/m -o there --max-wait 60s
    kill -"${signal%:*}" $pid
    ended "${signal#*:}"
    all_well
    grep -q 'there.partial keeps [0-9.]* MB' said || { cat said; return 1; }
    grep -q 'to continue: st-pack hf://ada/m -o there --max-wait 60s --connections 4' said
    [ ! -e there ] && [ -e there.partial ]
    rm -r there.partial
  done
  hub_admin DELETE log > /dev/null
  hub_fault storage-get 503 '"after":18,"times":-1'
  expect 75 st-pack hf://ada/m -o there --connections 4 --max-wait 1s
  has stderr 'there.partial keeps'
  has stderr 'to continue: st-pack hf://ada/m -o there'
  all_well
  whole
  resumed
}

@test "from another PID namespace" {
  unshare -r -p -f --mount-proc true || skip "no namespaces here"
  ready
  halted 16 unshare -r -p -f --mount-proc --kill-child st-pack hf://ada/m -o there
  kill -9 $pid
  ended 137
  all_well
  expect 0 unshare -r -p -f --mount-proc st-pack hf://ada/m -o there --connections 4
  diff -r here there
  [ ! -e there.partial ]
  resumed
}

@test "a second run meanwhile ends with 75, and the first is not disturbed" {
  ready
  halted 8 st-pack hf://ada/m -o there
  kill -STOP $pid
  local force
  for force in '' --force; do
    # shellcheck disable=SC2086
    expect 75 st-pack hf://ada/m -o there $force
    has stderr there.partial
    [ "$(grep -c . <<< "$stderr")" = 1 ]
  done
  # Another OUT is none of its business.
  expect 0 st-pack hf://ada/m -o elsewhere
  diff -r here elsewhere
  kill -CONT $pid
  all_well
  ended 0
  diff -r here there
  [ ! -e there.partial ]
}

@test "other options, another commit, another program version or --force begin anew; nothing is mixed in" {
  ready
  killed 16
  expect 0 st-pack hf://ada/m -o there --dtype bf16
  expect 0 st-pack -q m -o cast --dtype bf16
  diff -r cast there
  [ ! -e there.partial ]
  rm -r there
  killed 16
  hub_admin DELETE log > /dev/null
  whole --force
  [ "$(sent)" -ge 104000000 ]
  rm -r there
  # Options that only say how it is done make no difference.
  killed 16
  whole -j 1 -q --limit-rate 900MB --max-wait 100s --no-progress
  resumed
  rm -r there
  killed 16
  printf X | dd of=m/model.safetensors bs=1 seek=1000 conv=notrunc status=none
  printf X | dd of=m/model.safetensors bs=1 seek=90000000 conv=notrunc status=none
  publish m ada/m
  rm -r here
  expect 0 st-pack -q m -o here
  whole
  [ "$(sent)" -ge 104000000 ]
}

@test "the record holds no token and no signed link; exit 2 makes no partial output" {
  ready
  killed 8
  run ! grep -raE 'hf_test|X-Amz|Signature|http' there.partial/record
  [ "$(find there.partial -type f -size -100k -exec cat {} + | grep -acE 'hf_test|X-Amz' || :)" = 0 ]
  rm -r there.partial
  expect 2 st-pack hf://ada/m -o there --dtype none-such
  expect 2 st-pack hf://ada/m -o there --part 1/x
  [ ! -e there.partial ]
}

@test "a single file and a merged adapter are resumed, what waits on the disk too" {
  ready
  rm -r here
  expect 0 st-pack -q m -o here.safetensors
  halted 16 st-pack hf://ada/m -o there.safetensors
  kill -9 $pid
  ended 137
  all_well
  expect 0 st-pack hf://ada/m -o there.safetensors
  cmp here.safetensors there.safetensors
  resumed
  [ -z "$(find . -name '*.partial')" ]
}

@test "the disk never holds more than the output, and a bit" {
  ready
  halted 16 st-pack hf://ada/m -o there
  [ "$(du -sk there.partial | cut -f1)" -le 104000 ]
  all_well
  ended 0
  diff -r here there
}
