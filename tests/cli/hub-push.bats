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
  has output "without a token it is not known what the hub has already"
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
    if [ $expiry = 1 ]; then has stderr "the login behind this token has expired: hf auth login"; else [[ $stderr != *"the login behind"* ]]; fi
  done
  expect 6 env HF_TOKEN=hf_testread hub-push out ada/tiny
  has stderr "403"
  expect 75 env HF_HUB_OFFLINE=1 hub-push out ada/tiny
  expect 2 env HF_ENDPOINT=http://hub.example hub-push out ada/tiny
  has stderr "plain http"
  [ "$(hub_count 'e["route"] == "commit"')" = 0 ]
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

@test "the token goes to the hub alone, and nowhere into output or logs" {
  in_pieces
  hub_fault storage-put expired
  expect 0 hub-push -v -v --verify --tag v1 out ada/tiny
  [[ $stderr != *hf_testwrite* && $output != *hf_testwrite* ]]
  has stderr "Authorization: ***"
  [ "$(hub_count 'e["port"] == "storage" and e.get("authorization")')" = 0 ]
  [ "$(hub_count 'e["leak"]')" = 0 ]
  run ! grep -r hf_testwrite home
}

@test "--verify prints a manifest for sha256sum, and fails where the hub has something else" {
  in_pieces
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
  [ "$(hub_titles ada/tiny | grep -c '(commit . of 2)')" = 2 ]
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
      has stderr "push one of them, for example run/checkpoint-60; --every TIME"
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
