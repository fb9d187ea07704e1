# SPDX-License-Identifier: Apache-2.0
# ckpt-prune: rules, limits, views and what a run of it does.
load helper
load ckpt

@test "the plan says what happens to each and why, and a real run does it" {
  run_of 100 200 300 400
  expect 0 ckpt-prune -n --keep 2 run
  [ "$(awk 'NR > 1 {print $1, $2}' <<< "$output")" = $'remove checkpoint-100\nremove checkpoint-200\nkeep checkpoint-300\nkeep checkpoint-400' ]
  has output "newest resumable; last 2"
  has output "no rule keeps it"
  [ "$(steps)" = "100 200 300 400" ]
  expect 0 ckpt-prune --keep 2 run
  [ -z "$output" ]
  [[ $stderr =~ ^ckpt-prune:\ run:\ removed\ 2\ checkpoints:\ [0-9.]+\ [KM]B\ freed$ ]]
  [ "$(steps)" = "300 400" ]
  [ "$(ls -A run | wc -l)" = 2 ]
  # Nothing to do: nothing to say.
  expect 0 ckpt-prune --keep 2 run
  [ -z "$output$stderr" ]
}

@test "the golden plan of the fixture run, as text and JSON" {
  cp -r "$FIXTURES/full-run" .
  find full-run -exec touch -d "2026-01-01" {} +
  expect 0 ckpt-prune -n --keep 1 --keep-best 1 --keep-optimizer-last 1 full-run
  # Sizes on disk depend on the file system.
  output=$(sed -E 's/[0-9.]+ [KM]?B/SIZE/g; s/  +SIZE/  SIZE/' <<< "$output")
  golden ckpt-prune-plan.txt
  expect 0 ckpt-prune -n --json --keep 1 full-run
  python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["schema"] == "modelutils.ckpt-prune/1" and d["done"] is False
c = {c["name"]: c for c in d["runs"][0]["checkpoints"]}
assert [c[k]["verb"] for k in sorted(c)] == ["remove", "keep", "keep"], c
assert c["checkpoint-40"]["best"] and c["checkpoint-40"]["reasons"] == ["best of the run"]
assert c["checkpoint-60"]["step"] == 60 and c["checkpoint-60"]["epoch"] == 20
assert abs(c["checkpoint-20"]["metrics"]["eval_loss"] - 3.2761) < 1e-3
assert c["checkpoint-20"]["condition"] == "resumable" and c["checkpoint-20"]["parts"]["optimizer"] > c["checkpoint-20"]["parts"]["weights"]' <<< "$output"
  expect 0 ckpt-prune --json -q --keep 1 full-run
  python3 -c '
import json, sys
d = json.load(sys.stdin)
assert d["done"] and d["runs"][0]["outcome"]["removed"] == 1 and d["runs"][0]["outcome"]["failures"] == []' <<< "$output"
}

@test "the table: metric, best, torn, sparkline, next size; it needs no policy and changes nothing" {
  cp -r "$FIXTURES/full-run" .
  expect 0 ckpt-prune --list full-run
  has output "eval_loss"
  has output "best of the run"
  has output "█▁▃ 3.0901 over steps 20 to 60"
  has output "the next checkpoint needs about 527.1 KB"
  [ "$(ls full-run)" = $'checkpoint-20\ncheckpoint-40\ncheckpoint-60' ]
}

@test "sizes are those of du, hard links counted once" {
  run_of 100 200 300
  ln -f run/checkpoint-100/tokenizer.json run/checkpoint-200/tokenizer.json
  ln -f run/checkpoint-100/tokenizer.json run/checkpoint-300/tokenizer.json
  sync -f run  # blocks that are not written yet may still change in number
  expected=$(du -scB1 run/checkpoint-* | tail -n 1 | cut -f1)
  bytes() { python3 -c "import json,sys; print(json.load(sys.stdin)['$1'])"; }
  [ "$(ckpt-prune -n --json --keep 9 run | bytes bytes_before)" = "$expected" ]
  after=$(ckpt-prune -n --json --keep 1 run | bytes bytes_after)
  expect 0 ckpt-prune -q --keep 1 run
  [ "$(du -scB1 run/checkpoint-* | tail -n 1 | cut -f1)" = "$after" ]
}

@test "paths for pipes" {
  run_of 100 200 300
  expect 0 ckpt-prune -n --keep 1 --paths remove run
  [ "$output" = $'run/checkpoint-100\nrun/checkpoint-200' ]
  expect 0 ckpt-prune --keep 1 --paths keep run/
  [ "$output" = run/checkpoint-300 ]
  ckpt-prune -n --keep 1 --paths remove -0 run | cmp - <(printf 'run/checkpoint-100\0run/checkpoint-200\0')
  cd run
  expect 0 ckpt-prune --keep 1 --paths remove
  [ "$output" = $'checkpoint-100\ncheckpoint-200' ]
  cd ..
  [ "$(steps)" = "100 200 300" ]
}

