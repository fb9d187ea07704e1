# SPDX-License-Identifier: Apache-2.0
# Every system call that a program makes fails once, by an error of the disk, for want of a right and for want of space, and the program is killed
# at each that writes: what it promises of its exit status, of old output and of litter holds each time
# (tests/faults/every-call).
load helper
load hub

setup() {
  hub_home
  export XDG_CACHE_HOME=@cache XDG_STATE_HOME=@state
  every=$BATS_TEST_DIRNAME/../faults/every-call
  [ -e "$BIN_DIR/../tests/faults/libfaulty.so" ] || skip "a build with sanitizers"
  mkdir scene
}

# faults LEAST [OPTIONS] COMMAND...: at least so many faults were injected. Where that is allowed, few processes are there to
# see: each call by which ckpt-prune looks at one would fail in turn.
faults() {
  local least=$1 alone=(unshare --pid --fork --kill-child --mount-proc)
  shift
  "${alone[@]}" true 2> /dev/null || alone=()
  run "${alone[@]}" "$every" "$@"
  [ "$status" = 0 ] && [ "${lines[-1]}" -ge "$least" ] || { echo "$output"; return 1; }
}

@test "every-call notices what is lost, half written, or said to be done" {
  echo old > scene/a
  run "$every" scene sh -c 'cat a > b; true'
  [ "$status" = 1 ]
  has output "ended with 0, undone"
  run "$every" scene sh -c 'printf 12 > a; cat a > /dev/null && printf 1234 > a'
  [ "$status" = 1 ]
  has output "left a, neither old nor new"
}

@test "st-pack: a new folder, one that is replaced, one file, shards" {
  cp -r "$FIXTURES/lora-run/checkpoint-40" scene/in
  rm scene/in/optimizer.pt scene/in/training_args.bin
  faults 180 scene st-pack -q in -o out
  faults 100 scene st-pack -q in --weights-only -o x.safetensors
  faults 180 scene st-pack -q in --max-shard-size 2KB -o out
  mkdir scene/out
  echo mine > scene/out/mine.txt
  echo old > scene/out/config.json
  faults 200 scene st-pack -q --force in -o out
}

@test "st-pack: what several ranks saved" {
  cp -r "$FIXTURES/fsdp-run" scene/in
  faults 150 scene st-pack -q in/checkpoint-1 -o out
}

@test "st-inspect: what is printed with 0 is all of it" {
  cp "$FIXTURES/base/model.safetensors" "$FIXTURES/base/config.json" scene
  faults 50 scene st-inspect --hash --stats .
  faults 50 scene st-inspect --json .
}

@test "card-gen: a card is the old or the new one" {
  cp -r "$FIXTURES/lora-run/checkpoint-40" scene/out
  (cd scene && card-gen -q -i out --base ada/b && echo "by hand" >> out/README.md)
  faults 150 scene card-gen -q -i out --base ada/c --plot
}

@test "lora-extract: an adapter out of a checkpoint and between two models, a merge" {
  cp -r "$FIXTURES/lora-adapter" scene/adapter
  faults 100 scene lora-extract -q adapter -o out
  mkdir pair
  cp -r "$FIXTURES/pair/base/model.safetensors" pair/base.safetensors
  cp -r "$FIXTURES/pair/tuned/model.safetensors" pair/tuned.safetensors
  faults 60 pair lora-extract -q -j 1 --base base.safetensors --tuned tuned.safetensors --rank 2 -o out
  cp "$FIXTURES/base/model.safetensors" "$FIXTURES/base/config.json" scene
  faults 60 scene st-pack -q -j 1 model.safetensors --adapter adapter -o out
}

@test "ckpt-prune: nothing is lost that the plan keeps" {
  cp -r "$FIXTURES/full-run" scene/run
  rm -r scene/run/checkpoint-60
  rm scene/run/*/tokenizer* scene/run/*/*.bin scene/run/*/*.jinja
  expect 0 ckpt-prune -n --keep 1 scene/run
  has output "remove  checkpoint-20"
  faults 250 --keeps scene ckpt-prune --keep 1 run
}

@test "ckpt-prune: a slimming is finished by the next run" {
  cp -r "$FIXTURES/full-run" scene/run
  rm -r scene/run/checkpoint-20
  rm scene/run/*/tokenizer* scene/run/*/*.bin scene/run/*/*.jinja
  faults 250 --keeps --times "run/checkpoint-*" scene ckpt-prune --keep-optimizer-last 1 run
}

@test "hub-push: a cache folder" {
  cp -r "$FIXTURES/tied" scene/out
  faults 150 scene hub-push -q --endpoint file://hub out ada/tiny
  (cd scene && hub-push -q --endpoint file://hub out ada/tiny && echo more > out/notes.txt)
  faults 150 scene hub-push -q --endpoint file://hub out ada/tiny
}

@test "hub-push: a commit happens once or not at all" {
  cp -r "$FIXTURES/tied" scene/out
  start_hub
  expect 0 hub-push -q scene/out ada/tiny
  faults 120 --jobs 1 scene hub-push -q out ada/tiny
  [ "$(hub_titles ada/tiny | wc -l)" -le 2 ]
}
