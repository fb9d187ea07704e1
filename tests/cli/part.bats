# SPDX-License-Identifier: Apache-2.0
# Parts of the work: any cut, any order, killed and repeated, ends with what one run writes.
load helper
load hub

teardown() { stop_hub; }

# A model of 12 tensors of 200 KB in two files; packed into shards of 300 KB it has 12 of them.
model() {
  python3 - "$1" <<'PY'
import json, os, random, struct, sys
os.makedirs(sys.argv[1])
random.seed(7)
names = [f"layer.{i}.weight" for i in range(12)]
weight_map = {}
for part in range(2):
    header, data = {}, b""
    for name in names[part * 6:part * 6 + 6]:
        values = b"".join(struct.pack("<f", random.gauss(0, 1)) for _ in range(50_000))
        header[name] = {"dtype": "F32", "shape": [50, 1000], "data_offsets": [len(data), len(data) + len(values)]}
        data += values
        weight_map[name] = f"model-0000{part + 1}-of-00002.safetensors"
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{sys.argv[1]}/model-0000{part + 1}-of-00002.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
json.dump({"metadata": {}, "weight_map": weight_map}, open(f"{sys.argv[1]}/model.safetensors.index.json", "w"))
open(f"{sys.argv[1]}/config.json", "w").write('{"model_type": "llama", "torch_dtype": "float32"}')
PY
}

same() { diff -r "$1" "$2" && [ ! -e "$2.parts" ] && [ -z "$(find . -name '.*.mu-*')" ]; }

@test "st-pack: parts in any order, then the finishing run, are one run's bytes" {
  model m
  expect 0 st-pack m -o one --max-shard-size 300KB
  [ "$(ls one/*.safetensors | wc -l)" = 12 ]
  for n in 1 2 3 7; do
    for i in $(seq $n | shuf --random-source=<(yes $n)); do expect 0 st-pack m -o out --max-shard-size 300KB --part "$i/$n"; done
    [ ! -e out ]
    expect 0 st-pack m -o out --max-shard-size 300KB
    has stderr "12 shards of 12 taken from parts"
    same one out
    rm -r out
  done
}

@test "st-pack: a part that is missing, doubled, cut otherwise, or more parts than shards" {
  model m
  expect 0 st-pack m -o one --max-shard-size 300KB
  expect 0 st-pack m -o out --max-shard-size 300KB --part 2/3
  stat -c %i out.parts/*/* > before
  expect 0 st-pack m -o out --max-shard-size 300KB --part 2/3
  stat -c %i out.parts/*/* | cmp - before
  expect 0 st-pack m -o out --max-shard-size 300KB --part 1/2
  expect 0 st-pack m -o out --max-shard-size 300KB --part 40/40
  expect 0 st-pack m -o out --max-shard-size 300KB
  has stderr "of 12 taken from parts"
  same one out
}

