# SPDX-License-Identifier: Apache-2.0
# Models read where they lie, against the strict local Hub: hf:// names and URLs, by ranges.
load helper
load hub
load remote

setup() { hub_home; }

# A repository ada/tiny of $1 (a folder), and an empty log.
published() {
  start_hub "${@:2}"
  cp -r "$FIXTURES/$1" out
  expect 0 hub-push -q out ada/tiny
  hub_admin DELETE log > /dev/null
}

@test "a repository: one look-up, one listing, one header, and the views of a folder" {
  published base
  expect 0 st-inspect hf://ada/tiny
  has output "model of LlamaForCausalLM (llama)"
  has output "39,072 parameters"
  [ "$(hub_count 'e["route"] == "info"')" = 1 ]
  [ "$(hub_count 'e["route"] == "tree"')" = 1 ]
  [ "$(hub_count 'e["port"] == "storage"')" = 1 ]
  no_leak
  for view in --names -t --tree --metadata --json --hash --stats --check=hub; do
    expect 0 st-inspect "$view" out
    sed -e 's#out\b#X#g' <<< "$output" | grep -v '^ *"bytes_read"' > here
    expect 0 st-inspect "$view" hf://ada/tiny
    sed -e 's#hf://ada/tiny\b#X#g' <<< "$output" | grep -v '^ *"bytes_read"' > there
    [ "$view" = --json ] || cmp here there
  done
  no_leak
}

@test "one file costs two requests, from a repository four; its weights are not read" {
  published base
  expect 0 st-inspect -t "$HF_ENDPOINT/ada/tiny/resolve/main/model.safetensors"
  [ "$(hub_count)" = 2 ]
  no_leak
  hub_admin DELETE log > /dev/null
  expect 0 st-inspect -t hf://ada/tiny/model.safetensors
  [ "${#lines[@]}" = 21 ]
  [ "$(hub_count)" = 4 ]
  [ "$(hub_count 'e["range"] and e["range"] != "bytes=0-100000"')" = 0 ]
}

@test "a header longer than the first range is read by a second one" {
  start_hub
  mkdir out
  python3 - <<'PY'
import json, struct
header = json.dumps({f"layer.{i}.weight": {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]} for i in range(4000)}).encode()
header += b" " * (-len(header) % 8)
open("out/model.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + bytes(16000))
PY
  expect 0 hub-push -q out ada/long
  hub_admin DELETE log > /dev/null
  expect 0 st-inspect --names hf://ada/long
  [ "${#lines[@]}" = 4000 ]
  [ "$(hub_count 'e["port"] == "storage"')" = 2 ]
}

@test "revisions, shards, folders below, data sets; a page of the listing is followed by the next" {
  published sharded --page 3
  expect 0 st-inspect -t out
  cut -f 1-5 <<< "$output" > here
  expect 0 st-inspect -t hf://ada/tiny
  cut -f 1-5 <<< "$output" > there
  cmp here there
  expect 0 st-inspect -t hf://ada/tiny/model.safetensors.index.json
  cut -f 1-5 <<< "$output" > there
  cmp here there
  expect 0 hub-push -q --revision dev/x "$FIXTURES/base" ada/tiny below
  expect 0 st-inspect --check=hub hf://ada/tiny@dev%2Fx/below
  commit=$(hub_admin GET 'repo?id=ada/tiny' | python3 -c 'import json, sys; print(json.load(sys.stdin)["revisions"]["main"]["commit"])')
  expect 0 st-inspect --names "hf://ada/tiny@$commit"
  expect 0 hub-push -q --type dataset "$FIXTURES/base" ada/data
  expect 0 st-inspect --names hf://datasets/ada/data/model.safetensors
  expect 7 st-inspect hf://ada/tiny/below
  has stderr "hf://ada/tiny/below: cannot open"
}

