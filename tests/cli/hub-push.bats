# SPDX-License-Identifier: Apache-2.0
# hub-push against the strict local Hub.
load helper
load hub

setup() { hub_home; }

@test "a fresh push makes the repository and one commit, a second push makes none" {
  model
  start_hub
  expect 0 hub-push out ada/tiny
  [[ $output = "$HF_ENDPOINT"/ada/tiny/commit/* ]]
  has stderr "created the repository ada/tiny"
  same_files ada/tiny out
  hub_admin DELETE log
  expect 0 hub-push out ada/tiny
  [[ $output = "$HF_ENDPOINT"/ada/tiny/commit/* ]]
  has stderr "nothing to do"
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
  [ "$(hub_count)" -le 3 ]
  [ "$(hub_titles ada/tiny | head -n 1)" = "Upload with hub-push" ]
}

@test "-n says NEW, CHANGED, SAME, DELETE and the bytes to send, and changes nothing" {
  model
  start_hub
  expect 0 hub-push out ada/tiny
  echo changed > out/config.json
  echo new > out/notes.txt
  mv out/generation_config.json .
  hub_admin GET 'repo?id=ada/tiny' > before
  expect 0 hub-push -n --delete 'gen*' out ada/tiny
  has output "CHANGED regular"
  has output "NEW     regular         4 B  notes.txt"
  has output "SAME    lfs"
  has output "DELETE  regular"
  has output "1 new, 1 changed,"
  has output "12 B to send"
  hub_admin GET 'repo?id=ada/tiny' > after
  cmp before after
  expect 0 hub-push --json -n out ada/tiny
  python3 -c 'import json, sys; d = json.load(sys.stdin); assert d["schema"] == "modelutils.hub-push/1" and d["counts"]["added"] == 1 and d["commits"] == []' <<< "$output"
  expect 0 hub-push --delete 'gen*' --delete '*' -m "Second" --description "Why" out ada/tiny
  same_files ada/tiny out
  [ "$(hub_titles ada/tiny | head -n 1)" = Second ]
  expect 0 env -u HF_TOKEN hub-push -n out ada/tiny
  has output "NEW     ?"
  has output "without a token the hub is not asked"
  [[ $output != *" to send"*B* ]]
  expect 0 env -u HF_TOKEN hub-push --json -n out ada/tiny
  has output '"to_send": null'
}

@test "--include, --exclude, --all and what a run keeps for itself" {
  cp -r "$FIXTURES/full-run/checkpoint-40" run
  mkdir -p run/.git run/.cache/x run/checkpoint-7 run/logs run/.GIT run/last-checkpoint
  touch run/.git/a run/.cache/x/b run/checkpoint-7/c run/logs/d.txt run/events.out.tfevents.1 run/.GIT/a run/last-checkpoint/{config.json,optimizer.pt}
  start_hub
  expect 0 hub-push -n run ada/tiny
  for name in optimizer.pt rng_state.pth scheduler.pt trainer_state.json training_args.bin .git/ .cache/ checkpoint-7/ events.out.tfevents.1 .GIT/ last-checkpoint/; do
    has stderr "$name: left out:"
    [[ $output != *"$name"* ]]
  done
  has output "logs/d.txt"
  expect 0 hub-push -n --all run ada/tiny
  has output optimizer.pt
  has output checkpoint-7/c
  has output last-checkpoint/optimizer.pt
  [[ $output != *.git/* && $output != *.GIT/* ]]
  expect 0 hub-push -n --include 'last-checkpoint/*' run ada/tiny
  has output last-checkpoint/optimizer.pt
  expect 0 hub-push -n --include 'trainer_state.json' --include 'log*/' run ada/tiny
  has output trainer_state.json
  has output logs/d.txt
  [[ $output != *config.json* ]]
  expect 0 hub-push -n --exclude '*.json' --exclude nothing run ada/tiny
  [[ $output != *config.json* ]]
  has stderr "no file matches 'nothing'"
  expect 5 hub-push --include 'nothing' run ada/tiny
  has stderr "no file is left"
  expect 0 hub-push -n --type dataset run ada/data
  has output optimizer.pt
}

@test "types, branches, paths, single files, standard input, tags" {
  model
  start_hub
  expect 0 hub-push out datasets/ada/d
  [ "$(hub_files ada/d main dataset | wc -l)" -gt 3 ]
  expect 0 hub-push out ada/tiny --revision feature/x
  has stderr "created the branch feature/x"
  same_files ada/tiny out feature/x
  expect 0 hub-push out ada/tiny deep/er --tag v1
  hub_files ada/tiny | grep -q ' deep/er/config.json'
  hub_files ada/tiny refs/tags/v1 | grep -q ' deep/er/config.json'
  expect 0 hub-push out/config.json ada/tiny
  expect 0 hub-push out/config.json ada/tiny other/name.json
  expect 0 hub-push out/config.json ada/tiny into/
  hub_files ada/tiny | grep -q ' into/config.json$'
  expect 0 hub-push out/config.json hf://ada/tiny/also/into/
  hub_files ada/tiny | grep -q ' also/into/config.json$'
  expect 2 hub-push - ada/tiny into/ <<< hello
  expect 0 hub-push - ada/tiny from-stdin.txt <<< hello
  hub_files ada/tiny | grep -q '^5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 6 from-stdin.txt'
  hub_files ada/tiny | grep -q other/name.json
  expect 0 hub-push out tiny
  [[ $output = "$HF_ENDPOINT"/ada/tiny/commit/* ]]
  expect 0 hub-push out ADA/Tiny
}

@test "--create-pr leaves the branch alone, refs/pr goes on with it" {
  model
  start_hub
  # A pull request that is not there is not made, nor a repository for it.
  for place in hf://ada/tiny@refs/pr/1 hf://ada/tiny@refs/convert/parquet; do
    expect 6 hub-push out "$place"
    has stderr "ada/tiny has no refs/"
    expect 6 hub-push -n out "$place"
  done
  [ "$(hub_count 'e["route"] in ("create", "branch", "commit")')" = 0 ]
  expect 2 hub-push out hf://ada/tiny@refs/heads/main
  hub_admin POST repo '{"id":"ada/tiny"}'
  expect 0 env HF_TOKEN=hf_testpr hub-push --create-pr out ada/tiny
  [ "$output" = "$HF_ENDPOINT/ada/tiny/discussions/1" ]
  same_files ada/tiny out refs/pr/1
  [ "$(hub_files ada/tiny | grep -vc .gitattributes)" = 0 ]
  echo more > out/notes.txt
  expect 0 hub-push --revision refs/pr/1 out ada/tiny
  same_files ada/tiny out refs/pr/1
  echo again > out/notes.txt
  expect 0 hub-push out hf://ada/tiny@refs/pr/1
  same_files ada/tiny out refs/pr/1
  expect 0 hub-push --revision refs%2Fpr%2F1 out ada/tiny
  has stderr "nothing to do"
  expect 0 hub-push out/config.json hf://ada/tiny@refs%2Fpr%2F1/deep/config.json
  hub_files ada/tiny refs/pr/1 | grep -q deep/config.json
  for place in hf://ada/tiny@refs/pr/1 hf://ada/tiny@refs%2Fpr%2F1 hf://models/ada/tiny@refs/pr/1/model.safetensors; do
    expect 0 st-inspect "$place"
  done
  expect 6 st-inspect hf://ada/tiny@refs/convert/parquet
  expect 6 env HF_TOKEN=hf_testpr hub-push out ada/tiny
  has stderr create_pr
}

@test "REPO may be the address that a browser shows" {
  model
  start_hub
  expect 0 hub-push out "$HF_ENDPOINT/ada/tiny"
  same_files ada/tiny out
  expect 0 hub-push --private out "$HF_ENDPOINT/datasets/ada/data/"
  hub_files ada/data main dataset | grep -q config.json
  expect 0 hub-push out "$HF_ENDPOINT/ada/tiny/tree/v1/deep?library=x#top"
  hub_files ada/tiny v1 | grep -q ' deep/config.json'
  expect 0 hub-push --revision v/2 out "$HF_ENDPOINT/ada/tiny/tree/v%2F2"
  same_files ada/tiny out v/2
  expect 2 hub-push --revision v1 out "$HF_ENDPOINT/ada/tiny/tree/main"
  has stderr "--revision says v1, but REPO says main"
  expect 0 hub-push --create-pr out/config.json "$HF_ENDPOINT/ada/tiny/tree/main" again/config.json
  expect 0 hub-push out "$output"
  hub_files ada/tiny refs/pr/1 | grep -q ' again/config.json'
  hub_files ada/tiny refs/pr/1 | grep -q ' model.safetensors'
  expect 2 hub-push out "$HF_ENDPOINT/ada/tiny/tree/main/a" b
  expect 2 hub-push out --type model "$HF_ENDPOINT/datasets/ada/data"
  for page in blob/main/config.json resolve/main/config.json commit/0123 settings; do
    expect 2 hub-push out "$HF_ENDPOINT/ada/tiny/$page"
  done
  for address in "$HF_ENDPOINT" "$HF_ENDPOINT/ada" "$HF_ENDPOINT/api/models"; do expect 2 hub-push out "$address"; done
}

@test "an address on another host is wrong usage, and nothing is sent there" {
  model
  start_hub
  other=${HF_ENDPOINT/127.0.0.1/localhost}
  for address in "$other/ada/tiny" "$HF_STORAGE/ada/tiny" https://huggingface.co/ada/tiny https://hf.co/ada/tiny ftp://x/ada/tiny; do
    expect 2 hub-push out "$address"
    has stderr "--endpoint"
    expect 2 hub-push -n out "$address"
  done
  expect 2 hub-push --endpoint "$other" out "$HF_ENDPOINT/ada/tiny"
  expect 2 hub-push --endpoint "file://$PWD/cache" out "$HF_ENDPOINT/ada/tiny"
  [ ! -e cache ]
  [ "$(hub_count)" = 0 ]
  # The two names of the public Hub are one, while that is the endpoint; this port does not answer.
  expect 2 hub-push out hf.co/ada/tiny
  for address in https://huggingface.co/ada/tiny https://hf.co/ada/tiny/tree/main hf.co/ada/tiny; do
    for endpoint in '' https://hf.co https://huggingface.co/; do
      expect 75 env HF_ENDPOINT=$endpoint HTTPS_PROXY=http://127.0.0.1:9 hub-push --max-wait 0 out "$address"
    done
  done
  expect 2 env HF_ENDPOINT= hub-push out https://huggingface.co.example.org/ada/tiny
  expect 2 env HF_ENDPOINT= hub-push out https://hf.co@example.org/ada/tiny
  for address in "https://ada:hf_secret@hf.co/ada/tiny" "https://ada:hf_secret@hf.co/ada/tiny/blob/main/x"; do
    expect 2 env HF_ENDPOINT= hub-push out "$address"
    [[ $stderr != *secret* ]]
    run env HF_ENDPOINT= st-inspect "$address"
    [[ $output != *secret* ]]
  done
}

@test "an endpoint that is not an address is wrong usage" {
  model
  for endpoint in localhost localhost:8080 hub.example ftp://hub.example https:// https://a:b@hub.example http://x:99999 'https://x?y' ''; do
    expect 2 hub-push --endpoint "$endpoint" out ada/tiny
    has stderr "--endpoint: '"
    [ -n "$endpoint" ] || continue
    HF_ENDPOINT=$endpoint expect 2 hub-push out ada/tiny
    has stderr "HF_ENDPOINT: '"
    HF_ENDPOINT=$endpoint expect 2 st-inspect hf://ada/tiny
    HF_ENDPOINT=$endpoint expect 0 st-inspect out
  done
  HF_ENDPOINT=localhost expect 0 hub-push -q --endpoint "file://$PWD/cache" out ada/tiny
}

@test "wrong usage and refusals" {
  model
  start_hub
  expect 2 hub-push out
  expect 2 hub-push out 'a/b/c'
  expect 2 hub-push out 'ada/../x'
  expect 2 hub-push out ada/tiny ../x
  expect 2 hub-push out spaces/ada/x --type model
  expect 2 hub-push out ada/tiny --allow nothing
  expect 2 hub-push out ada/tiny --private --no-private
  expect 2 hub-push out ada/tiny --revision $'a\nb'
  expect 2 hub-push out hf://ada/tiny@x --revision y
  expect 2 hub-push out hf://ada/tiny@refs/pr/1 --create-pr
  expect 2 hub-push out hf://ada/tiny/x y
  expect 2 hub-push - ada/tiny
  expect 2 hub-push ada/tiny out
  has stderr "LOCAL comes first"
  expect 7 hub-push nowhere ada/tiny
  expect 6 hub-push --no-create out ada/tiny
  expect 6 env -u HF_TOKEN hub-push out ada/tiny
  has stderr "no token"
  expect 6 env HF_TOKEN=hf_wrongwrongwrongwrongwrong hub-push out ada/tiny
  has stderr "401"
  [[ $stderr != *hf_wrong* ]]
  local expiry
  for expiry in 1 9999999999; do
    printf '[other]\nhf_token = hf_other\nexpires_at = 1\n\n[mine]\nhf_token = hf_wrongwrongwrongwrongwrong\nexpires_at = %s\n' $expiry > logins
    expect 6 env HF_STORED_TOKENS_PATH='${PWD}/logins' HF_TOKEN=hf_wrongwrongwrongwrongwrong hub-push out ada/tiny
    if [ $expiry = 1 ]; then has stderr "the login that gave this token has ended: hf auth login"; else [[ $stderr != *"has ended"* ]]; fi
  done
  expect 6 env HF_TOKEN=hf_testread hub-push out ada/tiny
  has stderr "403"
  expect 75 env HF_HUB_OFFLINE=1 hub-push out ada/tiny
  expect 2 env HF_ENDPOINT=http://hub.example hub-push out ada/tiny
  has stderr "plain http"
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
}

@test "the guard stops secrets, pickles, pointers, torn weights and bad names before anything is asked" {
  model
  start_hub
  stops() { # RULE
    hub_admin DELETE log
    expect 5 hub-push out ada/tiny
    has stderr "[$1]"
    [ "$(hub_count)" = 0 ]
    expect 0 hub-push -n --allow "$1" out ada/tiny
  }
  echo 'token = "hf_abcdefghijklmnopqrstuvwxyz0123"' > out/train.py
  stops secret
  [[ $stderr != *hf_abc* ]]
  printf -- '-----BEGIN OPENSSH PRIVATE KEY-----\nx\n' > out/train.py
  stops private-key
  rm out/train.py
  echo x > out/.env
  stops private-key
  rm out/.env
  token=hf_abcdefghijklmnop
  token+=qrstuvwxyzABCDEFGH
  mkdir away
  echo "$token" > away/token
  for name in vocab.txt tokenizer_config.json chat_template.jinja merges.txt; do
    mv "out/$name" kept 2> /dev/null || :
    printf 'a\nb %s\n' "$token" > "out/$name"
    stops secret
    has stderr "warning: $name: line 2"
    iconv -t utf-16 < "out/$name" > wide
    cp wide "out/$name"
    stops secret
    ln -sf "$PWD/away/token" "out/$name"
    expect 5 hub-push --allow link out ada/tiny
    has stderr "[secret]"
    expect 5 hub-push --allow secret out ada/tiny
    has stderr "[link]"
    [[ $stderr != *qrstuv* ]]
    rm "out/$name"
    mv kept "out/$name" 2> /dev/null || :
  done
  echo harmless > away/notes
  ln -s ../away/notes out/notes.md
  stops link
  ln -sf "$PWD/out/config.json" out/notes.md
  expect 0 hub-push -n out ada/tiny
  rm out/notes.md
  cp out/model.safetensors away
  ln -s ../away/model.safetensors out/more.safetensors
  expect 0 hub-push -n out ada/tiny
  rm out/more.safetensors
  cp out/model.safetensors whole
  cp "$(printf '{"__metadata__":{"note":"%s"}}' "$token" > header; python3 -c 'import struct; h = open("header", "rb").read(); open("meta", "wb").write(struct.pack("<Q", len(h)) + h)'; echo meta)" out/extra.safetensors
  stops secret
  rm out/extra.safetensors
  echo "export HF_TOKEN=hf_$(printf 'x%.0s' {1..34})" > out/README.md
  expect 0 hub-push -n out ada/tiny
  (head -c 17000000 /dev/zero | tr '\0' '\n'; echo "$token") > out/long.bin.txt
  expect 0 hub-push -n -v --allow large-regular out ada/tiny
  has stderr "long.bin.txt: only its first 16.78 MB were searched"
  rm out/long.bin.txt out/README.md
  printf 'cos\nsystem\n(S"x"\ntR.' > out/extra.pkl
  stops pickle
  rm out/extra.pkl
  mv out/model.safetensors whole
  printf 'version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 7\n' 0 > out/model.safetensors
  stops lfs-pointer
  head -c 100000 whole > out/model.safetensors
  stops torn
  mv whole out/model.safetensors
  head -c 20000 "$FIXTURES/full-run/checkpoint-40/rng_state.pth" | head -c 9000 > out/pytorch_model.bin
  stops torn
  rm out/pytorch_model.bin
  printf 'neither a zip nor a pickle' > out/data.bin
  expect 0 hub-push -n out ada/tiny
  rm out/data.bin
  touch out/$'new\nline'
  stops name
  rm out/new*
  touch out/a:b
  stops name
  rm out/a:b
  touch out/{A.txt,a.txt,nul.json,x?}
  expect 0 hub-push -n out ada/tiny
  has stderr "a.txt: differs from 'A.txt' by case alone"
  has stderr "nul.json: Windows keeps this name for a device [portable]"
  has stderr "x?: Windows can't have a '?' in a name [portable]"
  rm out/{A.txt,a.txt,nul.json,x?}
  touch out/$'caf\u00e9' out/$'cafe\u0301' out/$'\u00c4.txt' out/$'\u00e4.txt'
  expect 0 hub-push -n out ada/tiny
  has stderr $'caf\u00e9: differs from \'cafe\u0301\' by the Unicode form of its letters'
  has stderr $'\u00e4.txt: differs from \'\u00c4.txt\' by case alone'
  rm out/caf* out/$'\u00c4.txt' out/$'\u00e4.txt'
  rm out/config.json
  expect 0 hub-push -n out ada/tiny
  has stderr "[config]"
}

@test "the manual lists the rules that stop a push, and the others" {
  expect 2 hub-push --allow nothing out ada/tiny
  sed -n '/^[.]TS/,/^[.]TE/p' "$BATS_TEST_DIRNAME/../../man/hub-push.1" | awk -F'\t' 'NF == 2 {gsub(/\\/, "", $1); print $1}' > listed
  [ -s listed ]
  diff listed <(sed 's/.*the rules are //; s/, /\n/g' <<< "$stderr")
}

@test "a link that leads nowhere in place of weights stops the push" {
  model
  start_hub
  rm out/model.safetensors
  ln -s nowhere out/model.safetensors
  ln -s nowhere out/notes.txt
  expect 5 hub-push out ada/tiny
  has stderr "model.safetensors: a link that leads to no file [torn]"
  [ "$(hub_count 'e["route"] in ("create", "commit")')" = 0 ]
  expect 0 hub-push --exclude '*.safetensors' out ada/tiny
  has stderr "model.safetensors: left out: excluded"
  has stderr "notes.txt: left out: a link that leads to no file"
  expect 0 hub-push --allow torn out ada/tiny
  has stderr "warning: model.safetensors: a link"
  ln -s nowhere out/optimizer.pt
  expect 0 hub-push --exclude '*.safetensors' out ada/tiny
  has stderr "optimizer.pt: left out: training state"
}

@test "what an ignore list leaves out of a model stops the push, whoever has the list" {
  model
  start_hub
  printf '*.safetensors\n*.log\n' > out/.gitignore
  touch out/x.log
  expect 5 hub-push out ada/tiny
  has stderr "model.safetensors: left out"
  has stderr "remove the line from .gitignore"
  has stderr "[ignored]"
  has stderr "x.log: left out"
  [ "$(hub_count 'e["route"] in ("create", "commit")')" = 0 ]
  expect 5 hub-push -n out ada/tiny
  expect 5 env -u HF_TOKEN hub-push -n out ada/tiny
  expect 0 hub-push --allow ignored out ada/tiny
  has stderr "warning: model.safetensors: left out"
  ! hub_files ada/tiny | grep -qE ' (model.safetensors|x.log)$'
  expect 1 hub-push --verify --allow ignored out ada/tiny
  has stderr "1 file is not there"
  # Now the hub has the list.
  rm out/.gitignore
  expect 5 hub-push out ada/tiny
  has stderr "model.safetensors: left out"
  expect 0 hub-push --exclude '*.safetensors' --verify out ada/tiny
  # What was pushed before it was ignored is there.
  expect 0 hub-push out ada/other
  printf '*.safetensors\n' > out/.gitignore
  expect 0 hub-push --verify out ada/other
  has output " model.safetensors"
}

@test "a .gitattributes of ours counts at once, and a second push has nothing to do" {
  model
  start_hub
  printf '*.txt filter=lfs diff=lfs merge=lfs -text\n' > out/.gitattributes
  echo hello > out/a.txt
  expect 0 hub-push --verify out ada/tiny
  expect 0 hub-push -n out ada/tiny
  has output "SAME    lfs             6 B  a.txt"
  expect 0 hub-push --verify out ada/tiny
  has stderr "nothing to do"
  [ "$(hub_titles ada/tiny | grep -c hub-push)" = 1 ]
}

@test "metadata that the Hub refuses stops a push before anything is stored" {
  model
  start_hub
  printf -- '---\nlicense: none-such\nyaml-warning: dull\n---\n' > out/README.md
  expect 6 hub-push out ada/tiny
  has stderr README.md
  has stderr "must be one of"
  [ "$(hub_count 'e["route"] in ("preupload", "commit", "batch")')" = 0 ]
  sed -i s/none-such/mit/ out/README.md
  expect 0 hub-push out ada/tiny
  has stderr "warning: README.md: dull"
}

@test "multipart: sizes at and around the chunk, two paths with one content, empty files, odd names" {
  mkdir out
  for size in 9999 10000 10001 30000 30001; do large out/$size.bin $size; done
  cp out/30000.bin out/copy.bin
  touch out/empty.bin out/empty.txt
  for name in 'a b' 'p%20' '#' 'q?x' '+' 'é' '😀' "'"; do echo "$name" > "out/$name"; done
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  expect 0 hub-push out ada/tiny
  same_files ada/tiny out
}

# Many small parts: out/ with files of three parts.
in_parts() {
  mkdir out
  for i in 1 2 3; do large out/$i.bin 30000; echo $i >> out/$i.bin; done
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 12000 "$@"
}

@test "parts and answers that fail are sent again" {
  in_parts
  for fault in 'storage-put status "status":500,"times":2' 'storage-put reset "times":2' 'storage-put status "status":503' \
    'storage-put expired' 'preupload status "status":502' 'batch reset' 'complete status "status":504' 'verify reset' \
    'info reset' 'create busy' 'storage-put cut "bytes":100' 'batch truncate' 'storage-put reset-after' 'complete reset-after' \
    'preupload rate-limit "seconds":0' 'preupload retry-after "seconds":0' 'batch retry-date "seconds":0' 'info warning "message":"beware"'; do
    hub_admin POST reset > /dev/null
    # shellcheck disable=SC2086
    hub_fault $fault
    expect 0 hub-push out ada/tiny
    same_files ada/tiny out || { echo "after $fault"; return 1; }
    [ "$(hub_admin GET fault)" = '{"left":0}' ] || { echo "not played: $fault"; return 1; }
    [ "$(hub_titles ada/tiny | grep -c hub-push)" = 1 ]
  done
  has stderr "the hub warns: beware"
}

@test "a commit whose answer is lost is looked for, never made twice" {
  in_parts
  for fault in 'status "status":504' 'status-after "status":504' 'reset-after' 'reset' 'truncate' 'late "status":504'; do
    hub_admin POST reset > /dev/null
    # shellcheck disable=SC2086
    hub_fault commit $fault
    expect 0 hub-push out ada/tiny
    same_files ada/tiny out || { echo "after $fault"; return 1; }
    [ "$(hub_titles ada/tiny | grep -c hub-push)" = 1 ] || { echo "twice: $fault"; return 1; }
    [[ $output = "$HF_ENDPOINT"/ada/tiny/commit/* ]]
  done
}

@test "somebody else's commit: planned again once, --expect-parent never" {
  in_parts
  expect 0 hub-push out ada/tiny
  head=${output##*/}
  hub_admin POST commit '{"id":"ada/tiny"}'
  expect 6 hub-push --expect-parent "$head" out ada/tiny
  has stderr "not at $head"
  echo more > out/more.txt
  hub_fault commit status '"status":412'
  expect 0 hub-push out ada/tiny
  hub_files ada/tiny | grep -q other.txt
  hub_files ada/tiny | grep -q more.txt
}

@test "a hub that keeps failing is 75, one that refuses is 6, and nothing is committed" {
  in_parts
  check() { # CODE TEXT FAULT...
    hub_admin POST reset > /dev/null
    hub_fault "${@:3}"
    expect "$1" hub-push --max-wait 1s out ada/tiny
    has stderr "$2"
    [ "$(hub_count 'e["route"] == "commit" and e["status"] == 200')" = 0 ]
  }
  check 75 503 storage-put status '"status":503,"times":-1'
  check 75 502 preupload status '"status":502,"times":-1'
  check 75 429 preupload commit-quota '"times":-1'
  check 75 429 batch rate-limit '"seconds":3000'
  check 6 "makes no sense" batch lfs-missing
  check 6 "makes no sense" preupload garbage
  check 6 "makes no sense" preupload html
  check 6 "makes no sense" preupload missing-path
  check 6 ETag storage-put no-etag '"times":-1'
  check 6 "refuses 1 object" batch lfs-error
  check 6 "another place" info redirect '"location":"http://localhost:9/x"'
  check 6 redirects info redirect-loop '"times":-1'
  check 6 403 commit status '"status":403'
  has stderr "request "
  check 75 "storage answers 400" storage-put corrupt '"times":-1'
  stop_hub
  expect 75 hub-push --max-wait 1s out ada/tiny
}

@test "what a push that was killed has stored is not sent again" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  hub_fault storage-put stall '"after":9,"times":-1,"seconds":30'
  hub-push -j 1 out ada/tiny 3>&- & pid=$!
  until [ "$(hub_count 'e["route"] == "storage-put"')" -ge 9 ]; do :; done
  kill -9 $pid
  wait $pid || :
  hub_admin DELETE fault
  hub_admin DELETE log
  expect 0 hub-push out ada/tiny
  same_files ada/tiny out
  [ "$(hub_count 'e["route"] == "storage-put"')" -le 11 ]
  [ -z "$(ls out | grep -v a.bin)" ]
  [ -z "$(find home -name journal)" ]
}

@test "a signal ends it within a second and says how to go on" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  hub_fault storage-put stall '"times":-1,"seconds":30'
  hub-push out ada/tiny 2> messages 3>&- & pid=$!
  until [ "$(hub_admin GET fault | tr -dc 0-9)" = 1 ] && grep -q created messages; do :; done
  begin=$(date +%s%N)
  kill -TERM $pid  # shells start background jobs with SIGINT ignored
  code=0
  wait $pid || code=$?
  [ $(($(date +%s%N) - begin)) -lt 1000000000 ]
  [ "$code" = 143 ]
  grep -q "run the same command again" messages
}

@test "files that change, vanish or can't be read" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  mkfifo out/pipe
  ln -s nowhere out/broken
  ln -s .. out/loop
  ln -s a.bin out/link.bin
  expect 0 hub-push -n out ada/tiny
  has stderr "pipe: left out: no regular file"
  has stderr "broken: left out: a link that leads to no file"
  has stderr "loop/: left out"
  has output link.bin
  expect 0 hub-push -n --follow-symlinks out ada/tiny
  has stderr "a link back to a folder above it"
  rm out/pipe out/broken out/loop out/link.bin
  hub_fault storage-put slow '"bytes":20000,"times":1'
  hub-push -j 1 out ada/tiny 2> messages 3>&- & pid=$!
  until [ "$(hub_admin GET fault | tr -dc 0-9)" = 0 ]; do :; done
  echo changed >> out/a.bin
  code=0
  wait $pid || code=$?
  cat messages
  [ "$code" = 75 ]
  grep -q "changed while it was sent" messages
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
}