@test "the best by a metric, by name, and the best that was never saved" {
  run_of 100 200 300
  for step in 100 200; do log_of $step '{"eval_loss": 3.0, "eval_acc": 0.5, "step": 100}'; done
  log_of 300 '{"eval_loss": 3.0, "eval_acc": 0.5, "step": 100}, {"eval_loss": 1.21, "step": 150}, {"eval_loss": 2.0, "eval_acc": NaN, "step": 200}, {"eval_loss": Infinity, "eval_acc": 0.4, "step": 300}'
  expect 0 ckpt-prune --list run
  has output "best evaluated step 150 (eval_loss 1.21) is not among the checkpoints; best saved is 200 (2)"
  expect 0 ckpt-prune --keep-best 1 --metric eval_acc --max --paths keep run
  [ "$output" = $'run/checkpoint-100\nrun/checkpoint-300' ]
  expect 0 ckpt-prune --keep-best 1 --paths keep run
  [ "$output" = $'run/checkpoint-200\nrun/checkpoint-300' ]
  # A metric nobody logged: nothing is deleted.
  expect 4 ckpt-prune --keep-best 1 --metric los run --min
  has stderr "no checkpoint has a value for eval_los"
  # Whatever its direction: nothing of that name is logged.
  expect 4 ckpt-prune --keep-best 1 --metric strange run
  has stderr "no checkpoint has a value for eval_strange"
  sed -i 's/"eval_acc"/"eval_zeal"/' run/*/trainer_state.json
  expect 2 ckpt-prune --keep-best 1 --metric zeal run
  has stderr "give --min or --max"
  sed -i 's/"eval_zeal"/"eval_acc"/' run/*/trainer_state.json
  expect 2 ckpt-prune --keep-best 1 --min --max run
  [ "$(steps)" = "100 200 300" ]
  sed -i 's/"best_model_checkpoint": null/"best_model_checkpoint": "\/elsewhere\/x\/checkpoint-100"/' run/checkpoint-300/trainer_state.json
  expect 0 ckpt-prune -q --keep 1 run
  [ "$(steps)" = "100 300" ]
}

@test "pins, KEEP files and links" {
  run_of 100 200 300 400 500 600
  touch -d 2026-01-01 run/checkpoint-200/KEEP
  echo 300 > run/KEEP
  printf '# mine\ncheckpoint-400\n' > pins
  ln -s run/checkpoint-500 latest
  expect 0 ckpt-prune -q --keep 0 --pin pins --pin 100 run
  [ "$(steps)" = "100 200 300 400 500 600" ]
  rm run/KEEP latest
  expect 0 ckpt-prune -q --keep 0 --pin run/checkpoint-100 run
  [ "$(steps)" = "100 200 600" ]
  expect 7 ckpt-prune -q --keep 0 --pin missing run
  [ "$(steps)" = "100 200 600" ]
}

@test "torn ones: named, put aside, removed; the newest waits an hour" {
  run_of 100 200 300
  tear 200
  tear 300
  expect 0 ckpt-prune --keep 1 run
  [ "$(steps)" = "100 200 300" ]
  has stderr "run/checkpoint-300: torn: model.safetensors: "
  has stderr "resuming would pick it up"
  touch run/checkpoint-300/model.safetensors
  expect 0 ckpt-prune --torn aside run
  [ "$(steps)" = "100 300" ]
  [ -d run/torn-checkpoint-200 ]
  touch -d "now - 30 minutes" run/checkpoint-300/model.safetensors
  expect 0 ckpt-prune --torn remove run
  [ "$(steps)" = "100 300" ]
  expect 0 ckpt-prune --torn remove --torn-age 20m run
  [ "$(steps)" = 100 ]
}

@test "nothing to resume from is exit 5, and says how to go on" {
  run_of 100 200
  rm run/checkpoint-*/optimizer.pt
  expect 5 ckpt-prune --keep 1 run
  has stderr "--allow-unresumable"
  [ "$(steps)" = "100 200" ]
  expect 0 ckpt-prune --keep 2 run
  expect 0 ckpt-prune --keep 1 --allow-unresumable run
  [ "$(steps)" = 200 ]
}

