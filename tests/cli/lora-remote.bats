# SPDX-License-Identifier: Apache-2.0
# lora-extract of models and adapters that are on a hub: the bytes that a local copy gives, each read once, and runs that go on.
load lora
load hub
load remote

setup() { hub_home; }

# The pair on the Hub, and what local copies give in ./here.
pair() {
  start_hub "$@"
  publish "$FIXTURES/pair/base" ada/base
  publish "$FIXTURES/pair/tuned" ada/tuned
}

# large_pair LAYERS ROWS COLUMNS: folders base and tuned, with matrices of F32 that differ by rank 2, and a norm.
large_pair() {
  python3 - "$@" <<'PY'
import array, json, os, random, struct, sys
layers, rows, columns = map(int, sys.argv[1:])
random.seed(5)
block = [random.gauss(0, 1) for _ in range(columns)]
for side in ("base", "tuned"):
    os.makedirs(side)
    tensors = {"model.norm.weight": ([columns], array.array("f", block))}
    for i in range(layers):
        values = array.array("f")
        for r in range(rows):
            shift = (r * 37 + i) % columns
            row = block[shift:] + block[:shift]
            if side == "tuned":
                a, b = 0.1 * block[r % columns], 0.1 * block[(r * 3 + i) % columns]
                row = [v + a * x + b * (k % 7 - 3) for k, (v, x) in enumerate(zip(row, block))]
            values.extend(row)
        tensors[f"model.layers.{i}.self_attn.q_proj.weight"] = ([rows, columns], values)
    header, at = {}, 0
    for name, (shape, values) in tensors.items():
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + 4 * len(values)]}
        at += 4 * len(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(f"{side}/model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, values in tensors.values():
            file.write(values.tobytes())
    json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, open(f"{side}/config.json", "w"))
PY
}

# extract OUT OPTIONS...
extract() { lora-extract -q --kernel baseline "${@:2}" -o "$1"; }

@test "between two models, either or both on the hub: what local copies give" {
  pair
  local options base tuned
  for options in '--rank 4' '--rank auto' '--rank 4 --embeddings full' '--rank 4 --embeddings lora --bias all' '--rank 4 --full-modules *q_proj' \
    '--rank energy=0.9 --dtype f32' '--rank 4 -j 1' '--rank 4 --connections 2' '--rank 4 --for vllm'; do
    rm -rf here
    # shellcheck disable=SC2086
    expect 0 extract here --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" $options
    for base in "$FIXTURES/pair/base" hf://ada/base; do
      for tuned in "$FIXTURES/pair/tuned" hf://ada/tuned; do
        rm -rf there
        # shellcheck disable=SC2086
        expect 0 extract there --base "$base" --tuned "$tuned" $options
        diff -r here there || { echo "$base $tuned $options"; return 1; }
        [ ! -e there.partial ]
      done
    done
  done
  no_leak
}

@test "files behind URLs, and models that do not differ" {
  pair
  expect 0 extract here --base "$FIXTURES/pair/base/model.safetensors" --tuned "$FIXTURES/pair/tuned/model.safetensors" --rank 4
  expect 0 extract there --base "$HF_ENDPOINT/ada/base/resolve/main/model.safetensors" --tuned hf://ada/tuned/model.safetensors --rank 4
  diff -r here there
  expect 1 extract none --base hf://ada/base --tuned "$FIXTURES/pair/base" --rank 4
  [ ! -e none ] && [ ! -e none.partial ]
  no_leak
}

@test "every byte comes once, and -n says how many before any does" {
  large_pair 6 600 500
  start_hub
  publish base ada/base
  publish tuned ada/tuned
  expect 0 lora-extract --base hf://ada/base --tuned hf://ada/tuned --rank 4 -n -o out
  has output "would read 14.40 MB in 2 files over the network"
  [ "$(sent)" -le 202000 ]
  expect 0 lora-extract --base hf://ada/base --tuned tuned --rank 4 -n --json -o out
  [ "$(jq .to_read <<< "$output")" = 7202000 ]
  expect 0 lora-extract --base base --tuned tuned --rank 4 -n --json -o out
  [ "$(jq 'has("to_read")' <<< "$output")" = false ]
  hub_admin DELETE log > /dev/null
  expect 0 extract here --base base --tuned tuned --rank auto
  expect 0 extract there --base hf://ada/base --tuned hf://ada/tuned --rank auto
  diff -r here there
  [ "$(sent)" -le 14610000 ]  # 100 kB of each file came with its header
  [ "$(sent)" -ge 14400000 ]
  hub_admin DELETE log > /dev/null
  expect 0 extract some --base hf://ada/base --tuned hf://ada/tuned --rank 4 --target '*layers.2*' --exclude '*norm*'
  no_leak
}

