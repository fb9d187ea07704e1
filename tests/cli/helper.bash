# SPDX-License-Identifier: Apache-2.0
# Shared by all suites: each test runs in a folder of its own, with the built programs first in PATH.
bats_require_minimum_version 1.5.0

# The programs that are tested, those of build/release unless BIN_DIR names others, and the inputs of all tests.
BIN_DIR=$(realpath -m "${BIN_DIR:-$BATS_TEST_DIRNAME/../../build/release/tools}")
FIXTURES=${FIXTURES:-$(realpath "$BATS_TEST_DIRNAME/../fixtures")}
export BIN_DIR FIXTURES
[ -x "$BIN_DIR/st-inspect" ] || { echo "$BIN_DIR holds no programs: build them, or set BIN_DIR" >&2; exit 1; }

# start: how every setup() begins.
start() {
  leave_out
  PATH=$BIN_DIR:$PATH
  cd "$BATS_TEST_TMPDIR" || exit
}
setup() { start; }

# Skips the test if the list SKIPPED has it, with the reason there (tests/aarch64/skipped.txt).
leave_out() {
  local suite name reason
  while read -r suite name; do
    [ "$suite" != = ] || reason=$name
    # shellcheck disable=SC2053
    [[ ${BATS_TEST_FILENAME##*/} != "$suite.bats" || $BATS_TEST_DESCRIPTION != $name ]] || skip "$reason"
  done < "${SKIPPED:-/dev/null}"
}

# expect CODE COMMAND...: runs it; $output is stdout, $stderr what it is called. Fails on another exit status.
expect() {
  local code=$1
  shift
  run --separate-stderr "$@"
  [ "$status" = "$code" ] || { echo "exit $status, not $code: $*"; echo "$output"; echo "$stderr"; return 1; }
}

# stdout equals the file tests/fixtures/golden/NAME; UPDATE_GOLDEN=1 rewrites it.
golden() {
  local file=$FIXTURES/golden/$1
  [ -z "${UPDATE_GOLDEN:-}" ] || { mkdir -p "$FIXTURES/golden"; printf '%s\n' "$output" > "$file"; }
  diff -u "$file" <(printf '%s\n' "$output")
}

# has WHERE TEXT: the text stands in $output or $stderr.
has() {
  [[ ${!1} == *"$2"* ]] || { echo "'$2' is not in $1: ${!1}"; return 1; }
}

# For tests that measure memory or time, or put a library before all others.
no_sanitizer() { ! ldd "$BIN_DIR/st-pack" | grep -qE 'asan|tsan' || skip "a build with sanitizers"; }
# For tests that measure time.
no_counting() { ! grep -q '[.]gcda' "$BIN_DIR/st-pack" || skip "a build that counts lines"; }

is_empty() { [ -z "$(ls -A "$1")" ] || { ls -lA "$1"; return 1; }; }

# safetensors FILE HEADER BYTES: a file with this header and so many zero bytes.
safetensors() {
  python3 - "$@" <<'PY'
import struct, sys
header = sys.argv[2].encode().decode("unicode_escape").encode("latin-1")
header += b" " * (-len(header) % 8)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(header)) + header + bytes(int(sys.argv[3])))
PY
}

# tensor NAME DTYPE SHAPE BEGIN END: a member of a header.
tensor() { printf '"%s":{"dtype":"%s","shape":%s,"data_offsets":[%s,%s]}' "$@"; }

# floats FILE NAME:SHAPE:VALUE...: a file of F32 tensors. floats FOLDER: what its files hold (floats.py).
floats() { python3 "$BATS_TEST_DIRNAME/floats.py" "$@"; }