@test "two pushes at once: one goes on, the other is told" {
  mkdir out
  large out/a.bin 200000
  start_hub --lfs-threshold 100 --multipart 10000 --chunk 10000
  hub_fault storage-put slow '"bytes":30000,"times":1'
  hub-push out ada/tiny 3>&- & pid=$!
  until [ "$(hub_admin GET fault | tr -dc 0-9)" = 0 ]; do :; done
  expect 75 hub-push out ada/tiny
  has stderr "another push"
  wait $pid
  same_files ada/tiny out
}

@test "the token goes to the hub alone, and nowhere into output or logs" {
  in_parts
  hub_fault storage-put expired
  expect 0 hub-push -v -v --verify --tag v1 out ada/tiny
  [[ $stderr != *hf_testwrite* && $output != *hf_testwrite* ]]
  has stderr "Authorization: ***"
  [ "$(hub_count 'e["port"] == "storage" and e.get("authorization")')" = 0 ]
  [ "$(hub_count 'e["leak"]')" = 0 ]
  run ! grep -r hf_testwrite home
}

@test "--verify prints a manifest for sha256sum, and fails where the hub has something else" {
  in_parts
  printf 'x' > 'out/back\slash'
  expect 5 hub-push out ada/tiny
  rm out/back*
  expect 0 hub-push --verify out ada/tiny
  echo "$output" > manifest
  (cd out && sha256sum --quiet -c ../manifest)
  has stderr "$HF_ENDPOINT/ada/tiny/commit/"
  hub_fault paths-info empty
  expect 6 hub-push --verify out ada/tiny
}

