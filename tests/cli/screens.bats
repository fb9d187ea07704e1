# SPDX-License-Identifier: Apache-2.0
# What people see: colours, widths, and what is said to those who mistype.
load helper

# on_terminal CODE COLUMNS COMMAND...: runs it on a terminal; $output is all that it showed. "2:COLUMNS" makes
# stderr alone the terminal.
on_terminal() {
  local code=$1
  shift
  run python3 "$BATS_TEST_DIRNAME/terminal.py" "$@"
  [ "$status" = "$code" ] || { echo "exit $status, not $code: $*"; echo "$output"; return 1; }
}

# widest: columns of the longest line shown, its colours left out.
widest() { python3 -c 'import re, sys; print(max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", sys.argv[1]).splitlines())))' "$output"; }

@test "an option that is not known names the nearest one of the program" {
  while read -r tool typed meant; do
    expect 2 "$tool" "$typed" x
    [ "$stderr" = "$tool: there is no option ${typed%%=*}; did you mean $meant?" ]
  done <<'ROWS'
st-pack --dtyp --dtype
st-pack --dytpe=bf16 --dtype
st-pack --max_shard_size --max-shard-size
ckpt-prune --kepp --keep
ckpt-prune --keep-bets --keep-best
ckpt-prune --dryrun --dry-run
card-gen --licence --license
hub-push --revison --revision
hub-push --rev --revision
lora-extract --tunned --tuned
st-inspect --nmaes --names
ROWS
  expect 2 st-pack -dtype bf16 x
  has stderr "did you mean --dtype?"
  for tool in st-inspect st-pack card-gen hub-push ckpt-prune lora-extract; do
    for option in --bogus-nonsense --zzz -% --; do
      [ $option = -- ] || { expect 2 $tool $option; has stderr "see $tool --help"; }
    done
  done
  echo 'kepp = 3' > rules.conf
  expect 2 ckpt-prune --config rules.conf x
  has stderr "the file of --config: there is no option 'kepp'; did you mean keep?"
  expect 2 st-inspect --licence x  # an option of another program
  [[ $stderr != *mean* ]]
}

@test "errors and warnings are coloured on a terminal and nowhere else" {
  red=$'\x1b[1;31mst-inspect:\x1b[0m' yellow=$'\x1b[1;33m'
  on_terminal 7 80 st-inspect missing
  has output "$red missing: "
  on_terminal 7 2:80 st-inspect missing
  has output "$red missing: "
  on_terminal 2 80 st-pack --dtyp x
  has output $'there is no option --dtyp; \x1b[36mdid you mean --dtype?\x1b[0m'
  on_terminal 7 80 env NO_COLOR=1 st-inspect missing
  [[ $output != *$'\x1b'* ]]
  on_terminal 7 80 env TERM=dumb st-inspect missing
  [[ $output != *$'\x1b'* ]]
  on_terminal 7 80 st-inspect --color=never missing
  [[ $output != *$'\x1b'* ]]
  on_terminal 2 80 st-inspect --nmaes --color=never missing
  [[ $output != *$'\x1b'* ]]
  on_terminal 2 80 st-inspect --color never --nmaes missing
  [[ $output != *$'\x1b'* ]]
  expect 7 st-inspect missing
  [[ $stderr != *$'\x1b'* ]]
  expect 7 st-inspect --color=auto missing
  [[ $stderr != *$'\x1b'* ]]
  expect 7 st-inspect --color=always missing
  has stderr "$red"
}

@test "stderr on a terminal colours nothing in a piped stdout, and the other way round" {
  run bash -c "python3 '$BATS_TEST_DIRNAME/terminal.py' 2:80 bash -c \"st-inspect '$FIXTURES/tied' > here\""
  ! grep -q $'\x1b' here
  on_terminal 7 80 bash -c 'st-inspect missing 2> here'
  ! grep -q $'\x1b' here
}