@test "a run that was killed goes on, and reads little again" {
  large_pair 24 1000 800
  start_hub
  publish base ada/base
  publish tuned ada/tuned
  expect 0 extract here --base base --tuned tuned --rank 4
  hub_fault storage-get stall-answer '"after":32,"times":-1,"bytes":1000'
  at_stall 2 lora-extract -q --kernel baseline -o out --base hf://ada/base --tuned hf://ada/tuned --rank 4 --connections 2
  kill -9 "$pid"
  wait "$pid" || :
  all_well
  [ -e out.partial ] && [ ! -e out ]
  ! grep -rq 'X-Amz\|hf_test' out.partial/record
  local before=$(sent)
  hub_admin DELETE log > /dev/null
  expect 0 extract out --base hf://ada/base --tuned hf://ada/tuned --rank 4
  diff -r here out
  [ ! -e out.partial ]
  [ "$((before + $(sent)))" -le $((153700000 + 48000000)) ]
  [ "$before" -ge 60000000 ]
  no_leak
}

@test "what is kept after a signal and a failing hub, and what is not" {
  large_pair 12 1000 800
  start_hub
  publish base ada/base
  publish tuned ada/tuned
  hub_fault storage-get stall-answer '"after":3,"times":-1,"bytes":1000'
  at_stall 2 lora-extract -q --kernel baseline -o out --base hf://ada/base --tuned tuned --rank 4 --connections 2
  kill -TERM "$pid"
  ended 143
  all_well
  [ -e out.partial ]
  hub_fault storage-get status '"times":-1,"status":503,"after":1'
  expect 75 lora-extract --kernel baseline --base hf://ada/base --tuned tuned --rank 4 -o out --max-wait 1
  has stderr "out.partial keeps"
  has stderr "lora-extract --kernel baseline --base hf://ada/base --tuned tuned --rank 4 -o out --max-wait 1"
  [ -e out.partial ]
  all_well
  # Other options begin anew; --force does, too.
  expect 0 extract out --base hf://ada/base --tuned tuned --rank 8
  expect 0 extract here --base base --tuned tuned --rank 8
  diff -r here out
  hub_fault storage-get corrupt '"after":1'
  expect 6 extract bad --base hf://ada/base --tuned tuned --rank 4
  has stderr "SHA-256"
  [ ! -e bad ] && [ ! -e bad.partial ]
  no_leak
}

@test "parts of models on the hub" {
  pair
  expect 0 extract here --base "$FIXTURES/pair/base" --tuned "$FIXTURES/pair/tuned" --rank 4 --kernel avx2
  local i
  for i in 1 2 3; do
    expect 0 extract there --base hf://ada/base --tuned hf://ada/tuned --rank 4 --kernel avx2 --part $i/3
  done
  hub_admin DELETE log > /dev/null
  expect 0 extract there --base hf://ada/base --tuned hf://ada/tuned --rank 4 --kernel avx2
  [ "$(sent)" -le 210000 ]
  diff -r here there
  [ ! -e there.parts ] && [ ! -e there.partial ]
  no_leak
}

# single LOCAL FAR OPTIONS...: one adapter of both is the same.
single() {
  rm -rf here there
  expect 0 lora-extract -q "$1" "${@:3}" -o here
  expect 0 lora-extract -q "$2" "${@:3}" -o there
  diff -r here there && [ ! -e there.partial ]
}

@test "one adapter: of a folder, of a run, of a checkpoint of ranks, at another rank" {
  start_hub --lfs-threshold 20000
  publish "$FIXTURES/lora-adapter" ada/adapter
  publish "$FIXTURES/lora-run" ada/run --all
  publish "$FIXTURES/base" ada/base
  single "$FIXTURES/lora-adapter" hf://ada/adapter
  single "$FIXTURES/lora-adapter" hf://ada/adapter --dtype f32
  single "$FIXTURES/lora-adapter" hf://ada/adapter --resize 2
  local name
  for name in "$FIXTURES"/lora-run/checkpoint-*; do
    single "$name" "hf://ada/run/${name##*/}"
  done
  single "$FIXTURES/lora-adapter" hf://ada/adapter --base "$FIXTURES/base" --for vllm
  hub_fault storage-get corrupt '"after":1'  # the header comes first
  expect 6 lora-extract hf://ada/adapter --base "$FIXTURES/base" --for vllm -o bad
  has stderr "SHA-256"
  [ ! -e bad ]
  expect 0 lora-extract --compare "$FIXTURES/lora-adapter" hf://ada/adapter
  hub_admin DELETE log > /dev/null
  rm -rf there
  expect 0 lora-extract -q "$FIXTURES/lora-adapter" --base hf://ada/base --for vllm -o there
  [ "$(sent)" -le 110000 ]
  no_leak
}