@test "many files: several calls, several commits where one is too small" {
  mkdir out
  for i in $(seq 300); do echo "$i" > "out/$i.txt"; done
  start_hub
  expect 0 hub-push --max-files-per-commit 200 out ada/tiny
  has stderr "there will be 2 commits"
  same_files ada/tiny out
  [ "$(hub_titles ada/tiny | grep -c 'part')" = 2 ]
  hub_admin DELETE log
  expect 0 hub-push out ada/tiny
  [ "$(hub_count)" -le 4 ]
}

@test "a self-hosted hub of another kind" {
  model
  start_hub --profile kohaku
  expect 0 hub-push out ada/tiny
  same_files ada/tiny out
  expect 0 hub-push out ada/tiny
  expect 6 hub-push --create-pr out ada/tiny
}

@test "tokens from files, endpoints with a path, rates" {
  model
  start_hub --prefix /hf
  mkdir -p "$HF_HOME"
  printf 'hf_testwrite\n' > "$HF_HOME/token"
  expect 0 env -u HF_TOKEN hub-push out ada/tiny
  same_files ada/tiny out
  expect 6 env -u HF_TOKEN HF_HUB_DISABLE_IMPLICIT_TOKEN=1 hub-push out ada/tiny
  expect 0 env -u HF_ENDPOINT hub-push --endpoint "$HF_ENDPOINT/" --limit-rate 50MB out ada/tiny
  expect 2 hub-push --limit-rate fast out ada/tiny
  expect 2 hub-push --max-wait never out ada/tiny
}

