# SPDX-License-Identifier: Apache-2.0
# The local test Hub (tests/hub) for command-line tests: `load hub` after `load helper`. start_hub points the
# ecosystem's variables at it and away from the user's own; the Hub ends with the test that started it.

TEST_HUB=${TEST_HUB:-$BIN_DIR/../tests/hub/test_hub}

# start_hub [OPTIONS of test_hub]: sets HF_ENDPOINT, HF_STORAGE, HF_TOKEN (ada, who may write) and HF_HOME.
start_hub() {
  mkfifo "$BATS_TEST_TMPDIR/hub.ready"
  "$TEST_HUB" --port 0 "$@" > "$BATS_TEST_TMPDIR/hub.ready" 2> "$BATS_TEST_TMPDIR/hub.errors" 3>&- &
  HUB_PID=$!
  local line
  if ! read -r line < "$BATS_TEST_TMPDIR/hub.ready"; then
    cat "$BATS_TEST_TMPDIR/hub.errors"
    return 1
  fi
  rm "$BATS_TEST_TMPDIR/hub.ready"
  HF_ENDPOINT=${line#HUB=}
  HF_ENDPOINT=${HF_ENDPOINT%% *}
  HF_STORAGE=${line##*STORAGE=}
  HF_TOKEN=hf_testwrite
  HF_HOME=$BATS_TEST_TMPDIR/hf-home
  unset HF_TOKEN_PATH HF_HUB_CACHE HF_HUB_OFFLINE HUGGING_FACE_HUB_TOKEN HF_HUB_DISABLE_IMPLICIT_TOKEN HF_OIDC_RESOURCE
  export HF_ENDPOINT HF_STORAGE HF_TOKEN HF_HOME NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
}

stop_hub() {
  [ -z "${HUB_PID:-}" ] || { kill "$HUB_PID" && wait "$HUB_PID"; } || :
  HUB_PID=
}

# A suite with a teardown of its own calls stop_hub there.
teardown() { stop_hub; }

# hub_admin METHOD CALL [JSON]: an admin call, see tests/hub/README.md.
hub_admin() { curl -sS --fail-with-body -X "$1" ${3:+--data-binary "$3"} "$HF_ENDPOINT/_admin/$2"; }

# hub_fault ROUTE KIND [MEMBERS]: hub_fault storage-put status '"status":503,"times":2'
hub_fault() { hub_admin POST fault "{\"route\":\"$1\",\"kind\":\"$2\"${3:+,$3}}" > /dev/null; }

# hub_log [PYTHON CONDITION on e]: the requests so far, one a line: PORT ROUTE METHOD STATUS BODY_BYTES TARGET.
hub_log() {
  hub_admin GET log | python3 -c '
import json, sys
for e in json.load(sys.stdin):
    if eval(sys.argv[1], {"e": e}):
        print(e["port"], e["route"], e["method"], e["status"], e["body_bytes"], e["target"])' "${1:-True}"
}
hub_count() { hub_log "$@" | wc -l; }

# hub_files ID [REVISION [TYPE]]: SHA256 SIZE PATH of each file, as the Hub has them.
hub_files() {
  hub_admin GET "repo?type=${3:-model}&id=$1" | python3 -c '
import json, sys
for path, f in sorted(json.load(sys.stdin)["revisions"][sys.argv[1]]["files"].items()):
    print(f["sha256"], f["size"], path)' "${2:-main}"
}

# hub_titles ID [REVISION [TYPE]]: titles of the commits, newest first.
hub_titles() {
  hub_admin GET "repo?type=${3:-model}&id=$1" | python3 -c '
import json, sys
for c in json.load(sys.stdin)["revisions"][sys.argv[1]]["commits"]:
    print(c["title"])' "${2:-main}"
}

# For setup(): a home of its own, without the user's caches and states.
hub_home() {
  start
  export HOME=$BATS_TEST_TMPDIR/home
  unset XDG_CACHE_HOME XDG_STATE_HOME
  mkdir home
}

# A small model: out/ with config, tokenizer and weights, which the Hub keeps in LFS.
model() { cp -r "$FIXTURES/base" out; }

# large FILE BYTES: bytes that differ from each other.
large() { python3 -c 'import random, sys; random.seed(7); open(sys.argv[1], "wb").write(random.randbytes(int(sys.argv[2])))' "$@"; }

# The files at the Hub are those here, byte for byte.
same_files() { # ID FOLDER [REVISION]
  hub_files "$1" "${3:-main}" | grep -v ' .gitattributes$' | sed -E 's/^([0-9a-f]{64}) [0-9]+ /\1  /' > there
  (cd "$2" && sha256sum --quiet -c ../there && [ "$(find . -type f | wc -l)" = "$(wc -l < ../there)" ])
}

# Many small pieces: out/ with files of three pieces.
in_pieces() {
  mkdir out
  for i in 1 2 3; do large out/$i.bin 30000; echo $i >> out/$i.bin; done
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 12000 "$@"
}