@test "--diff reads no weights where the Hub tells their SHA-256" {
  published base
  expect 0 st-inspect --diff hf://ada/tiny out
  has output "same: 21 tensors"
  [ "$(hub_count 'e["port"] == "storage"')" = 1 ]
  hub_admin DELETE log > /dev/null
  expect 0 st-inspect --diff out hf://ada/tiny
  [ "$(hub_count 'e["port"] == "storage"')" = 1 ]
  expect 0 hub-push -q --revision other out ada/tiny
  hub_admin DELETE log > /dev/null
  expect 0 st-inspect --diff hf://ada/tiny hf://ada/tiny@other
  [ "$(hub_count 'e["port"] == "storage"')" = 2 ]
  printf X | dd of=out/model.safetensors bs=1 seek=150000 conv=notrunc status=none
  expect 1 st-inspect --diff hf://ada/tiny out
  has output "different: 0 only in A, 0 only in B, 0 in shape, 0 in dtype, 1 in values, 20 equal"
}

@test "--diff of two files of one repository, or of one file with itself, reads both" {
  published base
  expect 0 hub-push -q "$FIXTURES/base/model.safetensors" ada/tiny other.safetensors
  printf X | dd of=out/model.safetensors bs=1 seek=150000 conv=notrunc status=none
  expect 0 hub-push -q out/model.safetensors ada/tiny changed.safetensors
  expect 0 st-inspect --diff hf://ada/tiny/model.safetensors hf://ada/tiny/other.safetensors
  has output "same: 21 tensors"
  expect 1 st-inspect --diff hf://ada/tiny/model.safetensors hf://ada/tiny/changed.safetensors
  has output "1 in values, 20 equal"
  expect 0 st-inspect --diff hf://ada/tiny/model.safetensors hf://ada/tiny/model.safetensors
  export HF_HUB_CACHE=$PWD/cache HF_ENDPOINT=file://$PWD/cache
  expect 0 hub-push -q "$FIXTURES/base" ada/near
  expect 0 timeout 20 st-inspect --diff hf://ada/near hf://ada/near/model.safetensors
}

@test "private repositories want the token, which never reaches storage or another host" {
  start_hub
  expect 0 hub-push -q --private "$FIXTURES/base" ada/secret
  expect 0 st-inspect --names hf://ada/secret
  no_leak
  expect 6 env -u HF_TOKEN st-inspect hf://ada/secret
  has stderr "set HF_TOKEN"
  expect 6 env HF_TOKEN=hf_testpr st-inspect hf://ada/secret
  has stderr "there is no ada/secret at $HF_ENDPOINT, or this token may not see it"
  hub_admin DELETE log > /dev/null
  expect 6 st-inspect "$HF_STORAGE/nowhere.safetensors"
  no_leak
  expect 2 st-inspect http://example.org/model.safetensors
  has stderr "without encryption"
}

@test "whether a base on the hub takes an adapter: its headers are read, no tensor" {
  published base
  expect 0 st-inspect --check --base hf://ada/tiny "$FIXTURES/lora-adapter"
  has output "changes 6 modules of hf://ada/tiny: 7,168 parameters"
  [ "$(hub_count 'e["route"] == "info"')" = 1 ]
  [ "$(hub_count 'e["port"] == "storage"')" = 1 ]
  no_leak
  expect 0 st-inspect --check --base hf://ada/tiny/model.safetensors "$FIXTURES/lora-adapter"
  expect 0 hub-push -q "$FIXTURES/lora-adapter" ada/tiny-lora
  expect 0 st-inspect --check --base "$FIXTURES/base" hf://ada/tiny-lora hf://ada/tiny-lora/adapter_model.safetensors
  [ "$(grep -c "changes 6 modules" <<< "$output")" = 2 ]
  [[ $output != *"no adapter_config.json"* ]]
  expect 4 st-inspect --check --base hf://ada/tiny hf://ada/tiny
  expect 6 st-inspect --check --base hf://ada/none "$FIXTURES/lora-adapter"
  hub_fault storage-get truncate '"times":-1'
  expect 75 st-inspect --check --base hf://ada/tiny "$FIXTURES/lora-adapter"
}