@test "slimming puts the folder's time back and is idempotent" {
  run_of 100 200 300
  before=$(stat -c '%y %n' run/checkpoint-*)
  expect 0 ckpt-prune --keep-optimizer-last 1 run
  has stderr "slimmed 2"
  [ "$(stat -c '%y %n' run/checkpoint-*)" = "$before" ]
  [ ! -e run/checkpoint-100/optimizer.pt ] && [ ! -e run/checkpoint-100/scheduler.pt ] && [ ! -e run/checkpoint-100/rng_state.pth ]
  [ -e run/checkpoint-100/trainer_state.json ] && [ -e run/checkpoint-300/optimizer.pt ]
  expect 0 ckpt-prune --keep-optimizer-last 1 run
  [ -z "$stderr" ]
}

@test "limits: over all runs, the oldest first, 1 when they can't be met" {
  run_of 100 200 300
  size=$(du -sB1 run/checkpoint-100 | cut -f1)
  expect 0 ckpt-prune -q --max-total $((size * 2 + size / 2)) run
  [ "$(steps)" = "200 300" ]
  expect 1 ckpt-prune --max-total 1K run
  has stderr "above --max-total"
  [ "$(steps)" = 300 ]
  run_of 100
  expect 1 ckpt-prune --min-free 999999TB run
  has stderr "short of --min-free"
  [ "$(steps)" = 300 ]
  expect 0 ckpt-prune --min-free 1K run
  expect 2 ckpt-prune --min-free 1K --trash t run
  expect 0 ckpt-prune --need run
  has output "it fits"
}

