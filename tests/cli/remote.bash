# SPDX-License-Identifier: Apache-2.0
# What suites share that read models on a hub; after `load hub`.

# publish FOLDER ID [OPTIONS of hub-push]: it is on the Hub, and the log is empty.
publish() {
  expect 0 hub-push -q "${@:3}" "$1" "$2"
  hub_admin DELETE log > /dev/null
}

# big FOLDER FILES TENSORS BYTES: a model of random F32 tensors of this size each, in so many files.
big() {
  python3 - "$@" <<'PY'
import json, os, random, struct, sys
folder, files, tensors, size = sys.argv[1], *map(int, sys.argv[2:])
os.makedirs(folder)
random.seed(7)
block = random.randbytes(min(size, 4_000_000))
places = {}
for i in range(files):
    name = "model.safetensors" if files == 1 else f"model-{i + 1:05}-of-{files:05}.safetensors"
    names = [f"model.layers.{k}.mlp.weight" for k in range(tensors)][i * tensors // files:(i + 1) * tensors // files]
    header = json.dumps({key: {"dtype": "F32", "shape": [size // 4], "data_offsets": [size * k, size * (k + 1)]} for k, key in enumerate(names)}).encode()
    header += b" " * (-len(header) % 8)
    with open(f"{folder}/{name}", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for key in names:
            own = (key.encode() + block)[:len(block)]  # no two tensors are equal
            for at in range(0, size, len(block)):
                file.write(own[:min(len(block), size - at)])
    places |= dict.fromkeys(names, name)
if files > 1:
    json.dump({"metadata": {}, "weight_map": places}, open(f"{folder}/model.safetensors.index.json", "w"))
json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama"}, open(f"{folder}/config.json", "w"))
PY
}

# sum MEMBER [PYTHON CONDITION on e], most MEMBER [CONDITION]: of that member of the log of storage.
over_log() {
  hub_admin GET log | python3 -c '
import json, sys
how, member, condition = sys.argv[1:]
values = [e[member] for e in json.load(sys.stdin) if e["port"] == "storage" and eval(condition, {"e": e})]
print({"sum": sum, "most": max}[how]([0, *values]))' "$1" "$2" "${3:-True}"
}
# Bytes that storage sent.
sent() { over_log sum sent_bytes "$@"; }
most_in_flight() { over_log most in_flight; }

# No storage saw a token, and no token stood where it must not.
no_leak() { [ "$(hub_count 'e["leak"] or (e["port"] == "storage" and e["authorization"])')" = 0 ]; }

# alike LOCAL FAR [OPTIONS]: st-pack writes the same bytes of both, and leaves nothing beside them.
alike() {
  rm -rf here there
  expect 0 st-pack -q "$1" "${@:3}" -o here
  expect 0 st-pack -q "$2" "${@:3}" -o there
  diff -r here there && [ ! -e there.partial ] && [ -z "$(find . -name '.*.mu-*')" ]
}

# at_stall COUNT COMMAND...: runs it in the background (its id in $pid, its words in ./said) until faults hold back COUNT requests.
at_stall() {
  # What the shell starts in the background ignores some signals.
  env --default-signal=INT,QUIT "${@:2}" > said 2>&1 3>&- &
  pid=$!
  hub_admin GET "stalled?count=$1" > /dev/null || { cat said; return 1; }
}
# ended CODE: that command has ended so, or ends now.
ended() {
  local code=0
  wait "$pid" || code=$?
  [ "$code" = "$1" ] || { echo "exit $code, not $1"; cat said; return 1; }
}
# The Hub behaves again, and what it held back goes on.
all_well() { hub_admin DELETE fault > /dev/null && hub_admin DELETE stalled > /dev/null; }