@test "gated, unknown and wrongly named" {
  published base
  hub_fault resolve status '"status":403,"code":"GatedRepo","message":"Access to model ada/tiny is restricted"'
  expect 6 st-inspect hf://ada/tiny
  has stderr "Access to model ada/tiny is restricted"
  has stderr "ask for access on the repository's page"
  expect 6 st-inspect hf://ada/none
  has stderr "there is no ada/none at $HF_ENDPOINT"
  expect 6 st-inspect hf://ada/tiny@none
  has stderr "there is no revision none of ada/tiny at"
  expect 7 st-inspect hf://ada/tiny/none.safetensors
  for name in hf://ada hf:// hf://ada/tiny@ hf://ada/../x hf://ada/tiny/../x; do expect 2 st-inspect "$name"; done
}

@test "servers that ignore ranges, lie, run in circles or send a page are named" {
  published base
  for fault in ignore-range:"the server ignores range requests" wrong-range:"others came" html:"a web page"; do
    hub_fault storage-get "${fault%%:*}"
    expect 6 st-inspect --names hf://ada/tiny/model.safetensors
    has stderr "${fault#*:}"
  done
  hub_fault resolve redirect-loop '"times":-1'
  expect 6 st-inspect --names hf://ada/tiny/model.safetensors
  has stderr "redirects"
  hub_admin DELETE fault > /dev/null
  hub_fault storage-get truncate '"times":-1'
  expect 75 st-inspect --names hf://ada/tiny/model.safetensors
  hub_admin DELETE fault > /dev/null
}

@test "another version in the middle: the listing decides whether the file changed" {
  published base
  for fault in wrong-etag ignore-range changed; do
    hub_fault storage-get "$fault" '"after":1'
    hub_admin DELETE log > /dev/null
    expect 0 st-inspect --hash hf://ada/tiny/model.safetensors
    [ "$(hub_count 'e["route"] == "paths-info"')" = 1 ]
    [ "$(hub_count 'e["route"] == "resolve"')" = 2 ]
    [ "$(hub_count 'e["if_range"]')" -ge 1 ]
  done
  hub_fault storage-get refused-range '"after":1'
  expect 6 st-inspect --hash hf://ada/tiny/model.safetensors
  has stderr "refuses a range that is in the file"
  no_leak
}

@test "a torn, reset or short answer goes on from the byte that it reached" {
  published base
  expect 0 st-inspect --hash out/model.safetensors
  sed 's/out/X/' <<< "$output" > here
  for fault in truncate reset-answer short-range; do
    hub_fault storage-get "$fault" '"after":1, "bytes":1000'
    expect 0 st-inspect --hash hf://ada/tiny/model.safetensors
    sed 's#hf://ada/tiny#X#' <<< "$output" | cmp - here
  done
  [ "$(hub_count 'e["route"] == "resolve"')" = 3 ]
}

@test "a server that falls silent is asked again for the rest" {
  published base
  expect 0 st-inspect --hash out/model.safetensors
  sed 's/out/X/' <<< "$output" > here
  hub_fault storage-get stall-answer '"after":1, "bytes":1000'
  HF_HUB_DOWNLOAD_TIMEOUT=1 expect 0 st-inspect --hash hf://ada/tiny/model.safetensors
  sed 's#hf://ada/tiny#X#' <<< "$output" | cmp - here
}