@test "a next checkpoint that would not fit is exit 1" {
  [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null || skip "needs mounts"
  mkdir small
  run_of 100
  expect 1 unshare -m bash -c "mount -t tmpfs -o size=900k none small && cp -r run small && ckpt-prune --need small/run"
  has stderr "it does not fit"
}

@test "odd names and broken states" {
  run_of 100 200 300 400
  mkdir run/checkpoint-007 $'run/checkpoint-9\n' run/checkpoint-99999999999999999999999999 run/checkpoint-best
  : > run/checkpoint-200/trainer_state.json
  echo '{"global_step": 1' > run/checkpoint-100/trainer_state.json
  find run -exec touch -d 2026-01-01 {} +
  expect 0 ckpt-prune --keep 1 run
  [ "$(find run -maxdepth 1 -name 'check*' -printf x)" = xxxxxxx ]
  [ -d $'run/checkpoint-9\n' ] && [ -d run/checkpoint-007 ] && [ -d run/checkpoint-99999999999999999999999999 ] && [ ! -e run/checkpoint-300 ]
  has stderr "run/checkpoint-200: torn: trainer_state.json is empty"
  has stderr "run/checkpoint-100: torn: trainer_state.json: "
}

@test "the trash takes what would be deleted" {
  run_of 100 200 300
  expect 0 ckpt-prune --keep 1 --trash bin run
  [ "$(ls bin/run)" = $'checkpoint-100\ncheckpoint-200' ]
  cmp bin/run/checkpoint-100/model.safetensors "$FIXTURES/full-run/checkpoint-40/model.safetensors"
  [ "$(steps)" = 300 ]
  expect 2 ckpt-prune --keep 1 --trash run/checkpoint-300/trash run
  has stderr "is inside the checkpoint checkpoint-300"
  # What lies in the trash is not pruned again, wherever the trash lies.
  run_of 100 200
  mkdir tree && mv run tree
  for again in 1 2; do
    expect 0 ckpt-prune --keep 1 --recursive --trash tree/trash tree
    [ "$(ls tree/run)" = "checkpoint-300" ]
    [ "$(ls tree/trash/run)" = $'checkpoint-100\ncheckpoint-200' ]
  done
  [ -z "$stderr" ]
}

@test "limits without a unit, and -0 without --paths, are mistakes" {
  run_of 100 200 300
  for option in --max-total --min-free; do
    for size in 0 2 1.5; do
      expect 2 ckpt-prune $option $size run
      has stderr "$option $size means ${size%.*} B, less than the smallest checkpoint here"
    done
  done
  expect 7 ckpt-prune --max-total 2 TB run
  expect 2 ckpt-prune -n -0 --keep 1 run
  expect 2 ckpt-prune -0 --json --keep 1 run
  [ "$(steps)" = "100 200 300" ]
  expect 0 ckpt-prune -q --max-total 999999999999 run
  mkdir empty
  expect 0 ckpt-prune --max-total 2 empty
}

@test "a run of which no checkpoint is whole is refused, the others are done" {
  run_of 100 200 300
  for step in 100 200 300; do tear $step; done
  mv run torn
  run_of 100 200
  for what in aside remove; do
    expect 5 ckpt-prune --torn $what torn
    has stderr "torn: no checkpoint here is complete"
  done
  expect 3 ckpt-prune --keep 1 --torn remove torn run
  [ "$(steps)" = 200 ]
  [ "$(ls torn | wc -l)" = 3 ]
  expect 0 ckpt-prune -q --torn remove --allow-unresumable torn
  [ "$(ls torn)" = checkpoint-300 ]
  expect 0 ckpt-prune -q --torn aside --allow-unresumable torn
  [ "$(ls torn)" = torn-checkpoint-300 ]
}

@test "--follow keeps the steps that another folder holds" {
  run_of 100 300 400
  mkdir node
  for step in 100 200 300 400; do
    mkdir node/checkpoint-$step
    for rank in 8 9; do cp "$FIXTURES/full-run/checkpoint-40/rng_state.pth" node/checkpoint-$step/rng_state_$rank.pth; done
  done
  find node -exec touch -d 2026-01-01 {} +
  expect 5 ckpt-prune --keep 1 node
  has stderr "--follow"
  has stderr "--allow-unresumable"
  [ "$(ls node | wc -l)" = 4 ]
  rm -r run/checkpoint-400
  mkdir empty
  for run in missing empty node; do
    expect 7 ckpt-prune --follow $run node
    [ "$(ls node | wc -l)" = 4 ]
  done
  expect 0 ckpt-prune -q --follow run node
  [ "$(ls node)" = $'checkpoint-100\ncheckpoint-300' ]
  expect 0 ckpt-prune -q --keep 1 --allow-unresumable node
  [ "$(ls node)" = checkpoint-300 ]
}

@test "options from a file; the command line wins; mistakes are named" {
  run_of 100 200 300
  printf 'keep = 2\nquiet = true\npin = ["100", "7"]\n' > prune.conf
  expect 0 ckpt-prune --config prune.conf run
  [ -z "$output$stderr" ]
  [ "$(steps)" = "100 200 300" ]
  expect 0 ckpt-prune --config prune.conf --keep 1 run
  [ "$(steps)" = "100 300" ]
  echo 'kep = 2' > bad.conf
  expect 2 ckpt-prune --config bad.conf run
  has stderr "kep"
  expect 7 ckpt-prune --config missing.conf run
}

@test "the lines for cron and the units for systemd run as printed" {
  export HOME=$PWD
  page=$BATS_TEST_DIRNAME/../../man/ckpt-prune.1
  plain() { sed 's/\\-/-/g; s/\\e/\\/g'; }
  mkdir runs
  sed -n '/^.SH CRON/,/^.SH SYSTEMD/p' "$page" | grep -E '^keep = ' -A 9 | sed '/^\.fi/,$d' | plain > prune.conf
  [ "$(wc -l < prune.conf)" -ge 5 ]
  sed -n '/^.SH CRON/,/^.SH SYSTEMD/p' "$page" | plain | sed -nE 's/^\*[^ ]* (\* ){4}//p' > lines
  [ "$(wc -l < lines)" = 2 ]
  while IFS= read -r line; do
    rm -rf run runs/*
    run_of 100 200 300 400 500
    for step in 100 200 300 400 500; do log_of $step '{"eval_loss": 1.0, "step": 400}'; done
    mv run runs/x
    expect 0 env -i HOME="$HOME" PATH="$PATH" SHELL=/bin/sh /bin/sh -c "$line"
    [ ! -e runs/x/checkpoint-100 ] && [ -e runs/x/checkpoint-500 ] && [ -e runs/x/checkpoint-300 ]
    expect 0 env -i HOME="$HOME" PATH="$PATH" SHELL=/bin/sh /bin/sh -c "$line"
    [ -z "$output$stderr" ]
  done < lines
  unit() { sed -n '/^.SH SYSTEMD/,/^.SH EXAMPLES/p' "$page" | plain | awk -v want="$1" '/^\.I/ {on = index($0, want)} /^\./ {next} on'; }
  unit .service > ckpt-prune.service
  unit .timer > ckpt-prune.timer
  grep -qx 'OnCalendar=\*:0/10' ckpt-prune.timer
  command=$(sed -n 's/^ExecStart=//p' ckpt-prune.service)
  rm -rf run runs/*
  run_of 100 200 300 400 500
  for step in 100 200 300 400 500; do log_of $step '{"eval_loss": 1.0, "step": 400}'; done
  mv run runs/x
  expect 0 bash -c "${command//%h/$HOME}"
  [ ! -e runs/x/checkpoint-100 ] && [ -e runs/x/checkpoint-500 ]
  if command -v systemd-analyze > /dev/null; then
    sed -i "s|^ExecStart=ckpt-prune|ExecStart=$BIN_DIR/ckpt-prune|" ckpt-prune.service
    expect 0 env XDG_RUNTIME_DIR="$PWD" systemd-analyze verify --user ./ckpt-prune.service ./ckpt-prune.timer
  fi
}
