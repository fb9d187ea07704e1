# SPDX-License-Identifier: Apache-2.0
# Partial outputs of st-pack: whose they are, who may take them over and when, and what is not touched. Storage holds back requests (at_stall)
# where a run is to be stopped, so nothing sleeps; times of files stand for time that passes.
load helper
load hub
load remote

setup() { hub_home; }
teardown() {
  umount there 2> /dev/null || :
  [ -z "${pid:-}" ] || kill -9 "$pid" 2> /dev/null || :
  stop_hub
}

# ada/m on the Hub, 24 MB, and what a local run makes of it in ./here.
ready() {
  start_hub
  big m 1 6 4000000
  publish m ada/m
  expect 0 st-pack -q m -o here
}

# halted COMMAND...: runs it until it waits for the hub with some of the model written.
halted() {
  hub_fault storage-get stall '"after":4,"times":2'
  at_stall 2 "$@" --connections 2
}
# killed [OPTIONS]: a run of ada/m that was killed there.
killed() {
  halted st-pack hf://ada/m -o there "$@"
  kill -9 $pid
  ended 137
  all_well
  [ -e there.partial/record ]
}
# elsewhere: the record says that another machine holds it.
elsewhere() {
  python3 - <<'PY'
import hashlib
lines = open("there.partial/record", "rb").read().split(b"\n")
at = next(i for i, line in enumerate(lines) if line.startswith(b"owner "))
words = lines[at].split(b" ")
lines[at] = b"owner " + words[1] + b" 01234567 node7 locked "
lines[at] += hashlib.sha256(lines[at]).hexdigest()[:16].encode()
open("there.partial/record", "wb").write(b"\n".join(lines))
PY
}
long_ago() { touch -d '125 seconds ago' there.partial/record; }
whole() {
  expect 0 st-pack -q hf://ada/m -o there "$@"
  diff -r here there
  [ ! -e there.partial ] && [ -z "$(find . -name '.*.mu-*')" ]
}

@test "another machine's is waited for until nothing has touched it for two minutes" {
  ready
  killed
  elsewhere
  expect 75 st-pack hf://ada/m -o there
  has stderr "st-pack: there.partial: is in use by a run on node7"
  has stderr "if it was killed, run this again in"
  touch -d '100 seconds ago' there.partial/record
  expect 75 st-pack hf://ada/m -o there --force
  [ ! -e there ]
  long_ago
  whole
}

@test "a stopped run is taken over after two minutes, ends with 75 when it goes on, and spoils nothing" {
  ready
  halted st-pack hf://ada/m -o there
  kill -STOP $pid
  expect 75 st-pack hf://ada/m -o there
  has stderr "wait until that run has ended"
  long_ago
  all_well
  whole
  kill -CONT $pid
  ended 75
  grep -q "another run has taken it over" said
  diff -r here there
  [ ! -e there.partial ]
}

@test "a partial output of another machine that ended by itself is free at once" {
  ready
  halted st-pack hf://ada/m -o there
  kill -TERM $pid
  ended 143
  all_well
  elsewhere
  whole
}

@test "the command is quoted for the shell, once, without --force, and not with -q" {
  ready
  halted st-pack hf://ada/m --select '*.mlp.*' --force -o 'the re'
  kill -TERM $pid
  ended 143
  all_well
  [ "$(grep -c 'to continue' said)" = 1 ]
  [[ $(tail -n 1 said) =~ ^"st-pack: the re.partial keeps "[0-9.]+" MB; to continue: st-pack hf://ada/m --select '*.mlp.*' -o 'the re' --connections 2 (--force would start anew)"$ ]]
  rm -r 'the re.partial'
  halted st-pack -q hf://ada/m -o there
  kill -TERM $pid
  ended 143
  all_well
  [ ! -s said ]
  [ -e there.partial ]
  # And it works as it was printed.
  halted st-pack hf://ada/m --select '*.mlp.*' -o 'the re'
  kill -TERM $pid
  ended 143
  all_well
  eval "$(tail -n 1 said | sed 's/.*to continue: //')"
  diff -r here 'the re'
}

@test "what has that name and is not ours is refused, and stays" {
  ready
  local kind
  mkdir else
  echo precious > else/file
  for kind in file folder link; do
    case $kind in
      file) echo precious > there.partial ;;
      folder) cp -r else there.partial ;;
      link) ln -s else there.partial ;;
    esac
    expect 5 st-pack hf://ada/m -o there --force
    has stderr "there.partial"
    has stderr "move it away, or write elsewhere"
    grep -rq precious there.partial/ || grep -q precious there.partial
    [ ! -e there ]
    rm -rf there.partial
  done
  [ "$(ls else)" = file ]
}

@test "other runs leave it alone, in the same folder and with other outputs" {
  ready
  killed
  cp -r there.partial before
  expect 0 st-pack -q hf://ada/m -o other
  expect 0 st-pack -q m -o local
  expect 2 st-pack hf://ada/m -o there --no-such-option
  expect 6 st-pack hf://ada/missing -o elsewhere
  diff -r before there.partial
  whole
}

@test "in a mount point it lies inside" {
  [ "$(id -u)" = 0 ] && unshare -m true 2> /dev/null || skip "needs mounts"
  ready
  mkdir there
  mount -t tmpfs -o size=60m none there 2> /dev/null || skip "needs mounts"
  hub_fault storage-get stall '"after":4,"times":2'
  at_stall 2 st-pack hf://ada/m -o there --connections 2
  kill -TERM $pid
  ended 143
  all_well
  grep -q 'there/.partial keeps' said
  [ "$(ls -A there)" = .partial ]
  local code=0
  expect 0 st-pack -q hf://ada/m -o there || code=1
  diff -r here there || code=1
  umount there
  [ $code = 0 ]
}

@test "hub-push leaves it out, and ckpt-prune does not see it" {
  ready
  killed
  cp -r here out
  cp -r there.partial out/sub.partial
  expect 0 hub-push -n out ada/n
  has stderr "sub.partial/"
  [[ $output != *sub.partial/record* ]]
  cp -r "$FIXTURES/full-run" r
  cp -r there.partial r/checkpoint-60.partial
  expect 0 ckpt-prune --keep 1 --allow-unresumable r
  [ -e r/checkpoint-60.partial/record ] && [ -e r/checkpoint-60 ] && [ ! -e r/checkpoint-20 ]
}