@test "st-pack: finished shards are moved, not copied" {
  model m
  expect 0 st-pack m -o out --max-shard-size 300KB --part 1/2
  stat -c %i out.parts/*/*.safetensors | sort > before
  expect 0 st-pack m -o out --max-shard-size 300KB
  [ "$(stat -c %i out/*.safetensors | sort | comm -12 - before | wc -l)" = "$(wc -l < before)" ]
  [ "$(stat -c %h out/*.safetensors | sort -u)" = 1 ]
}

@test "st-pack: two processes at one part, killed ones, end with one whole result" {
  model m
  expect 0 st-pack m -o one --max-shard-size 150KB --dtype bf16
  pack=(st-pack m -o out --max-shard-size 150KB --dtype bf16)
  "${pack[@]}" --part 1/2 3>&- < /dev/null &
  first=$!
  "${pack[@]}" --part 1/2 3>&- < /dev/null &
  second=$!
  wait $first
  wait $second
  [ "$(ls out.parts | wc -l)" = 1 ]
  for i in 0 1 2 3 4 5 6 7; do  # killed at some moment, whichever: never half a part under its name
    "${pack[@]}" --part 2/2 3>&- < /dev/null &
    pid=$!
    timeout 0.00$i tail --pid=$pid -f /dev/null || kill -9 $pid 2> /dev/null || :
    wait $pid || :
    [ "$(find out.parts -name '*.2-of-2' | wc -l)" = 0 ] || [ "$(find out.parts/*.2-of-2 -type f | wc -l)" = 7 ]
  done
  expect 0 "${pack[@]}" --part 2/2
  "${pack[@]}" 3>&- < /dev/null &
  pid=$!
  kill -9 $pid
  wait $pid || :
  rm -rf out
  expect 0 "${pack[@]}"
  same one out
}

@test "st-pack: parts of another plan are named and refused, --force discards them" {
  model m
  expect 0 st-pack m -o out --max-shard-size 300KB --part 1/2
  expect 5 st-pack m -o out --max-shard-size 300KB --dtype bf16
  has stderr "1-of-2: is a part of another plan"
  expect 5 st-pack m -o out --max-shard-size 300KB --dtype bf16 --part 2/2
  touch m/model-00001-of-00002.safetensors
  expect 5 st-pack m -o out --max-shard-size 300KB
  [ ! -e out ]
  expect 0 st-pack m -o one --max-shard-size 300KB
  expect 0 st-pack m -o out --max-shard-size 300KB --force
  same one out
  mkdir other.parts && touch other.parts/mine
  expect 5 st-pack m -o other --force
  has stderr "other.parts/mine: is not a part"
  [ -e other.parts/mine ]
}

@test "st-pack: --fingerprint content recognises copies" {
  model m
  expect 0 st-pack m -o one --max-shard-size 300KB
  expect 0 st-pack m -o out --max-shard-size 300KB --fingerprint content --part 1/2
  cp -r m copy
  expect 0 st-pack copy -o out --max-shard-size 300KB --fingerprint content
  has stderr "taken from parts"
  same one out
}

@test "st-pack: a damaged part is refused" {
  model m
  expect 0 st-pack m -o out --max-shard-size 300KB --part 1/2
  shard=$(ls out.parts/*/*.safetensors | head -n 1)
  truncate -s -1 "$shard"
  expect 5 st-pack m -o out --max-shard-size 300KB
  has stderr "is not a whole part"
  rm "$shard"
  expect 5 st-pack m -o out --max-shard-size 300KB
  ln -s "$PWD/m/model-00001-of-00002.safetensors" "$shard"
  expect 5 st-pack m -o out --max-shard-size 300KB
  has stderr "is a link"
  expect 0 st-pack m -o one --max-shard-size 300KB
  expect 0 st-pack m -o out --max-shard-size 300KB --force
  same one out
}

@test "st-pack: the plan of a part, wrong parts, an output that exists" {
  model m
  expect 0 st-pack m -o out --max-shard-size 300KB --part 2/7 -n
  has output "part 2/7 of plan "
  [ "$(grep -c ^write <<< "$output")" = 2 ]
  expect 0 st-pack m -o out --max-shard-size 300KB --part 2/7 -n --json
  python3 -c 'import json,sys; d=json.load(sys.stdin); assert d["share"]["index"]==2 and d["share"]["count"]==7 and len(d["weights"])==2' <<< "$output"
  [ ! -e out.parts ]
  expect 2 st-pack m -o - --part 1/2
  expect 2 st-pack m -o x.safetensors --part 1/2
  for part in 0/2 3/2 1 1/0 a/b 1/2/3 -1/2 auto auto/x; do expect 2 env -u PARALLEL_SEQ st-pack m -o out --part "$part"; done
  expect 2 st-pack m -o out --part 1/2 --fingerprint size
  mkdir out && touch out/x
  expect 5 st-pack m -o out --part 1/2
  [ ! -e out.parts ]
}

