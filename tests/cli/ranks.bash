# SPDX-License-Identifier: Apache-2.0
# Checkpoints that several ranks wrote, copied or made by ranks.py, and what the programs say of them.

zero3() { cp -r "$FIXTURES/zero3-run/checkpoint-1" run && tag=run/global_step1; }
fsdp() { cp -r "$FIXTURES/fsdp-run/checkpoint-1" run && dcp=run/pytorch_model_fsdp_0; }

# save < SCRIPT: writes the checkpoint that the script describes, see ranks.py.
save() { rm -rf run run.expected.safetensors && python3 "$BATS_TEST_DIRNAME/ranks.py" run; }

# whole SCRIPT: the checkpoint is the model that it was cut from, listed and packed.
whole() {
  save <<< "$1"
  expect 0 st-inspect --check run
  expect 0 st-inspect --diff run run.expected.safetensors
  rm -rf packed && expect 0 st-pack run -o packed --verify
  # A shared parameter is written once.
  [[ $1 == *alias* ]] || expect 0 st-inspect --diff packed run.expected.safetensors
}

# wrong TEXT SCRIPT: the checkpoint is refused, and the one line says TEXT.
wrong() { save <<< "$2" && refused "$1"; }

# refused TEXT: st-pack ends with 4, one line that has the text, and nothing is written; st-inspect says the same.
refused() {
  mkdir -p empty
  expect 4 st-pack run -o empty/out
  has stderr "$1"
  [ "$(wc -l <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
  is_empty empty
  expect 4 st-inspect --check run
  has stderr "$1"
}
