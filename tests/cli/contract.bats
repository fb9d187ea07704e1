# SPDX-License-Identifier: Apache-2.0
# What scripts, other releases and half-finished work rely on stays as 0.1.0 had it: fingerprints of plans, finished parts of
# work, options and their values, exit statuses, ids of rules, and the members of JSON documents. Only new ones are added.
load helper

# keeps NAME FILE: every line of tests/fixtures/golden/NAME stands in FILE. UPDATE_GOLDEN=1 adds the lines of FILE; to drop
# one, which stops somebody's script, edit the golden file and say so in CHANGELOG.
keeps() {
  local golden=$FIXTURES/golden/$1 missing
  [ -z "${UPDATE_GOLDEN:-}" ] || { touch "$golden"; LC_ALL=C sort -u -o "$golden" "$golden" "$2"; }
  missing=$(LC_ALL=C comm -23 "$golden" <(LC_ALL=C sort -u "$2"))
  [ -s "$golden" ] && [ -z "$missing" ] || { echo "gone from $1: $missing"; return 1; }
}

# fingerprint OUT: as the names in OUT.parts say.
fingerprint() { local part; for part in "$1.parts"/*; do basename "$part" | cut -d. -f1; done | sort -u; }

# part_of OUT I/N and part_of_pair OUT KERNEL I/N: parts whose plans are those of the fixture.
part_of() { expect 0 st-pack -q "$FIXTURES/full-run/checkpoint-40" -o "$1" --max-shard-size 60KB --fingerprint content --part "$2"; }
part_of_pair() {
  expect 0 lora-extract -q --kernel "$2" --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 2 -o "$1" --fingerprint content --part "$3"
}

@test "fingerprints of plans are those of 0.1.0" {
  part_of full 1/2
  [ "$(fingerprint full)" = 1f0c4714471f6d6e ]
  expect 0 st-pack -q "$FIXTURES/fsdp-run/checkpoint-1" -o fsdp --dtype bf16 --fingerprint content --part 1/1
  [ "$(fingerprint fsdp)" = 1612e67857602d88 ]
  part_of_pair pair baseline 1/2
  [ "$(fingerprint pair)" = a253636521ea5e76 ]
  cp "$FIXTURES/base/model.safetensors" .
  touch -d 2026-01-01T00:00:00Z model.safetensors
  expect 0 st-inspect --stats --hash --part 1/2 model.safetensors
  [ "$(jq -r .plan <<< "$output")" = c40228821ea4e7ff ]
}

@test "parts that 0.1.0 finished are taken, and the output is that of one run" {
  cp -r "$FIXTURES/parts-0.1.0/." .
  expect 0 st-pack "$FIXTURES/full-run/checkpoint-40" -o full --max-shard-size 60KB --fingerprint content
  has stderr "1 shard of 3 taken"
  expect 0 st-pack -q "$FIXTURES/full-run/checkpoint-40" -o one --max-shard-size 60KB
  diff -r one full
  [ ! -e full.parts ]
  pair=(lora-extract --kernel baseline --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 2)
  expect 0 "${pair[@]}" -o pair --fingerprint content
  has stderr "taken"
  expect 0 "${pair[@]}" -o whole
  diff -r whole pair
  [ ! -e pair.parts ]
}

# members FILE...: the path of every member in these documents, "a.b[].c", after the name of the schema.
members() {
  python3 - "$@" <<'PY'
import json, sys
def walk(value, path, found):
    if isinstance(value, dict):
        for key, inner in value.items():
            # Names of tensors, files and the like are data.
            walk(inner, f"{path}.{key}" if key.replace("_", "").isalnum() and key.islower() else f"{path}.*", found)
    elif isinstance(value, list):
        for inner in value: walk(inner, path + "[]", found)
    else:
        found.add(path)
for name in sys.argv[1:]:
    for line in ([open(name).read()] if not name.endswith("l") else open(name)):
        document = json.loads(line)
        found = set()
        walk(document, "", found)
        for path in sorted(found): print(document.get("schema", "?"), path)
PY
}

@test "members of JSON documents are still there" {
  cp -r "$FIXTURES/full-run" run
  find run -exec touch -d 2026-01-01 {} +
  st-inspect --json "$FIXTURES/base" > 1.json
  st-inspect --json --stats --hash "$FIXTURES/base/model.safetensors" > 2.json
  st-inspect --json --check "$FIXTURES/lora-adapter" > 3.json
  st-inspect --json --diff "$FIXTURES/pair/base" "$FIXTURES/pair/tuned" > 4.json || true
  st-inspect --json "$FIXTURES/zero2-run"/checkpoint-* > 5.json
  st-pack -n --json "$FIXTURES/full-run/checkpoint-40" -o out > 6.json
  st-pack -q --json "$FIXTURES/full-run/checkpoint-40" -o out > 7.json
  lora-extract -q --json --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 2 -o adapter > 8.json
  lora-extract -q -n --json "$FIXTURES/lora-run/checkpoint-40" -o lora > 9.json
  card-gen --json "$FIXTURES/lora-run/checkpoint-40" > 10.json
  ckpt-prune -n --json --keep 1 run > 11.json
  ckpt-prune -q --json --keep 1 run > 12.json
  hub-push -q --json --endpoint "file://$PWD/hub" out ada/tiny > 13.json
  hub-push -q -n --json --endpoint "file://$PWD/hub" out ada/tiny > 14.json
  st-inspect --json --print 'model.norm.weight[0:2]' "$FIXTURES/tied" > 15.json
  st-inspect --stats --hash --part 1/2 "$FIXTURES/base/model.safetensors" > 16.json
  printf -- '---\nlicense: nonsense\n---\n' > card.md
  expect 1 card-gen --lint --json card.md
  echo "$output" > 17.json
  expect 0 st-pack -q "$FIXTURES/base" -o f8 --dtype f8_e4m3 --part 1/1
  cp f8.parts/*/share.json 18.json
  part_of_pair pair baseline 1/1
  cp pair.parts/*/share.json 19.json
  members {1..19}.json > members
  keeps json-members.txt members
}

@test "options of 0.1.0 are still there" {
  for program in st-inspect st-pack lora-extract card-gen hub-push ckpt-prune; do
    "$program" --help | grep -oE -- '--[a-z][a-z0-9-]*' | sort -u | sed "s/^/$program /"
  done > options
  keeps options.txt options
}

@test "values of options are still offered" {
  no_sanitizer  # reads texts, runs no programs
  # --dtype[type of the factors]:choice:(bf16 f16 f32)
  for file in "$BATS_TEST_DIRNAME"/../../tools/completions/_*; do
    sed -nE "s/.*'\*?(--[a-z-]+)\[.*:\(([^)]*)\)'.*/\1 \2/p" "$file" | while read -r option values; do
      printf "${file##*/_} $option %s\n" $values
    done
  done > values
  keeps option-values.txt values
}