@test "https:// files are held to their entity tag, or else to date and length, which is said" {
  start_hub
  local name=_files/x.safetensors
  for given in '' '?etag=weak' '?etag=none' '?etag=none&modified=none'; do
    curl -sST "$FIXTURES/base/model.safetensors" "$HF_STORAGE/$name$given"
    hub_admin DELETE log > /dev/null
    expect 0 st-inspect --hash "$HF_STORAGE/$name"
    if [ -z "$given" ]; then [[ $stderr != *unverified* ]]; else has stderr "$HF_STORAGE/$name: the server sends n"; has stderr unverified; fi
    if [[ $given == *modified* ]]; then
      [ "$(hub_count 'e["if_range"]')" = 0 ]
      continue
    fi
    [ "$(hub_count 'not e["if_range"]')" = 1 ]  # the first
    hub_fault file-get changed '"after":1'
    expect 6 st-inspect --hash "$HF_STORAGE/$name"
    has stderr "changed while it was being read"
  done
  expect 0 st-pack -q "$HF_STORAGE/$name" -o x.safetensors  # without anything to know it by
  expect 0 st-pack -q "$FIXTURES/base/model.safetensors" -o y.safetensors
  cmp x.safetensors y.safetensors
  curl -sST "$FIXTURES/base/model.safetensors" "$HF_STORAGE/$name?ranges=none"
  hub_admin DELETE log > /dev/null
  expect 6 st-inspect --hash "$HF_STORAGE/$name"
  has stderr "ignores range requests"
  [ "$(hub_count)" = 1 ]
}

@test "a failing storage is tried again, and a link that grew old is asked for again" {
  published base
  hub_fault storage-get status '"status":503,"times":2'
  expect 0 st-inspect --names hf://ada/tiny
  hub_fault storage-get expired '"after":1'
  expect 0 st-inspect --hash hf://ada/tiny
  [ "$(hub_count 'e["fault"] == "expired"')" = 1 ]
}

@test "HF_HUB_OFFLINE and a file:// endpoint: the cache of the libraries is read, without a request" {
  published base
  expect 0 hub-push -q --endpoint "file://$PWD/cache" out ada/tiny
  expect 0 env HF_ENDPOINT="file://$PWD/cache" st-inspect --names hf://ada/tiny
  expect 0 env HF_HUB_OFFLINE=1 HF_HUB_CACHE="$PWD/cache" st-inspect --check=hub hf://ada/tiny
  expect 0 env HF_HUB_OFFLINE=1 HF_HUB_CACHE="$PWD/cache" st-inspect --diff hf://ada/tiny out
  expect 0 env HF_HUB_OFFLINE=1 HF_HUB_CACHE="$PWD/cache" st-inspect --names "$HF_ENDPOINT/ada/tiny/tree/main"
  expect 0 env HF_ENDPOINT= HF_HUB_OFFLINE=1 HF_HUB_CACHE="$PWD/cache" st-inspect --names https://hf.co/ada/tiny
  expect 7 env HF_HUB_OFFLINE=1 HF_HUB_CACHE="$PWD/cache" st-inspect hf://ada/none
  has stderr "unset HF_HUB_OFFLINE"
  [ "$(hub_count)" = 0 ]
  expect 75 env HF_HUB_OFFLINE=1 st-inspect "$HF_ENDPOINT/x.safetensors"
  [ "$(hub_count)" = 0 ]
}

