# SPDX-License-Identifier: Apache-2.0
# What the tests of card-gen share.
load helper

# lacks WHERE TEXT: the text does not stand in $output or $stderr, or in that file.
lacks() {
  if [ -f "$1" ]; then ! grep -qF -- "$2" "$1"; else [[ ${!1} != *"$2"* ]]; fi || { echo "'$2' is in $1"; return 1; }
}

model() { cp -r "$FIXTURES/full-run/checkpoint-40" model; }
adapter() { cp -r "$FIXTURES/lora-run/checkpoint-40" adapter; }
