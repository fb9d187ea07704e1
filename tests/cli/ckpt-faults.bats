# SPDX-License-Identifier: Apache-2.0
# ckpt-prune where it may not look or write, is killed, or meets itself.
load helper
load ckpt

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
  # One that is not a folder is passed over.
  touch file
  expect 3 ckpt-prune --keep 2 file run
  has stderr "file: cannot open: Not a directory"
  expect 7 ckpt-prune --keep 2 file
  cp -a run other
  exec 9< other
  flock -n 9
  expect 75 ckpt-prune --keep 1 other
  expect 3 ckpt-prune --keep 1 run other
  has stderr "another ckpt-prune is running here"
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
