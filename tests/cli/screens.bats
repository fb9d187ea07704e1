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
widest() { python3 -c 'import re, sys; print(max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", sys.stdin.read()).splitlines())))' <<< "$output"; }

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