@test "exit statuses are those of 0.1.0, and modelutils(7) lists them" {
  no_sanitizer  # reads texts, runs no programs
  local root=$BATS_TEST_DIRNAME/../.. kind code
  # case ErrorKind::kUsage: return 2;
  tr -d '\n' < "$root/lib/base/error.cc" | grep -oE 'case ErrorKind::\w+: *return [0-9]+' | sed -E 's/.*::(\w+): *return /\1 /' > codes
  keeps exit-codes.txt codes
  while read -r kind code; do
    grep -q "^$code@T{" <(sed -n '/^\.SH EXIT STATUS/,/^\.SH OUTPUT/p' "$root/man/modelutils.7") || { echo "modelutils(7) has no $code"; return 1; }
  done < codes
}

@test "rules have the ids of 0.1.0" {
  no_sanitizer  # reads texts, runs no programs
  # "ST-DUP" as the rule of a finding or in a table of rules, "… [DC-KEY]" at the end of a message. Comments don't count, nor
  # does completeness.cc, which compares messages with the ids that others put there.
  grep -rhE --include='*.cc' --include='*.h' --exclude=completeness.cc '[A-Z]{2}-[A-Z]' "$BATS_TEST_DIRNAME"/../../{lib,tools} | sed 's|//.*||' |
    grep -oE '("[A-Z]{2}(-[A-Z0-9]+)+"|\[[A-Z]{2}-[A-Z0-9]+\])' | tr -d '"[]' > rules
  keeps rules.txt rules
}
