# SPDX-License-Identifier: Apache-2.0
# What README and the man pages print is run as printed, on the fixtures under the names used there.
load helper
load hub

root=$BATS_TEST_DIRNAME/../..

# The folders that documents speak of, a user's home with two runs, and a Hub.
scene() {
  cp -r "$FIXTURES/full-run" "$FIXTURES/zero3-run" "$FIXTURES/fsdp-run" "$FIXTURES/lora-run" "$FIXTURES/pair" .
  cp -r full-run/checkpoint-40 .
  cp -r "$FIXTURES/torch/model-sharded" pytorch
  export PYTHONPATH=$root/tools/python HOME=$PWD/home XDG_CACHE_HOME=$PWD/home/.cache XDG_STATE_HOME=$PWD/home/.state
  mkdir -p "$HOME/runs"
  cp -r full-run "$HOME/runs/llama"
  cp -r full-run "$HOME/runs/other"
  start_hub
}

# recipes FILE LEAST: all run, and there are not suspiciously few.
recipes() {
  python3 "$BATS_TEST_DIRNAME/recipes.py" "$1" > log || { cat log; return 1; }
  [ "$(tail -n 1 log)" -ge "$2" ] || { cat log; return 1; }
}

@test "README: every command runs as printed and prints what is printed there" {
  no_sanitizer  # what documents show is the same in every build
  scene
  recipes "$root/README.md" 12
}

@test "a document that is wrong is noticed" {
  scene
  printf '    $ st-inspect --check=hub checkpoint-40\n    something else\n' > wrong.md
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.md
  has stderr "something else"
  printf '```sh\nst-inspect nowhere\n```\n' > wrong.md
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.md
  printf '```python\nimport model_coreutils as mc\nmc.st_inspect("nowhere")\n```\n' > wrong.md
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.md
  printf '```cron\n1 2 * * * st-inspect nowhere\n```\n' > wrong.md
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.md
  printf '.SH EXAMPLES\n.nf\nst\\-inspect nowhere\n.fi\n.SH SEE ALSO\n' > wrong.1
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.1
  # Of a script each command counts.
  printf '.RS 4\n.EX\nst\\-inspect nowhere\necho fine\n.EE\n' > wrong.7
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.7
  printf '.EX\n$ st\\-inspect \\-\\-check=hub checkpoint\\-40\nsomething else\n.EE\n' > wrong.7
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.7
  has stderr "something else"
  printf '.\\" file bin/script\n.EX\n#!/bin/sh\nexit 3\n.EE\n.\\" cron\n.EX\n1 2 * * * bin/script\n.EE\n' > wrong.7
  expect 1 python3 "$BATS_TEST_DIRNAME/recipes.py" wrong.7
  has stderr "ended with 3"
}

@test "README: the picture shows what the programs print" {
  no_sanitizer  # what documents show is the same in every build
  picture=$root/man/terminal.svg
  [ -z "${UPDATE_GOLDEN:-}" ] || "$root/tests/screenshots" "$BIN_DIR" "$picture"
  expect 0 "$root/tests/screenshots" --check "$BIN_DIR" "$picture"
  sed 's/sound/hollow/' "$picture" > wrong.svg
  expect 1 "$root/tests/screenshots" --check "$BIN_DIR" wrong.svg
  has output "hollow"
  has stderr "make screenshots"
  expect 1 "$root/tests/screenshots" --check "$BIN_DIR" missing.svg
  # Drawn anew it is the same where the disk is; no path of this machine and nothing from elsewhere is in it.
  expect 0 "$root/tests/screenshots" "$BIN_DIR" one.svg
  expect 0 "$root/tests/screenshots" "$BIN_DIR" two.svg
  cmp one.svg two.svg
  ! grep -E '/(tmp|home|root|work|usr)/|href|@import|url\(' "$picture"
}

@test "front documents: links lead somewhere, paths and make targets that they name are there, README is short" {
  no_sanitizer  # reads texts, runs no programs
  expect 0 python3 "$root/tests/lint/documents.py" --self-test
  expect 0 python3 "$root/tests/lint/documents.py"
}

@test "man pages: the cookbook and the two ways of modelutils(7) run as printed" {
  no_sanitizer  # what documents show is the same in every build
  for page in modelutils-cookbook.7:31 modelutils.7:2; do
    mkdir "$BATS_TEST_TMPDIR/${page%:*}"
    cd "$BATS_TEST_TMPDIR/${page%:*}"
    scene
    recipes "$root/man/${page%:*}" "${page#*:}"
    stop_hub
  done
}

@test "man pages: the EXAMPLES of every program run as printed" {
  no_sanitizer  # what documents show is the same in every build
  for page in "$root"/man/*.1; do
    mkdir "$BATS_TEST_TMPDIR/${page##*/}"
    cd "$BATS_TEST_TMPDIR/${page##*/}"
    scene
    cp -r "$FIXTURES/quantized/fp8-block" fp8
    [ "${page##*/}" = st-pack.1 ] || st-pack -q checkpoint-40 -o out
    [ "${page##*/}" = lora-extract.1 ] || lora-extract -q --base pair/base --tuned pair/tuned --rank auto -o found > /dev/null
    # Those that read from a hub find a model there.
    grep -q '^hub' <<< "${page##*/}" || hub-push -q full-run/checkpoint-40 ada/tiny > /dev/null
    recipes "$page" 6
    stop_hub
  done
}
