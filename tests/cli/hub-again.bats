# SPDX-License-Identifier: Apache-2.0
# hub-push after failures: what is sent again, what is not, and how a push ends that can't go on.
load helper
load hub

setup() { hub_home; }

@test "pieces and answers that fail are sent again" {
  in_pieces
  for fault in 'storage-put status "status":500,"times":2' 'storage-put reset "times":2' 'storage-put status "status":503' \
    'storage-put expired' 'preupload status "status":502' 'batch reset' 'complete status "status":504' 'verify reset' \
    'info reset' 'create busy' 'storage-put cut "bytes":100' 'batch truncate' 'storage-put reset-after' 'complete reset-after' \
    'preupload rate-limit "seconds":0' 'preupload retry-after "seconds":0' 'batch retry-date "seconds":0' 'info warning "message":"beware"'; do
    hub_admin POST reset > /dev/null
    # shellcheck disable=SC2086
    hub_fault $fault
    expect 0 hub-push out ada/tiny
    same_files ada/tiny out || { echo "after $fault"; return 1; }
    [ "$(hub_admin GET fault)" = '{"left":0}' ] || { echo "not played: $fault"; return 1; }
    [ "$(hub_titles ada/tiny | grep -c hub-push)" = 1 ]
  done
  has stderr "the hub warns: beware"
}

@test "a commit whose answer is lost is looked for, never made twice" {
  in_pieces
  for fault in 'status "status":504' 'status-after "status":504' 'reset-after' 'reset' 'truncate' 'late "status":504'; do
    hub_admin POST reset > /dev/null
    # shellcheck disable=SC2086
    hub_fault commit $fault
    expect 0 hub-push out ada/tiny
    same_files ada/tiny out || { echo "after $fault"; return 1; }
    [ "$(hub_titles ada/tiny | grep -c hub-push)" = 1 ] || { echo "twice: $fault"; return 1; }
    [[ $output = "$HF_ENDPOINT"/ada/tiny/commit/* ]]
  done
}

@test "somebody else's commit: planned again once, --expect-parent never" {
  in_pieces
  expect 0 hub-push out ada/tiny
  head=${output##*/}
  hub_admin POST commit '{"id":"ada/tiny"}'
  expect 6 hub-push --expect-parent "$head" out ada/tiny
  has stderr "not at $head"
  echo more > out/more.txt
  hub_fault commit status '"status":412'
  expect 0 hub-push out ada/tiny
  hub_files ada/tiny | grep -q other.txt
  hub_files ada/tiny | grep -q more.txt
}

@test "a hub that keeps failing is 75, one that refuses is 6, and nothing is committed" {
  in_pieces
  check() { # CODE TEXT FAULT...
    hub_admin POST reset > /dev/null
    hub_fault "${@:3}"
    expect "$1" hub-push --max-wait 1s out ada/tiny
    has stderr "$2"
    [ "$(hub_count 'e["route"] == "commit" and e["status"] == 200')" = 0 ]
  }
  check 75 503 storage-put status '"status":503,"times":-1'
  check 75 502 preupload status '"status":502,"times":-1'
  check 75 429 preupload commit-quota '"times":-1'
  check 75 429 batch rate-limit '"seconds":3000'
  check 6 "unexpected answer" batch lfs-missing
  check 6 "unexpected answer" preupload garbage
  check 6 "unexpected answer" preupload html
  check 6 "unexpected answer" preupload missing-path
  check 6 ETag storage-put no-etag '"times":-1'
  check 6 "refuses 1 object" batch lfs-error
  check 6 "another host" info redirect '"location":"http://localhost:9/x"'
  check 6 redirects info redirect-loop '"times":-1'
  check 6 403 commit status '"status":403'
  has stderr "request "
  check 75 "storage answers 400" storage-put corrupt '"times":-1'
  stop_hub
  expect 75 hub-push --max-wait 1s out ada/tiny
}

@test "what a push that was killed has stored is not sent again" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  hub_fault storage-put stall '"after":9,"times":-1,"seconds":30'
  hub-push -j 1 out ada/tiny 3>&- & pid=$!
  until [ "$(hub_count 'e["route"] == "storage-put"')" -ge 9 ]; do :; done
  kill -9 $pid
  wait $pid || :
  hub_admin DELETE fault
  hub_admin DELETE log
  expect 0 hub-push out ada/tiny
  same_files ada/tiny out
  [ "$(hub_count 'e["route"] == "storage-put"')" -le 11 ]
  [ -z "$(ls out | grep -v a.bin)" ]
  [ -z "$(find home -name journal)" ]
}