@test "addresses that a browser shows are read as the places that they show" {
  published base
  for page in "" / /tree/main "?library=x" /blob/main/model.safetensors /resolve/main/model.safetensors; do
    expect 0 st-inspect --names "$HF_ENDPOINT/ada/tiny$page"
    [ "${#lines[@]}" = 21 ]
  done
  expect 0 hub-push -q "$FIXTURES/sharded" "$HF_ENDPOINT/ada/tiny/tree/v%2F1/a%20b"
  expect 0 st-inspect --check=hub "$output"
  expect 0 st-inspect -t "$HF_ENDPOINT/ada/tiny/tree/v%2F1/a%20b"
  has output model-00001-of-
  expect 0 st-inspect -t "$HF_ENDPOINT/ada/tiny/resolve/v%2F1/a%20b/model.safetensors.index.json"
  has output model-00001-of-
  expect 0 st-inspect --diff out "$HF_ENDPOINT/ada/tiny"
  expect 7 st-inspect "$HF_ENDPOINT/ada/tiny/blob/main/none.safetensors"
  expect 6 st-inspect "$HF_ENDPOINT/ada/none"
  has stderr "there is no ada/none"
  # What is not a page of a repository stays a file.
  hub_admin DELETE log > /dev/null
  for address in "$HF_ENDPOINT/x" "$HF_ENDPOINT/some/model.safetensors" "$HF_STORAGE/ada/tiny" "$HF_ENDPOINT/api/models/ada/tiny"; do
    run st-inspect "$address"
    [ "$status" != 0 ]
  done
  [ "$(hub_count 'e["route"] in ("info", "tree")')" = 1 ]  # the last, which is the answer of the API itself
  no_leak
  expect 0 card-gen --base "$HF_ENDPOINT/ada/tiny/tree/v1" --dataset "$HF_ENDPOINT/datasets/ada/data" --name child
  has output "base_model: ada/tiny"
  has output "- ada/data"
  expect 0 card-gen --base hf://ada/tiny --name child
  has output "base_model: ada/tiny"
  expect 2 card-gen --base https://ada:secret@example.org/ada/tiny --name child
  [[ $stderr != *secret* ]]
  expect 2 card-gen --base "$HF_ENDPOINT/datasets/ada/data" --name child
  expect 0 card-gen --base-from "$HF_ENDPOINT/ada/tiny" --name child
  has output "base_model: ada/tiny"
}

@test "a path that is not there and looks like a repository is hinted at" {
  expect 7 st-inspect ada/x
  has stderr "to read it from the hub, write hf://ada/x"
  expect 7 st-inspect datasets/ada/x
  has stderr hf://datasets/ada/x
  expect 7 st-inspect --diff ada/x ada/y
  has stderr hf://ada/x
  expect 7 card-gen --base-from ada/x
  has stderr hf://ada/x
  HF_ENDPOINT= expect 7 st-inspect huggingface.co/ada/x/tree/v1
  has stderr "write hf://ada/x@v1"
  mkdir ada
  for path in ada/x ./b/x /b/x b a/b/c b/.x "b/x y"; do
    expect 7 st-inspect "$path"
    [[ $stderr != *hf://* ]]
  done
}

@test "card-gen --base-from reads the card of a base where it lies" {
  start_hub
  cp -r "$FIXTURES/base" out
  printf '%s\n' --- 'license: apache-2.0' 'tags:' '- tiny-words' '- base_model:ada/first' --- '# Tiny' > out/README.md
  expect 0 hub-push -q out ada/tiny
  hub_admin DELETE log > /dev/null
  expect 0 card-gen --base-from hf://ada/tiny --name child
  has output "license: apache-2.0"
  has output "base_model: ada/tiny"
  has output "- tiny-words"
  [[ $output != *ada/first* ]]
  [ "$(hub_count 'e["range"] and e["status"] != 307')" -le 4 ]
  cp -r "$FIXTURES/lora-run/checkpoint-40" adapter
  expect 0 card-gen -i --base-from out --base ada/tiny adapter
  grep -qxF -- "- tiny-words" adapter/README.md
  expect 0 card-gen --check adapter
  expect 0 card-gen -i adapter
  grep -qxF -- "license: apache-2.0" adapter/README.md
  grep -qxF -- "- tiny-words" adapter/README.md
  expect 6 card-gen --base-from hf://ada/none
  expect 7 card-gen --base-from nowhere
  printf '%s\n' --- 'tags: [' --- > out/README.md
  expect 4 card-gen --base-from out --name x
  has stderr "out/README.md"
}

@test "programs that push and prune say that a model elsewhere must be downloaded" {
  published base
  expect 7 hub-push hf://ada/tiny ada/x
  has stderr "hf://ada/tiny: is not on this machine; download it first"
  expect 7 ckpt-prune --keep 1 hf://ada/tiny
}