@test "st-inspect: parts of statistics and hashes, combined in any order, print what one run prints" {
  model m
  for input in m "$FIXTURES/sharded" "$FIXTURES/full-run/checkpoint-40" "$FIXTURES/torch/training.pth" "$FIXTURES/torch/odd-tensors.pt"; do
    local cuts=(1 2 3 7)
    [ "$input" != m ] || cuts+=(60)
    for n in "${cuts[@]}"; do
      for i in $(seq $n); do st-inspect --stats --hash "$input" --part "$i/$n" > "part$i"; done
      mapfile -t parts < <(seq -f part%g $n | shuf --random-source=<(yes $n))
      cmp <(st-inspect --combine "${parts[@]}") <(st-inspect --stats --hash "$input")
      cmp <(st-inspect --combine --json "${parts[@]}") <(st-inspect --stats --hash --json "$input")
    done
  done
  for i in 2 1; do st-inspect --stats --sort size --filter '*1*' m --part $i/2 > "part$i"; done
  cmp <(st-inspect --combine part1 part2) <(st-inspect --stats --sort size --filter '*1*' m)
  for i in 2 1; do st-inspect --hash m --part $i/2 > "part$i"; done
  cmp <(st-inspect --combine part2 part1) <(st-inspect --hash m)
  cmp <(st-inspect --combine --check part2 part1) <(st-inspect --check --hash m)
}

@test "st-inspect: values that are not finite survive being written to a part and read back" {
  python3 - x.safetensors <<'PY'
import json, struct, sys
values = [float("nan"), float("inf"), -float("inf"), -0.0, 1e308, -1e308, 5e-324, 0.1]
header = json.dumps({"a": {"dtype": "F64", "shape": [8], "data_offsets": [0, 64]}}).encode()
open(sys.argv[1], "wb").write(struct.pack("<Q", len(header)) + header + struct.pack("<8d", *values))
PY
  st-inspect --stats x.safetensors --part 1/1 > part
  cmp <(st-inspect --combine part) <(st-inspect --stats x.safetensors)
  cmp <(st-inspect --combine --json part) <(st-inspect --stats --json x.safetensors)
  expect 1 st-inspect --combine --fail-on nan part
}

@test "st-inspect: a part that is missing, of another plan, of a changed model, broken, is reported" {
  model m
  for i in 1 2 3; do st-inspect --stats m --part $i/3 > "part$i"; done
  expect 4 st-inspect --combine part1 part3
  has stderr "a part is missing"
  sed 's/"sort": ""/"sort": "colour"/' part1 > sorted
  expect 4 st-inspect --combine sorted part2 part3
  has stderr "sorted: tensors can't be sorted by 'colour'"
  expect 0 st-inspect --combine part1 part2 part3 part2
  st-inspect --stats --filter '*1*' m --part 1/3 > other
  expect 5 st-inspect --combine part1 part2 part3 other
  has stderr "other: is a part of another plan than part1"
  expect 2 st-inspect --combine --hash part1 part2 part3
  expect 4 st-inspect --combine m/config.json
  head -c 500 part2 > cut
  expect 4 st-inspect --combine part1 cut part3
  sed 's/"unit": [0-9]*/"unit": 99/' part2 > odd
  expect 4 st-inspect --combine part1 odd part3
  sed 's/\[[0-9]*, \([0-9]*\)\]/[256,\1]/; s/\[[0-9]*,\([0-9]*\)\]/[256,\1]/' part2 > odd
  expect 4 st-inspect --combine part1 odd part3
  touch m/model-00002-of-00002.safetensors
  expect 5 st-inspect --combine part1 part2 part3
  has stderr "has changed since the parts were measured"
  expect 2 st-inspect m --part 1/2
  expect 2 st-inspect --stats m m --part 1/2
  expect 2 st-inspect --stats - --part 1/2
  expect 2 st-inspect -n m
  expect 0 st-inspect --stats --hash m --part 1/2 -n
  has output "file"
  has output "stats"
}