@test "a signal ends it within a second and says how to go on" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  hub_fault storage-put stall '"times":-1,"seconds":30'
  hub-push out ada/tiny 2> messages 3>&- & pid=$!
  until [ "$(hub_admin GET fault | tr -dc 0-9)" = 1 ] && grep -q created messages; do :; done
  begin=$(date +%s%N)
  kill -TERM $pid  # shells start background jobs with SIGINT ignored
  code=0
  wait $pid || code=$?
  [ $(($(date +%s%N) - begin)) -lt 1000000000 ]
  [ "$code" = 143 ]
  grep -q "run the same command again" messages
}

@test "files that change, vanish or can't be read" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  mkfifo out/pipe
  ln -s nowhere out/broken
  ln -s .. out/loop
  ln -s a.bin out/link.bin
  expect 0 hub-push -n out ada/tiny
  has stderr "pipe: left out: not a regular file"
  has stderr "broken: left out: a link that does not lead to a file"
  has stderr "loop/: left out"
  has output link.bin
  expect 0 hub-push -n --follow-symlinks out ada/tiny
  has stderr "a link back to a folder above it"
  rm out/pipe out/broken out/loop out/link.bin
  hub_fault storage-put slow '"bytes":20000,"times":1'
  hub-push -j 1 out ada/tiny 2> messages 3>&- & pid=$!
  until [ "$(hub_admin GET fault | tr -dc 0-9)" = 0 ]; do :; done
  echo changed >> out/a.bin
  code=0
  wait $pid || code=$?
  cat messages
  [ "$code" = 75 ]
  grep -q "changed while it was being sent" messages
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
}

@test "two pushes at once: one goes on, the other ends with a message" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  hub_fault storage-put slow '"bytes":30000,"times":1'
  hub-push out ada/tiny 3>&- & pid=$!
  until [ "$(hub_admin GET fault | tr -dc 0-9)" = 0 ]; do :; done
  expect 75 hub-push out ada/tiny
  has stderr "another push"
  wait $pid
  same_files ada/tiny out
}

@test "--every on a folder without checkpoints says on a terminal what it waits for, once, and nothing in cron" {
  mkdir run
  python3 - > shown 2>&1 <<'PY' 3>&- & waiting=$!
import os, pty, signal, subprocess
main, side = pty.openpty()
process = subprocess.Popen(["hub-push", "--every", "1s", "run", "ada/x"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=side)
text = b""
while b"every 1s" not in text:
    text += os.read(main, 4096)
process.send_signal(signal.SIGTERM)
process.wait()
print(text.decode(), end="")
PY
  wait $waiting
  grep -q 'run: no complete checkpoint yet; looking again every 1s' shown
  hub-push --every 1s run ada/x 2> messages 3>&- & pusher=$!
  until [ "$(readlink /proc/$pusher/exe)" != "$(readlink /proc/$$/exe)" ] && grep -q ') S ' /proc/$pusher/stat; do :; done
  rmdir run  # which ends it
  code=0
  wait $pusher || code=$?
  [ "$code" = 7 ]
  ! grep -q 'no complete checkpoint' messages
  expect 7 hub-push --every 1s run ada/x
  has stderr "hub-push: run: "
}
