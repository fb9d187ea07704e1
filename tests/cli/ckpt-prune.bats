# SPDX-License-Identifier: Apache-2.0
load helper

# run_of STEP...: ./run with copies of a real checkpoint under these steps, an hour apart and old enough.
run_of() {
  mkdir -p run
  for step in "$@"; do
    cp -r "$FIXTURES/full-run/checkpoint-40" "run/checkpoint-$step"
    sed -i "s/\"global_step\": 40/\"global_step\": $step/; s/^  \"best_model_checkpoint\": .*/  \"best_model_checkpoint\": null,/" \
      "run/checkpoint-$step/trainer_state.json"
    find "run/checkpoint-$step" -exec touch -d "2026-01-01 + $step hours" {} +
  done
}

log_of() { # log_of STEP ENTRIES: the log of a checkpoint
  printf '{"best_model_checkpoint": null, "epoch": 1.0, "global_step": %s, "log_history": [%s]}\n' "$@" > "run/checkpoint-$1/trainer_state.json"
  touch -d "2026-01-01 + $1 hours" "run/checkpoint-$1/trainer_state.json" "run/checkpoint-$1"
}

tear() { head -c 1000 "$FIXTURES/full-run/checkpoint-40/model.safetensors" > "run/checkpoint-$1/model.safetensors"; touch -d 2026-01-01 "run/checkpoint-$1/model.safetensors"; }

steps() { (cd run && ls -d checkpoint-* 2> /dev/null | sed 's/checkpoint-//' | sort -n | paste -sd' '); }

as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