@test "--part auto: what the engines set" {
  model m
  part_of() { env "$@" st-pack m -o out --max-shard-size 300KB -n --part "${AUTO:-auto}" | grep -oE 'part [0-9]+/[0-9]+'; }
  [ "$(part_of SLURM_ARRAY_TASK_ID=5 SLURM_ARRAY_TASK_MIN=1 SLURM_ARRAY_TASK_MAX=7 SLURM_ARRAY_TASK_COUNT=4 SLURM_ARRAY_TASK_STEP=2)" = "part 3/4" ]
  [ "$(part_of SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=3)" = "part 1/3" ]
  [ "$(part_of OMPI_COMM_WORLD_RANK=1 OMPI_COMM_WORLD_SIZE=2)" = "part 2/2" ]
  AUTO=auto/8
  [ "$(part_of JOB_COMPLETION_INDEX=7)" = "part 8/8" ]
  [ "$(part_of PARALLEL_SEQ=7)" = "part 7/8" ]
}

@test "hub-push: parts store, the run without --part makes the one commit and neither sends nor hashes again" {
  start_hub --lfs-threshold 1000
  export HOME=$BATS_TEST_TMPDIR/home
  unset XDG_CACHE_HOME XDG_STATE_HOME
  mkdir home
  out=$FIXTURES/sharded
  for part in 2/3 3/3 1/3 1/3; do
    expect 0 hub-push "$out" ada/tiny --part $part
    [ -z "$output" ]
    has stderr "part $part: "
    has stderr "nothing is committed"
  done
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
  [ "$(hub_count 'e["route"] == "storage-put"')" = "$(find "$out" -type f -size +1000c | wc -l)" ]
  [ "$(find home -name 'hashes.*-of-3' | wc -l)" = 3 ]
  hub_admin DELETE log
  rm -rf home/.cache
  expect 0 hub-push -v "$out" ada/tiny
  has stderr "0 to hash of "
  has stderr "; 0 B sent"
  [ "$(hub_count 'e["route"] == "storage-put"')" = 0 ]
  [ "$(hub_count 'e["route"] == "commit"')" = 1 ]
  hub_files ada/tiny | grep -v ' .gitattributes$' | sed -E 's/^([0-9a-f]{64}) [0-9]+ /\1  /' > there
  (cd "$out" && sha256sum --quiet -c "$BATS_TEST_TMPDIR/there" && [ "$(find . -type f | wc -l)" = "$(wc -l < "$BATS_TEST_TMPDIR/there")" ])
  [ -z "$(find home -name 'hashes.*')" ] && [ -z "$(find home -name 'journal*' -not -name '*.lock')" ]
}

@test "hub-push: a part that is missing is sent at the end; a new branch waits for the commit; the guard stops parts too" {
  start_hub --lfs-threshold 1000
  model m
  expect 0 hub-push m ada/tiny --revision next --part 1/2
  [ "$(hub_admin GET 'repo?type=model&id=ada/tiny' | grep -c '"next"')" = 0 ]
  expect 0 hub-push m ada/tiny --revision next --part 2/2 -n
  [ "$(grep -c safetensors$ <<< "$output")" = 1 ]
  hub_admin DELETE log
  expect 0 hub-push m ada/tiny --revision next --delete '*.bin'
  [ "$(hub_count 'e["route"] == "storage-put"')" = 1 ]
  [ "$(hub_count 'e["route"] == "commit"')" = 1 ]
  echo "hf_abcdefghijklmnopqrstuvwxyz01234567" > m/.env
  hub_admin DELETE log
  expect 5 hub-push m ada/other --part 2/2
  [ "$(hub_count 'e["route"] == "storage-put"')" = 0 ]
  expect 2 hub-push m ada/tiny --part 1/2 --every 10m
  expect 2 hub-push - ada/tiny x --part 1/2
  expect 2 hub-push m ada/tiny --part 3/2
}