# adapter FILE: tensors whose long names differ in the middle.
adapter() {
  python3 - "$1" <<'PY'
import json, struct, sys
header, at = {}, 0
for layer in (7, 11):
    for module in ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj", "mlp.up_proj"):
        for size, factor in enumerate("AB", 1):
            size += 2 * layer + len(module)
            header[f"base_model.model.model.language_model.layers.{layer}.{module}.lora_{factor}.default.weight"] = {
                "dtype": "F32", "shape": [size], "data_offsets": [at, at + 4 * size]}
            at += 4 * size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + struct.pack("<f", -0.00123456789) * (at // 4))
PY
}

@test "tables fit the width, and names that differ stay different" {
  adapter a.safetensors
  for width in 40 60 80 100; do
    for view in "" --stats; do
      on_terminal 0 $width st-inspect $view a.safetensors
      [ "$(widest)" -le $width ]
      grep base <<< "$output" | awk '{ print $1 }' > names
      [ "$(wc -l < names)" = 16 ]
      [ "$(sort -u names | wc -l)" = 16 ]
    done
    for view in --tree -v; do
      on_terminal 0 $width st-inspect $view a.safetensors
      [ "$(widest)" -le $width ]
    done
  done
  # What distinguishes them is shown where it has room.
  on_terminal 0 80 st-inspect a.safetensors
  for words in 7.self_attn.q_proj.lora_A 7.self_attn.k_proj.lora_A 11.mlp.up_proj.lora_B; do has output "$words"; done
  on_terminal 0 60 st-inspect a.safetensors
  for words in 7.self_attn.q 7.self_attn.k 11.mlp.up; do has output "$words"; done
}

@test "--stats leaves out what tells least and says so; NaN and infinities stay" {
  adapter a.safetensors
  on_terminal 0 80 st-inspect --stats a.safetensors
  has output "too narrow for magnitudes"
  [[ $output != *" nan"* ]]
  on_terminal 0 200 st-inspect --stats a.safetensors
  [[ $output != *narrow* ]]
  has output " nan "
  printf '\x00\x00\xc0\x7f' | dd of=a.safetensors bs=1 seek=$(($(stat -c %s a.safetensors) - 4)) conv=notrunc status=none
  on_terminal 0 60 st-inspect --stats a.safetensors
  has output " nan"
  [ "$(widest)" -le 60 ]
  expect 0 st-inspect --stats a.safetensors
  [ "$(awk -F '\t' '{ print NF }' <<< "$output" | sort -u)" = 12 ]
  has output -0.00123457
}

@test "a folder without checkpoints is named on a terminal, and cron hears nothing" {
  mkdir -p empty/below
  for options in "" -n; do
    on_terminal 0 2:80 ckpt-prune --keep 1 $options empty
    [ "$output" = "ckpt-prune: empty: no checkpoint found: nothing here is named checkpoint-N" ]
    expect 0 ckpt-prune --keep 1 $options empty
    [ -z "$output$stderr" ]
  done
  on_terminal 0 2:80 ckpt-prune --keep 1 --recursive empty
  has output "nothing below is named checkpoint-N"
  on_terminal 0 2:80 ckpt-prune --keep 1 --pattern 'step_*' empty
  has output "nothing here is named step_*"
  on_terminal 0 2:80 ckpt-prune --keep 1 -q empty
  [ -z "$output" ]
  cp -r "$FIXTURES/full-run" run
  chmod -R u+w run
  on_terminal 0 2:80 ckpt-prune --keep 9 run
  [ -z "$output" ]
}

@test "plans and lists of checkpoints fit the width" {
  cp -r "$FIXTURES/full-run" run
  on_terminal 0 60 ckpt-prune -n --keep 1 --keep-every 20 --keep-step 60 run
  [ "$(widest)" -le 60 ]
  on_terminal 0 80 ckpt-prune --list run
  has output epoch
  [ "$(widest)" -le 80 ]
  on_terminal 0 60 ckpt-prune --list run
  [ "$(grep checkpoint- <<< "$output" | awk '{ if (length > 60) n++ } END { print n + 0 }')" = 0 ]
}
