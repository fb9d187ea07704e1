# SPDX-License-Identifier: Apache-2.0
# A hub and a storage that misbehave while st-pack reads a model there: the right bytes in the end, or the right exit code, one clear
# line, and the partial output kept or removed.
load helper
load hub
load remote

setup() { hub_home; }

# A model of 6 MB in one file, and what a local run makes of it in ./here.
ready() {
  start_hub "$@"
  big m 1 3 2000000
  publish m ada/m
  expect 0 st-pack -q m -o here
}

# mends ROUTE KIND [MEMBERS]: this once, and the result is the same.
mends() {
  hub_fault "$@"
  rm -rf there
  expect 0 st-pack -q hf://ada/m -o there --max-wait 60s || { echo "$@"; return 1; }
  [ "$(hub_admin GET fault)" = '{"left":0}' ] || { echo "never met: $*"; return 1; }
  diff -r here there && [ ! -e there.partial ]
}

# fails CODE TEXT ROUTE KIND [MEMBERS]: always, from some request on: that exit code, and a line that has the text.
fails() {
  hub_fault "${@:3}"
  rm -rf there there.partial
  expect "$1" st-pack -q hf://ada/m -o there --max-wait 1s || { echo "${@:3}"; return 1; }
  has stderr "$2" || { echo "${@:3}"; return 1; }
  [ "$(grep -vc 'there.partial' <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
  [ ! -e there ]
  [ "$1" = 75 ] || [ ! -e there.partial ]
  hub_admin DELETE fault > /dev/null
}

@test "what passes is retried at every kind of request" {
  ready
  local route kind
  for route in info tree resolve resolve-cache storage-get; do
    for kind in 502 503 reset truncate; do mends $route $kind; done
  done
  for kind in 500 reset truncate 'truncate "bytes":0,' 'truncate "bytes":70000,' 'reset-answer "bytes":70000,' short-range expired 429; do
    # shellcheck disable=SC2086
    set -- $kind
    mends storage-get "$1" "${2:-}\"after\":1"
  done
  no_leak
}

@test "an answer that tells when to come back is believed" {
  ready
  mends resolve retry-after
  mends storage-get retry-after '"after":1'
}

@test "links that expire are asked for again, and the token stays with the hub" {
  ready
  mends resolve expired-links
  mends storage-get expired '"after":1'
  hub_admin DELETE log > /dev/null
  hub_fault storage-get expired '"after":1,"times":2'
  rm -rf there
  expect 0 st-pack -q hf://ada/m -o there
  [ "$(hub_count 'e["route"] == "resolve" and e["repo"] == "model/ada/m" and "model.safetensors" in e["target"]')" -le 3 ]
  no_leak
}

@test "a torn answer goes on from the byte that it reached" {
  ready
  hub_fault storage-get truncate '"after":1,"bytes":1500000'
  rm -rf there
  expect 0 st-pack -q hf://ada/m -o there
  diff -r here there
  [ "$(sent)" -le 6200000 ]
}

@test "a hub or storage that fails for good: 75, and the partial output is kept" {
  ready
  fails 75 '' info 503 '"times":-1'
  fails 75 '' tree 503 '"times":-1'
  fails 75 '' resolve 503 '"times":-1'
  fails 75 '' storage-get 503 '"times":-1'
  fails 75 '' storage-get 503 '"after":1,"times":-1'
  [ -e there.partial ]
  fails 75 '' storage-get truncate '"bytes":0,"after":1,"times":-1'
  fails 75 '' storage-get reset '"after":1,"times":-1'
}

@test "no such thing, no access: 6, and nothing is left" {
  ready
  fails 6 '' info 404
  fails 6 'restricted' resolve status '"status":403,"code":"GatedRepo","message":"Access is restricted","times":-1'
  fails 6 '' storage-get status '"status":404,"times":-1'
  expect 6 st-pack hf://ada/none -o there
  expect 6 st-pack hf://ada/m@none -o there
  expect 6 st-pack hf://ada/m/none.safetensors -o there || [ "$status" = 7 ]
  expect 7 st-pack hf://ada/m hf://ada/m -o there  # as with two folders here
  has stderr "hf://ada/m: is a folder"
  for name in hf://ada hf:// hf://ada/m@ hf://ada/../x https:///x.safetensors https://me:pw@127.0.0.1/x.safetensors; do
    expect 2 st-pack "$name" -o there
  done
  [ ! -e there.partial ]
}

@test "no ranges: 6, and no more is read than the start of that answer" {
  start_hub
  big m 1 3 16000000  # more than sockets take in
  publish m ada/m
  local kind
  for kind in ignore-range no-ranges refused-range; do
    hub_admin DELETE log > /dev/null
    fails 6 range storage-get $kind '"times":-1'
    [ "$(over_log sum sent_bytes)" -le 20000000 ]
  done
  fails 6 range storage-get refused-range '"after":1,"times":-1'
  for query in ranges=ignore ranges=none; do
    curl -sS -T m/model.safetensors "$HF_STORAGE/_files/x.safetensors?$query"
    expect 6 st-pack "$HF_STORAGE/_files/x.safetensors" -o there
    has stderr range
  done
}

@test "a range that is not the one that was asked for is never taken" {
  ready
  fails 6 '' storage-get wrong-range '"after":1,"times":-1'
  fails 75 '' storage-get wrong-size '"after":1,"times":-1'
  fails 6 '' storage-get encoded '"after":1,"times":-1'
  fails 6 'web page' storage-get html '"times":-1'
}

@test "bytes that are not the hub's: 6, SHA-256 is named, nothing is left" {
  ready
  fails 6 SHA-256 storage-get corrupt '"after":1'
}

@test "an object that changed: 6 if the hub says so, else it is tried again" {
  ready
  # 200 to a range once: the hub still says the same hash.
  mends storage-get changed '"after":1'
  mends storage-get wrong-etag '"after":1'
  mends storage-get ignore-range '"after":1'
  # Behind a new link nothing but the SHA-256 tells.
  fails 6 SHA-256 storage-get changed '"after":1,"times":-1'
  # Replaced while the second request waits.
  hub_fault storage-get stall '"after":1,"times":-1'
  at_stall 1 st-pack -q hf://ada/m -o there --max-wait 20s
  hub_admin POST replace '{"id":"ada/m","path":"model.safetensors"}' > /dev/null
  all_well
  ended 6
  grep -q changed said
  [ ! -e there ] && [ ! -e there.partial ]
}

@test "an ETag that differs from link to link, as a bridge to Xet gives it" {
  ready --link-etags
  mends storage-get expired '"after":1'
  alike m hf://ada/m --dtype bf16
}

@test "https: a strong ETag, a date, or neither" {
  start_hub
  big m 1 3 2000000
  local query
  for query in '' etag=weak etag=none; do
    curl -sS -T m/model.safetensors "$HF_STORAGE/_files/x.safetensors?$query"
    rm -rf here there
    expect 0 st-pack -q m/model.safetensors -o here
    expect 0 st-pack "$HF_STORAGE/_files/x.safetensors" -o there
    diff -r here there
    [ -z "$query" ] || has stderr unverified
    [ -n "$query" ] || [[ $stderr != *unverified* ]]
  done
  # It is replaced while it is read.
  for query in '' etag=weak etag=none; do
    curl -sS -T m/model.safetensors "$HF_STORAGE/_files/x.safetensors?$query"
    rm -rf there
    hub_fault file-get stall '"after":1,"times":-1'
    at_stall 1 st-pack -q "$HF_STORAGE/_files/x.safetensors" -o there --max-wait 2s
    printf '%s' "$query!" | dd of=m/model.safetensors bs=1 seek=5000000 conv=notrunc status=none
    curl -sS -T m/model.safetensors "$HF_STORAGE/_files/x.safetensors?$query"
    all_well
    ended 6
    [ ! -e there ] && [ ! -e there.partial ]
  done
}