@test "a run's folder without a model of its own names its checkpoints and --every" {
  cp -r "$FIXTURES/full-run" run
  start_hub
  for card in no yes; do
    [ $card = no ] || echo hello > run/README.md
    for dry in "" -n; do
      expect 5 hub-push $dry run ada/run
      has stderr "run: holds the checkpoints of a run (checkpoint-20, checkpoint-40, checkpoint-60), but no model of its own"
      has stderr "push one of them, as run/checkpoint-60; --every TIME"
      [ "$(wc -l <<< "$stderr")" = 1 ]
    done
  done
  mkdir run/checkpoint-{100,200,1000}
  expect 5 hub-push run/ ada/run
  has stderr "(checkpoint-20 to checkpoint-1000)"
  [ "$(hub_count)" = 0 ]
  expect 0 hub-push run --include README.md ada/run
  expect 0 hub-push run/checkpoint-60 ada/run
  cp "$FIXTURES/base/model.safetensors" run
  expect 0 hub-push run ada/run
  has stderr "checkpoint-20/: left out"
}

@test "--every pushes the newest complete checkpoint of a run, and only when there is a newer one" {
  mkdir run
  cp -r "$FIXTURES/full-run/checkpoint-20" run
  start_hub
  hub-push --every 1s run ada/tiny > urls 2> messages 3>&- & pid=$!
  until [ "$(wc -l < urls)" = 1 ]; do :; done
  [ "$(hub_files ada/tiny | grep -c optimizer.pt)" = 0 ]
  cp -r "$FIXTURES/full-run/checkpoint-40" staged
  mv staged run/checkpoint-40
  mkdir run/checkpoint-60
  cp "$FIXTURES/full-run/checkpoint-60/config.json" run/checkpoint-60
  until [ "$(wc -l < urls)" = 2 ]; do :; done
  kill $pid
  wait $pid || :
  mkdir published
  cp run/checkpoint-40/{chat_template.jinja,config.json,generation_config.json,model.safetensors,tokenizer.json,tokenizer_config.json} published
  same_files ada/tiny published
  [ "$(hub_titles ada/tiny | grep -c hub-push)" = 2 ]
  expect 2 hub-push --every 0 run ada/tiny
  expect 2 hub-push --every often run ada/tiny
  expect 2 hub-push --every 1 -n run ada/tiny
}

