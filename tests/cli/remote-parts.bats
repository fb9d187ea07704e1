# SPDX-License-Identifier: Apache-2.0
# Models on a hub as the input of st-pack and lora-extract, against the strict local Hub: what is taken of a repository
# is what is taken of a copy; one commit for all parts of the work; snapshots in the cache of the libraries.
load helper
load hub

setup() { hub_home; }

# published FOLDER ID [OPTIONS of start_hub]: the folder here is a repository there, and the log is empty.
published() {
  [ -n "${HUB_PID:-}" ] || start_hub "${@:3}"
  expect 0 hub-push -q "$1" "$2"
  hub_admin DELETE log > /dev/null
}

commit_of() { hub_admin GET "repo?id=$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["revisions"]["main"]["commit"])'; }

# snapshot ID FOLDER: the cache of the libraries has the newest commit of the repository, with the files of FOLDER.
snapshot() {
  export HF_HUB_CACHE=$PWD/cache
  local at
  at=cache/models--${1/\//--}/snapshots/$(commit_of "$1")
  mkdir -p "$at"
  cp -r "$2/." "$at"
  mkdir -p "cache/models--${1/\//--}/refs"
  commit_of "$1" | tr -d '\n' > "cache/models--${1/\//--}/refs/main"
}

download() { curl -sSfL -H "Authorization: Bearer $HF_TOKEN" "$HF_ENDPOINT/ada/tiny/resolve/main/$1" -o "copy/$1"; }

# alike COMMAND...: with hf://ada/tiny in the place of "copy" it does the same, and says the same.
alike() {
  local code=0
  rm -rf here there
  run --separate-stderr "$@" -o here
  code=$status
  sed -E 's#copy\b#X#g' <<< "$output$stderr" > said-here
  expect "$code" "${@//copy/hf:\/\/ada\/tiny}" -o there
  # What is read, and how fast, is said of files that are far alone.
  sed -E '/would read /d; s#hf://ada/tiny\b#X#g; s#\bthere\b#here#g; s#; read [0-9.]+ [KMG]?B from X.*##' <<< "$output$stderr" > said-there
  diff said-here said-there
  [ "$code" != 0 ] || diff -r here there
}

@test "the output is that of a copy: folders below, code, templates, what is left and why, notes" {
  cp -r "$FIXTURES/base" copy
  mkdir -p copy/additional_chat_templates copy/original copy/.cache/huggingface copy/lora copy/onnx
  echo "{{ messages }}" > copy/additional_chat_templates/tool.jinja
  echo "no" > copy/additional_chat_templates/notes.txt
  cp copy/model.safetensors copy/original/consolidated.safetensors
  echo x > copy/onnx/model.onnx
  echo x > copy/.cache/huggingface/x
  cp "$FIXTURES"/lora-adapter/* copy/lora/
  python3 - <<'PY'
import json
config = json.load(open("copy/config.json"))
config["auto_map"] = {"AutoConfig": "configuration_x.XConfig", "AutoModel": "other/name--modeling_y.Y"}
json.dump(config, open("copy/config.json", "w"))
PY
  echo "from .helper_x import y" > copy/configuration_x.py
  echo "y = 1" > copy/helper_x.py
  echo "z = 1" > copy/modeling_y.py
  echo "z = 1" > copy/unused.py
  printf '# Tiny\n' > copy/README.md
  published copy ada/tiny
  rm -rf copy/.cache
  download .gitattributes
  hub_admin DELETE log > /dev/null
  alike st-pack copy
  [ -e there/helper_x.py ]
  [ -e there/additional_chat_templates/tool.jinja ]
  alike st-pack -v copy --dtype bf16 --max-shard-size 40KB
  alike st-pack copy --weights-only --select '*layers.0*'
  alike st-pack copy --adapter copy/lora
  alike st-pack copy/lora
  alike st-pack copy/model.safetensors --dtype f16
  alike st-pack copy/original
  expect 6 st-pack hf://ada/tiny/nowhere -o there
  alike lora-extract copy/lora
}

@test "components of a pipeline, modules of sentence-transformers" {
  mkdir copy
  cp -r "$FIXTURES/base" copy/text_encoder
  cp -r "$FIXTURES/base" copy/unet
  echo '{"_class_name": "P", "text_encoder": ["transformers", "LlamaModel"], "unet": ["diffusers", "U"], "scheduler": ["diffusers", "S"]}' > copy/model_index.json
  mkdir copy/scheduler
  echo '{}' > copy/scheduler/scheduler_config.json
  published copy ada/tiny
  download .gitattributes
  alike st-pack copy
  alike st-pack copy --dtype bf16
}

@test "one look-up for INPUT, --base and --adapter of one repository, whatever paths they name" {
  cp -r "$FIXTURES/base" copy
  cp -r "$FIXTURES/lora-adapter" copy/lora
  published copy ada/tiny
  expect 0 st-pack hf://ada/tiny --adapter hf://ada/tiny@main/lora --adapter hf://ada/tiny/lora:0.5 -o there
  [ "$(hub_count 'e["route"] == "info"')" = 1 ]
  [ "$(hub_count 'e["route"] == "tree"')" = 1 ]
  expect 0 st-pack copy --adapter copy/lora --adapter copy/lora:0.5 -o here
  diff -r here there
}

@test "a part pins the commit; the others and the last run use it, look nothing up, and resolve what they read" {
  cp -r "$FIXTURES/base" copy
  published copy ada/tiny
  expect 0 st-pack copy --max-shard-size 40KB -o here
  shards=$(ls here/*.safetensors | wc -l)
  [ "$shards" -gt 2 ]
  hub_admin DELETE log > /dev/null
  expect 0 hub-push -q here ada/tiny
  pinned=$(commit_of ada/tiny)
  hub_admin DELETE log > /dev/null
  expect 0 st-pack hf://ada/tiny --max-shard-size 40KB --part "1/$shards" -o there
  [ "$(ls there.parts | grep -c '^pinned[.]')" = 1 ]
  # The branch moves on.
  printf X | dd of=copy/model.safetensors bs=1 seek=150000 conv=notrunc status=none
  expect 0 st-pack copy --max-shard-size 40KB -o later
  expect 0 hub-push -q later ada/tiny
  hub_admin DELETE log > /dev/null
  expect 0 st-pack hf://ada/tiny --max-shard-size 40KB --part "2/$shards" -o there
  has stderr "is read at commit $pinned"
  [ "$(hub_count 'e["route"] in ("info", "tree")')" = 0 ]
  [ "$(hub_count 'e["route"] == "resolve" and e["target"].endswith(".safetensors")')" = 1 ]
  [ "$(hub_count 'e["route"] == "resolve" and "'"$pinned"'" not in e["target"]')" = 0 ]
  hub_admin DELETE log > /dev/null
  expect 0 st-pack hf://ada/tiny --max-shard-size 40KB -o there
  [ "$(hub_count 'e["route"] in ("info", "tree")')" = 0 ]
  has stderr "2 shards of $shards taken from parts"
  [ ! -e there.parts ]
  diff -r <(cd here && sha256sum ./*.safetensors) <(cd there && sha256sum ./*.safetensors)
}

@test "a part that fails leaves no pin; -n writes none, and a torn one is refused" {
  cp -r "$FIXTURES/base" copy
  published copy ada/tiny
  expect 5 st-pack hf://ada/tiny --select none --part 1/2 -o there
  [ ! -e there.parts ]
  expect 0 st-pack -n hf://ada/tiny --part 1/2 -o there
  [ ! -e there.parts ]
  expect 0 st-pack hf://ada/tiny --part 1/2 -o there
  pin=$(echo there.parts/pinned.*)
  sed -i 's#"/ada/tiny"#"/eve/tiny"#' "$pin"
  expect 5 st-pack hf://ada/tiny --part 2/2 -o there
  has stderr "is the pin of another repository"
  truncate -s 40 "$pin"
  expect 5 st-pack hf://ada/tiny --part 2/2 -o there
  has stderr "is not the pin of a commit"
}

@test "lora-extract between two models: parts agree on the commits of both" {
  cp -r "$FIXTURES/base" copy
  expect 0 st-pack copy --adapter "$FIXTURES/lora-adapter" -o tuned
  published copy ada/tiny
  published tuned ada/tuned
  expect 0 lora-extract --base copy --tuned tuned --rank 4 --kernel baseline -o here
  expect 0 lora-extract --base hf://ada/tiny --tuned hf://ada/tuned --rank 4 --kernel baseline --part 1/2 -o there
  [ "$(ls there.parts | grep -c '^pinned[.]')" = 2 ]
  hub_admin DELETE log > /dev/null
  expect 0 lora-extract --base hf://ada/tiny --tuned hf://ada/tuned --rank 4 --kernel baseline --part 2/2 -o there
  expect 0 lora-extract --base hf://ada/tiny --tuned hf://ada/tuned --rank 4 --kernel baseline -o there
  [ "$(hub_count 'e["route"] in ("info", "tree")')" = 0 ]
  has stderr "taken from parts"
  cmp here/adapter_model.safetensors there/adapter_model.safetensors
}

@test "a whole snapshot of this very commit is read instead, and that is said" {
  cp -r "$FIXTURES/base" copy
  published copy ada/tiny
  snapshot ada/tiny copy
  expect 0 st-pack hf://ada/tiny -o there
  has stderr "is read from the snapshot of this commit: "
  [ "$(hub_count 'e["route"] == "info"')" = 1 ]
  [ "$(hub_count 'e["route"] == "resolve" or e["port"] == "storage"')" = 0 ]
  expect 0 st-pack copy -o here
  diff -r here there
  # Parts fit together, whether they have the snapshot or not.
  expect 0 st-pack hf://ada/tiny --max-shard-size 100KB --part 1/2 -o parts
  expect 0 env HF_HUB_CACHE="$PWD/none" st-pack hf://ada/tiny --max-shard-size 100KB --part 2/2 -o parts
  expect 0 env HF_HUB_CACHE="$PWD/none" st-pack hf://ada/tiny --max-shard-size 100KB -o parts
  has stderr "taken from parts"
}

@test "a snapshot that lacks what is not needed is used; what is needed and not there, or cut, is not" {
  cp -r "$FIXTURES/base" copy
  echo x > copy/model.onnx
  printf '# Tiny\n' > copy/README.md
  published copy ada/tiny
  snapshot ada/tiny copy
  at=$(echo cache/models--ada--tiny/snapshots/*)
  rm "$at/model.onnx"
  expect 0 st-pack hf://ada/tiny -o there
  has stderr "is read from the snapshot of this commit: "
  [ "$(hub_count 'e["route"] == "resolve" or e["port"] == "storage"')" = 0 ]
  rm "$at/README.md"
  expect 0 st-pack hf://ada/tiny -o there2
  [[ $stderr != *snapshot* ]]
  [ "$(hub_count 'e["route"] == "resolve" and e["target"].endswith("config.json")')" -gt 0 ]
  diff -r there there2
  hub_admin DELETE log > /dev/null
  expect 0 st-pack hf://ada/tiny --weights-only -o there3
  has stderr snapshot
  [ "$(hub_count 'e["route"] == "resolve" or e["port"] == "storage"')" = 0 ]
  cp copy/README.md "$at/"
  truncate -s -1 "$at/model.safetensors"
  expect 0 st-pack hf://ada/tiny -o there4
  [[ $stderr != *snapshot* ]]
  diff -r there there4
  # Another commit's snapshot.
  cp copy/model.safetensors "$at/"
  mv "$at" "${at%/*}/0123456789012345678901234567890123456789"
  expect 0 st-pack hf://ada/tiny -o there5
  [[ $stderr != *snapshot* ]]
}

@test "offline and file:// endpoints: every operand comes from the cache; what is not there is named, exit 7" {
  cp -r "$FIXTURES/sharded" copy
  cp -r "$FIXTURES/base" base
  cp -r "$FIXTURES/lora-adapter" lora
  published copy ada/tiny
  published base ada/base
  published lora ada/lora
  snapshot ada/tiny copy
  snapshot ada/base base
  snapshot ada/lora lora
  hub_admin DELETE log > /dev/null
  expect 0 env HF_HUB_OFFLINE=1 st-pack hf://ada/base --adapter hf://ada/lora:0.5 -o there
  expect 0 st-pack base --adapter lora:0.5 -o here
  diff -r here there
  expect 1 env HF_ENDPOINT="file://$PWD/cache" lora-extract --base hf://ada/base --tuned hf://ada/base --rank 4 -o x
  expect 7 env HF_HUB_OFFLINE=1 st-pack hf://ada/base --adapter hf://ada/none -o x
  has stderr "unset HF_HUB_OFFLINE"
  expect 7 env HF_ENDPOINT="file://$PWD/cache" st-pack hf://ada/none -o x
  has stderr "HF_ENDPOINT names this folder"
  rm cache/models--ada--tiny/snapshots/*/model-00002-of-*.safetensors
  expect 7 env HF_HUB_OFFLINE=1 st-pack hf://ada/tiny -o x
  has stderr "model-00002-of-"
  has stderr "is not in the cache"
  has stderr "unset HF_HUB_OFFLINE"
  rm cache/models--ada--lora/snapshots/*/adapter_model.safetensors
  expect 7 env HF_HUB_OFFLINE=1 st-pack hf://ada/base --adapter hf://ada/lora -o x
  has stderr "no weights of it are in the cache"
  expect 7 env HF_HUB_OFFLINE=1 st-pack hf://ada/base/below -o x
  has stderr "unset HF_HUB_OFFLINE"
  [ ! -e x ]
  [ "$(hub_count)" = 0 ]
}

@test "torch files: a zip is read by ranges; an old one and compressed members are refused by name" {
  cp -r "$FIXTURES/torch/model-sharded" copy
  published copy ada/tiny
  download .gitattributes
  alike st-pack copy
  rm -r there
  bin=$(basename "$(ls copy/*.bin | head -1)")
  python3 - "copy/$bin" <<'PY'
import sys, zipfile
source = zipfile.ZipFile(sys.argv[1])
with zipfile.ZipFile("deflated.bin", "w", zipfile.ZIP_DEFLATED) as out:
    for item in source.infolist():
        out.writestr(item.filename, source.read(item))
PY
  mv deflated.bin "copy/$bin"
  expect 0 hub-push -q copy ada/tiny
  expect 4 st-pack hf://ada/tiny -o there
  has stderr "$bin: is compressed or of an old kind, so it can't be read by ranges"
  has stderr "download it"
  expect 4 st-pack "hf://ada/tiny/$bin" -o there
  published "$FIXTURES/torch/legacy.pt" ada/old
  expect 4 st-pack hf://ada/old/legacy.pt -o there
  has stderr "legacy.pt: is not a zip archive"
  [ ! -e there ]
}

@test "a head that repeats the embeddings is compared as it is written, and read once; one that differs is written" {
  mkdir copy
  python3 - <<'PY'
import json, random, struct
random.seed(3)
embed = random.randbytes(4 << 20)
tensors = {"lm_head.weight": embed, "model.embed_tokens.weight": embed, "model.norm.weight": random.randbytes(4096)}
shapes = {"lm_head.weight": [4096, 512], "model.embed_tokens.weight": [4096, 512], "model.norm.weight": [2048]}
header, at = {}, 0
for name, data in tensors.items():
    header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [at, at + len(data)]}
    at += len(data)
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open("copy/model.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + b"".join(tensors.values()))
json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": True}, open("copy/config.json", "w"))
PY
  published copy ada/tiny
  download .gitattributes
  alike st-pack copy
  [ "$(st-inspect --names there | wc -l)" = 2 ]
  sent=$(hub_admin GET log | python3 -c 'import json, sys; print(sum(e["sent_bytes"] for e in json.load(sys.stdin) if e["port"] == "storage"))')
  [ "$sent" -lt 8900000 ]
  for options in "--dtype f16" "--max-shard-size 5MB --rename s/^model/m/"; do alike st-pack copy $options; done
  # What is not selected is not read.
  hub_admin DELETE log > /dev/null
  expect 0 st-pack hf://ada/tiny --select model.norm.weight -o norm
  sent=$(hub_admin GET log | python3 -c 'import json, sys; print(sum(e["sent_bytes"] for e in json.load(sys.stdin) if e["port"] == "storage"))')
  [ "$sent" -lt 500000 ]
  # Bytes differ where nobody looked before.
  printf XX | dd of=copy/model.safetensors bs=1 seek=1500000 conv=notrunc status=none
  expect 0 hub-push -q copy ada/tiny
  rm copy/.gitattributes
  download .gitattributes
  rm -rf here there
  expect 0 st-pack copy -o here
  expect 0 st-pack hf://ada/tiny -o there
  has stderr "begun anew"
  [ "$(st-inspect --names there | wc -l)" = 3 ]
  diff -r here there
  rm -rf here there
  expect 0 st-pack copy --dtype f16 -o here
  expect 0 st-pack hf://ada/tiny --dtype f16 -o there
  diff -r here there
  [ ! -e there.partial ]
}

@test "a small file that goes along is compared with its SHA-256; another one: 6, and nothing is left" {
  cp -r "$FIXTURES/base" copy
  large copy/tokenizer.model 3000000
  published copy ada/tiny
  alike_bytes() { expect 0 st-pack hf://ada/tiny -o there && cmp copy/tokenizer.model there/tokenizer.model; }
  alike_bytes
  rm -r there
  # The weights come first: their header, then the rest; the third answer of the storage is the tokenizer's.
  for after in 2 3 4; do
    hub_fault storage-get corrupt "\"after\":$after,\"times\":1"
    run --separate-stderr st-pack hf://ada/tiny -o there
    hub_admin DELETE fault > /dev/null
    [ "$status" = 6 ] || { echo "exit $status after $after: $stderr"; hub_log; return 1; }
    has stderr "SHA-256"
    [ ! -e there ]
    [ ! -e there.partial ]
  done
  expect 5 st-pack hf://ada/tiny -o copy
  [ "$(ls)" = "$(ls | grep -v partial)" ]
}