@test "a link protects its checkpoint where folders above may not be searched" {
  [ "$(id -u)" = 0 ] || skip "needs root to become another user"
  run_of 100 200 300
  ln -s checkpoint-100 run/kept
  mkdir -p above/below
  mv run above/below
  cp "$BIN_DIR/ckpt-prune" above/below
  chmod -R a+rwX above/below
  find above/below/run -exec touch -h -d 2026-01-01 {} +
  chmod 700 above
  cd above/below
  expect 0 as_nobody ./ckpt-prune --keep 1 run
  [ "$(steps)" = "100 300" ]
}

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
  has stderr "no checkpoint has a value of eval_los"
  # Whatever its direction: nothing of that name is logged.
  expect 4 ckpt-prune --keep-best 1 --metric strange run
  has stderr "no checkpoint has a value of eval_strange"
  sed -i 's/"eval_acc"/"eval_zeal"/' run/*/trainer_state.json
  expect 2 ckpt-prune --keep-best 1 --metric zeal run
  has stderr "say --min or --max"
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

@test "several runs, recursively, and one that is missing or locked" {
  run_of 100 200
  mkdir -p runs/deep/er
  cp -a run runs/a
  cp -a run runs/deep/er/b
  ln -s ../run runs/link
  expect 0 ckpt-prune -q --keep 1 --recursive runs
  [ ! -e runs/a/checkpoint-100 ] && [ ! -e runs/deep/er/b/checkpoint-100 ]
  [ "$(steps)" = "100 200" ]
  # One that does not exist is a mistake in typing: nothing is done.
  expect 7 ckpt-prune --keep 1 run missing
  has stderr "missing: cannot open"
  expect 7 ckpt-prune --keep 1 run run/checkpoint-100/config.json/x
  expect 7 ckpt-prune --keep 2 missing
  [ "$(steps)" = "100 200" ]
  # One that is no folder is passed by.
  touch file
  expect 3 ckpt-prune --keep 2 file run
  has stderr "file: cannot open: Not a directory"
  expect 7 ckpt-prune --keep 2 file
  cp -a run other
  exec 9< other
  flock -n 9
  expect 75 ckpt-prune --keep 1 other
  expect 3 ckpt-prune --keep 1 run other
  has stderr "another ckpt-prune is at work here"
  [ "$(steps)" = 200 ] && [ -e other/checkpoint-100 ]
  expect 0 ckpt-prune -n --keep 1 other
  exec 9<&-
  expect 0 ckpt-prune -q --keep 1 other other/../other
  [ ! -e other/checkpoint-100 ]
  # A run that is a link is followed once.
  run_of 100
  ln -s run linked
  expect 0 ckpt-prune -q --keep 1 linked
  [ "$(steps)" = 200 ]
  expect 2 ckpt-prune --keep 1 run/checkpoint-200
  has stderr "name the run folder"
}

@test "two at once: one works, the other comes back with 75" {
  run_of 100 200 300 400
  pids=()
  for i in 1 2 3 4 5 6; do
    (code=0; ckpt-prune -q --keep 1 run 2> /dev/null || code=$?; echo $code >> codes) & pids+=($!)
  done
  wait "${pids[@]}"
  [ "$(sort -u codes | grep -cvE '^(0|75)$')" = 0 ]
  grep -qx 0 codes
  [ "$(steps)" = 400 ]
  [ "$(ls run/checkpoint-400 | wc -l)" = "$(ls "$FIXTURES/full-run/checkpoint-40" | wc -l)" ]
}

@test "kill -9 in a loop: never half a checkpoint under its name, the rerun finishes" {
  whole=$(ls "$FIXTURES/full-run/checkpoint-40" | wc -l)
  for round in $(seq 12); do
    run_of 100 200 300 400 500 600 700 800
    ckpt-prune -q --keep 1 run &
    pid=$!
    sleep "0.00$((round % 10))"
    kill -9 $pid 2> /dev/null || true
    wait $pid 2> /dev/null || true
    for checkpoint in run/checkpoint-*; do [ "$(ls "$checkpoint" | wc -l)" = "$whole" ]; done
    expect 0 ckpt-prune -q --keep 1 run
    [ "$(ls -A run)" = checkpoint-800 ]
    rm -r run
  done
}

@test "a bind mount that is read-only is 7 and nothing is lost" {
  [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null || skip "needs mounts"
  run_of 100 200
  expect 7 unshare -m bash -c "mount --bind run run && mount -o remount,ro,bind run && ckpt-prune --keep 1 run"
  has stderr "Read-only file system"
  [ "$(steps)" = "100 200" ]
  expect 0 unshare -m bash -c "mount --bind run run && mount -o remount,ro,bind run && ckpt-prune -n --keep 1 run"
}

@test "no permission: the others are done" {
  [ "$(id -u)" = 0 ] && command -v setpriv > /dev/null || skip "needs root to become another user"
  chmod 755 "$BATS_TEST_TMPDIR"
  run_of 100 200 300
  cp -a run locked
  chown -R 65534:65534 run
  chown root:root run/checkpoint-100 && chmod 700 run/checkpoint-100
  cp "$BIN_DIR/ckpt-prune" .
  as_nobody test -x ./ckpt-prune || skip "the temporary folder can't be reached by another user"
  expect 7 as_nobody ./ckpt-prune --keep 1 locked
  has stderr "Permission denied"
  expect 3 as_nobody ./ckpt-prune --keep 1 run locked
  # One that can't be looked at is left.
  [ "$(steps)" = "100 300" ]
  [ "$(ls locked | wc -l)" = 3 ]
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

@test "two runs in one folder: the rules are for the one saved last, the other keeps its newest and its best" {
  run_of 100 200 300 400 500
  for step in 100 200 300 400 500; do log_of $step '{"loss": 2.0, "step": 50}'; done
  # Times alone say nothing: they are lost in copying.
  touch run/checkpoint-100/trainer_state.json
  expect 0 ckpt-prune -n --keep 2 run
  [ -z "$stderr" ]
  has output "keep    checkpoint-400"
  for step in 100 200; do
    log_of $step '{"loss": NaN, "step": 50}'
    touch run/checkpoint-$step/trainer_state.json
  done
  sed -i 's/"best_model_checkpoint": null/"best_model_checkpoint": "checkpoint-300\/"/' run/checkpoint-500/trainer_state.json
  touch -d "2026-01-01 + 500 hours" run/checkpoint-500/trainer_state.json
  expect 0 ckpt-prune --max-total 1TB run
  [ -z "$stderr" ]
  expect 0 ckpt-prune --keep 1 run
  has stderr "2 runs in one folder: by its log checkpoint-500 is of another run than checkpoint-200, which was saved last (3 checkpoints of that run)"
  [ "$(steps)" = "200 300 500" ]
  expect 1 ckpt-prune -q --max-total 1KB run
  [ "$(steps)" = 200 ]
}

@test "trackers: what the trainer calls its last stays, and newer ones wait for it" {
  run_of 100 200 300 400
  echo checkpoint-200 > run/latest
  touch -d "2026-01-01 + 401 hours" run/latest
  expect 0 ckpt-prune --keep 1 run
  [ "$(steps)" = "200 300 400" ]
  touch -d "2026-01-01 + 300 hours" run/latest
  run_of 100
  expect 0 ckpt-prune --keep 1 run
  has stderr "latest is stale: checkpoint-400 was saved 4d 4h after it last changed"
  [ "$(steps)" = "200 400" ]
  run_of 100
  echo /elsewhere/checkpoint-200 > run/latest
  expect 0 ckpt-prune --keep 1 run
  has stderr "latest says '/elsewhere/checkpoint-200', which is not a complete checkpoint here"
  [ "$(steps)" = 400 ]
}

@test "by pattern: files of Lightning and plain torch, folders of others" {
  mkdir -p run/others
  for epoch in 1 2 3; do
    cp "$FIXTURES/full-run/checkpoint-40/scheduler.pt" "run/epoch=$epoch-step=${epoch}00-val_loss=0.$((4 - epoch)).ckpt"
    mkdir "run/step_$epoch"
    cp "$FIXTURES/full-run/checkpoint-40/model.safetensors" "run/step_$epoch"
  done
  find run -exec touch -d 2026-01-01 {} +
  ln -s "epoch=1-step=100-val_loss=0.3.ckpt" run/last.ckpt
  expect 0 ckpt-prune -q --keep 1 --pattern 'epoch=*.ckpt' run
  [ "$(ls -d run/*=*.ckpt | wc -l)" = 3 ]  # the trainer's link has not come to the newer ones yet
  touch -hd 2025-12-31 run/last.ckpt       # it never will
  expect 0 ckpt-prune -q --keep 1 --pattern 'epoch=*.ckpt' run
  [ "$(ls run)" = $'epoch=1-step=100-val_loss=0.3.ckpt\nepoch=3-step=300-val_loss=0.1.ckpt\nlast.ckpt\nothers\nstep_1\nstep_2\nstep_3' ]
  head -c 100 run/epoch=3*.ckpt > cut && cat cut > run/epoch=3*.ckpt
  expect 0 ckpt-prune --pattern 'epoch=*.ckpt' --list run
  has output "the file is cut"
  expect 0 ckpt-prune -q --keep-best 1 --metric val_loss --pattern 'epoch=*.ckpt' run
  expect 0 ckpt-prune -q --keep 2 --pattern 'step_*' run
  [ "$(ls -d run/step_*)" = $'run/step_2\nrun/step_3' ]
  expect 2 ckpt-prune --keep 1 --pattern '*' run
}

@test "by pattern: what is no checkpoint is left alone and named, the best too" {
  mkdir -p run/step_400 run/step_50
  for step in 100 200 300; do cp "$FIXTURES/full-run/checkpoint-40/optimizer.pt" "run/step_$step.pt"; done
  cp run/step_300.pt run/step_best.pt
  echo '{"loss": 1}' > run/step_500.jsonl
  touch run/step_50/notes.txt
  find run -exec touch -d 2026-01-01 {} +
  touch -d 2026-02-01 run/step_best.pt run/step_400
  expect 0 ckpt-prune --keep 1 --pattern 'step_*' run
  [ "$(ls run | paste -sd' ')" = "step_300.pt step_400 step_50 step_500.jsonl step_best.pt" ]
  has stderr "left alone, neither weights nor training state: step_400, step_50, step_500.jsonl"
  has stderr "left alone, no number in the name, as others have: step_best.pt"
  expect 0 ckpt-prune -q --keep 1 --pattern 'step_*' run
  [ -z "$stderr" ]
}

@test "folders of accelerate and diffusers are whole, and torn ones are told" {
  for step in 500 1000 1500; do
    mkdir -p run/checkpoint-$step/unet
    cp "$FIXTURES/full-run/checkpoint-40/model.safetensors" run/checkpoint-$step/unet/diffusion_pytorch_model.safetensors
    for name in optimizer.bin scheduler.bin random_states_0.pkl; do cp "$FIXTURES/full-run/checkpoint-40/scheduler.pt" run/checkpoint-$step/$name; done
    find run/checkpoint-$step -exec touch -d "2026-01-01 + $step hours" {} +
  done
  expect 0 ckpt-prune --torn remove run
  [ "$(steps)" = "500 1000 1500" ]
  head -c 1000 "$FIXTURES/full-run/checkpoint-40/model.safetensors" > run/checkpoint-1500/unet/diffusion_pytorch_model.safetensors
  find run/checkpoint-1500 -exec touch -d 2026-03-10 {} +
  expect 0 ckpt-prune --keep 1 run
  [ "$(steps)" = "1000 1500" ]
  has stderr "run/checkpoint-1500: torn: unet/diffusion_pytorch_model.safetensors: "
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

@test "what could not be looked at is named, 3" {
  run_of 100 200 300
  rm run/checkpoint-200/trainer_state.json
  # A link in a circle can't be opened by anybody.
  ln -s trainer_state.json run/checkpoint-200/trainer_state.json
  expect 3 ckpt-prune --keep 1 run
  has stderr "run/checkpoint-200: can't be read: "
  [ "$(steps)" = "200 300" ]
  expect 3 ckpt-prune -n --keep 1 run
}

@test "checkpoints below, or under other names, are hinted at" {
  run_of 100 200
  mkdir -p hpo verl deep/a
  mv run hpo/run-0
  expect 0 ckpt-prune --keep 1 hpo
  [ "$stderr" = "ckpt-prune: hpo: no checkpoint found, but run-0 below holds some (--recursive)" ]
  expect 0 ckpt-prune -q --keep 1 hpo
  [ -z "$stderr" ]
  mkdir verl/global_step_20 deep/a/iter_0000100
  expect 0 ckpt-prune --keep 1 verl
  has stderr "global_step_20 looks like one (--pattern 'global_step_*')"
  expect 0 ckpt-prune --keep 1 --recursive verl
  has stderr "--pattern 'global_step_*'"
  expect 0 ckpt-prune --keep 1 deep
  has stderr "a/iter_0000100 looks like one (--recursive --pattern 'iter_*')"
  expect 0 ckpt-prune --keep 1 --pattern 'step_*' hpo/run-0
  has stderr "checkpoint-100 looks like one (without --pattern)"
  # A young run has nothing yet, and nothing is said.
  mkdir young
  touch young/train.log
  expect 0 ckpt-prune --keep 1 young
  [ -z "$stderr" ]
}

@test "a run of which no checkpoint is whole is refused, the others are done" {
  run_of 100 200 300
  for step in 100 200 300; do tear $step; done
  mv run torn
  run_of 100 200
  for what in aside remove; do
    expect 5 ckpt-prune --torn $what torn
    has stderr "torn: no checkpoint here is whole"
  done
  expect 3 ckpt-prune --keep 1 --torn remove torn run
  [ "$(steps)" = 200 ]
  [ "$(ls torn | wc -l)" = 3 ]
  expect 0 ckpt-prune -q --torn remove --allow-unresumable torn
  [ "$(ls torn)" = checkpoint-300 ]
  expect 0 ckpt-prune -q --torn aside --allow-unresumable torn
  [ "$(ls torn)" = torn-checkpoint-300 ]
}

@test "what staging left: named with --torn, touched by remove and aside alone" {
  run_of 100 200
  cp -r run/checkpoint-200 run/tmp-checkpoint-300
  find run -exec touch -d 2026-01-01 {} +
  expect 0 ckpt-prune --keep 2 run
  [ -z "$stderr" ]
  expect 0 ckpt-prune --keep 2 --torn keep run
  has stderr "run/tmp-checkpoint-300: what a save that was cut off left behind"
  touch run/tmp-checkpoint-300
  expect 0 ckpt-prune --torn remove run
  [ -d run/tmp-checkpoint-300 ]
  touch -d 2026-01-01 run/tmp-checkpoint-300
  expect 0 ckpt-prune --keep 1 --torn remove run
  has stderr "removed 2 checkpoints"
  [ "$(ls run)" = checkpoint-200 ]
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