@test "--every says once that a checkpoint is refused, and takes the next" {
  mkdir run
  cp -r "$FIXTURES/full-run/checkpoint-20" run
  echo '*.safetensors' > run/checkpoint-20/.gitignore
  start_hub
  hub-push --every 1s run ada/tiny > urls 2> messages 3>&- & pid=$!
  until grep -q 'checkpoint-20: .*ignored' messages; do :; done
  sleep 2.5
  cp -r "$FIXTURES/full-run/checkpoint-40" staged
  mv staged run/checkpoint-40
  until [ "$(wc -l < urls)" = 1 ]; do :; done
  kill $pid
  wait $pid || :
  [ "$(grep -c 'checkpoint-20: .*ignored' messages)" = 1 ]
}

@test "an identity token of CI is exchanged for one of the hub" {
  model
  cat > server.py <<'PY'
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def do_GET(self):
        print("GET", self.path, self.headers.get("Authorization"), file=open("requests", "a"))
        if self.path.startswith("/identity"):
            return self.answer(200, {"value": "jwt-of-ci"})
        self.answer(403, {"error": "not today"})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print("POST", self.path, json.dumps(body, sort_keys=True), file=open("requests", "a"))
        if body["subject_token"] != "jwt-of-ci":
            return self.answer(400, {"error": "invalid_grant", "error_description": "who is this"})
        self.answer(200, {"access_token": "hf_jwt_abcdefghijklmnopqrstuv", "expires_in": 3600})
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PY
  mkfifo port
  python3 server.py > port 3>&- & HUB_PID=$!
  read -r port < port
  export HF_ENDPOINT=http://127.0.0.1:$port HF_OIDC_RESOURCE=ada/tiny no_proxy=127.0.0.1
  unset HF_TOKEN
  expect 6 env ACTIONS_ID_TOKEN_REQUEST_URL="$HF_ENDPOINT/identity?v=1" ACTIONS_ID_TOKEN_REQUEST_TOKEN=secret hub-push out ada/tiny
  has stderr "403: not today"
  [[ $stderr != *hf_jwt* ]]
  grep -q "GET /identity?v=1&audience=http%3A%2F%2F127.0.0.1%3A$port Bearer secret" requests
  grep -q '"resource": "ada/tiny", "subject_token": "jwt-of-ci"' requests
  grep -q 'GET /api/models/ada/tiny/revision/main Bearer hf_jwt_abcdefghijklmnopqrstuv' requests
  expect 6 env HF_OIDC_ID_TOKEN=another hub-push out ada/tiny
  has stderr "who is this"
  expect 6 hub-push out ada/tiny
  has stderr "no identity token"
}

@test "a sparse giant passes in little memory" {
  no_sanitizer
  mkdir out
  python3 - <<'PY'
import json, struct
size = 5_000_000_000
header = json.dumps({"w": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}, separators=(",", ":")).encode()
header += b" " * (-len(header) % 8)
with open("out/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(header)) + header)
    f.truncate(8 + len(header) + size)
PY
  echo '{}' > out/config.json
  start_hub --discard
  python3 - <<'PY'
import resource, subprocess, sys
subprocess.run(["hub-push", "-q", "out", "ada/tiny"], check=True, stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(peak)
sys.exit(peak > 64)
PY
}
