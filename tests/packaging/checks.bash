# SPDX-License-Identifier: Apache-2.0
# What the tests of packages share, sourced with the arguments BUILD (holds a local Hub) and PACKAGES. Gives $build, $root
# (of the sources), $packages, $cache, $work (removed at the end), two Hubs, and counts.
set -u
build=$(realpath "$1")
root=$(realpath "$(dirname "${BASH_SOURCE[0]}")/../..")
packages=$(realpath "$2")
work=$(mktemp -d)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/modelutils
passed=0 failed=0 skipped=0
export LC_ALL=C.UTF-8

check() { # NAME COMMAND...: its output is shown when it fails
  local name=$1
  shift
  if "$@" > "$work/log" 2>&1 < /dev/null; then
    echo "ok $name"
    passed=$((passed + 1))
  else
    tail -n 30 "$work/log"
    echo "not ok $name"
    failed=$((failed + 1))
  fi
}
skip() { # NAME REASON
  echo "skip $1: $2"
  skipped=$((skipped + 1))
}
# finish: the last line, and whether all went well.
finish() {
  [ "$skipped" = 0 ] || note=", $skipped skipped"
  echo "$passed passed, $failed failed${note:-}"
  [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
  exit
}

hubs=()
trap 'kill "${hubs[@]}"; rm -rf "$work"' EXIT
# hub NAME: starts a local Hub; its address is in that variable.
hub() {
  mkfifo "$work/$1"
  "$build/tests/hub/test_hub" --port 0 > "$work/$1" 2> /dev/null < /dev/null &
  hubs+=($!)
  exec {fd}< "$work/$1" # held open, so that the Hub never writes to a closed pipe
  local line
  read -r line <&"$fd"
  line=${line#HUB=}
  declare -g "$1=${line%% *}"
}
hub DEMO_HUB
hub README_HUB # README shows what a Hub says that has nothing yet
export DEMO_HUB

# unpacked TREE TAR COMMAND...: TAR of the cache in TREE, and below TREE/src the demo, README and the fixtures. If TAR is not
# there, the command first makes the folder $work/new, which is kept as TAR, never in part.
unpacked() {
  local tree=$1 tar=$cache/$2
  shift 2
  if [ ! -f "$tar" ]; then
    rm -rf "$work/new"
    "$@" && mkdir -p "$cache" && tar -cf "$tar.new.$$" -C "$work/new" . && mv "$tar.new.$$" "$tar" || return
  fi
  mkdir -p "$tree/src/tests/cli" && tar -xf "$tar" -C "$tree" &&
    cp "$root/README.md" "$tree/src/" && cp "$root/tests/cli/recipes.py" "$tree/src/tests/cli/" &&
    cp -r "$root/tests/demo" "$root/tests/fixtures" "$tree/src/tests/"
}

# For bash -e inside a Debian where the wheel is installed: the demo, and the five minutes of README.
five_minutes='
  python3 -m model_coreutils st-inspect --version
  /src/tests/demo "$(dirname "$(command -v st-pack)")"
  cp -r /src/tests/fixtures/full-run /src/tests/fixtures/lora-run /src/tests/fixtures/full-run/checkpoint-40 /root
  cd /root
  HF_ENDPOINT=$README_HUB HF_TOKEN=hf_testwrite no_proxy=127.0.0.1 python3 /src/tests/cli/recipes.py /src/README.md
'
