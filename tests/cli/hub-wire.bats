# SPDX-License-Identifier: Apache-2.0
# What servers do wrong, and what is said of it: answers that are too long, links and headers that lead astray, waits, commits that
# are too large, pushes that are done in pieces.
load helper
load hub

setup() { hub_home; }

# many N: out/ with so many files of two bytes.
many() {
  mkdir -p out
  python3 -c 'import sys
for i in range(int(sys.argv[1])): open(f"out/{i:04}.txt", "w").write(str(i % 10) + "\n")' "$1"
}

# In seconds since the epoch, with a fraction.
now() { date +%s.%N; }
# took LESS MORE SINCE
took() { python3 -c 'import sys, time; t = time.time() - float(sys.argv[3]); print(t); sys.exit(not float(sys.argv[1]) <= t <= float(sys.argv[2]))' "$@"; }

@test "several commits of which one fails: what landed is said, in text and JSON, with 75 or 3" {
  many 6
  start_hub
  hub_fault commit status '"status":503,"times":-1,"after":1'
  expect 75 hub-push --max-files-per-commit 4 --max-wait 1s out ada/tiny
  head=$(hub_admin GET 'repo?id=ada/tiny' | jq -r .revisions.main.commit)
  has stderr "4 of 6 files were committed, in 1 commit, the last of them $head"
  [[ $stderr != *"as it was"* && $stderr != *"nothing was committed"* ]]
  [ -z "$output" ]
  [ "$(hub_titles ada/tiny | grep -c hub-push)" = 1 ]
  # The same command goes on with what is left.
  hub_admin DELETE fault
  hub_fault commit status '"status":403,"times":-1,"after":1'
  expect 3 hub-push --json --max-files-per-commit 1 out ada/tiny
  jq -e '.complete == false and (.commits | length) == 1 and (.error | contains("403"))
         and ([.files[] | select(.committed)] | length) == 1 and .counts.added == 2' <<< "$output"
  hub_admin DELETE fault
  expect 0 hub-push --json out ada/tiny
  jq -e '.complete and (.commits | length) == 1 and (has("error") | not)' <<< "$output"
  same_files ada/tiny out
}

@test "the repository is called unchanged only where it is" {
  many 2
  start_hub
  hub_fault commit status '"times":-1'
  expect 75 hub-push --max-wait 0 out ada/tiny
  has stderr "created the repository"
  [[ $stderr != *"as it was"* ]]
  has stderr "nothing was committed"
  expect 75 hub-push --max-wait 0 out ada/tiny
  has stderr "the repository is unchanged"
  expect 75 hub-push --max-wait 0 --create-pr out ada/tiny
  [[ $stderr != *"as it was"* ]]
  # Where the branch can't be looked at, nobody knows.
  hub_fault info status '"status":503,"times":-1,"after":1'
  expect 75 hub-push --max-wait 0 out ada/tiny
  has stderr "is not known"
  [[ $stderr != *"as it was"* ]]
  # A tag that fails comes after the commit.
  hub_admin DELETE fault
  hub_fault tag status '"status":403'
  expect 3 hub-push --tag v1 out ada/tiny
  has stderr "everything was committed"
}

@test "somebody else's commit between two of ours: planned again, and what landed is not forgotten" {
  many 6
  start_hub
  expect 0 hub-push --no-create out ada/tiny || expect 0 hub-push -q out/0000.txt ada/tiny
  hub_fault commit status '"status":412,"after":1'
  hub_fault info slow-answer '"bytes":1000000'
  expect 0 hub-push --json --max-files-per-commit 3 out ada/tiny
  jq -e '.complete and (.commits | length) == 2 and .counts.added == 5' <<< "$output"
  same_files ada/tiny out
}

@test "a commit that is too large is halved after the branch was looked at, README.md last, in one pull request" {
  many 400
  echo '{}' > out/config.json
  echo hello > out/README.md
  start_hub
  for code in 413 504; do
    hub_admin POST reset
    hub_fault commit too-large "\"status\":$code,\"bytes\":150,\"times\":-1"
    expect 0 hub-push --max-wait 10s out "ada/tiny"
    same_files ada/tiny out
    [ "$(hub_titles ada/tiny | grep -c hub-push)" = 4 ]
    [ "$(hub_count 'e["route"] == "commit" and e["status"] != 200')" = 2 ]
    # Between a refusal and the next commit the branch is looked at.
    hub_log 'e["route"] in ("commit", "info")' | awk '$2 == "commit" && $4 != 200 {open = 1; next} open && $2 != "info" {exit 1} {open = 0}'
  done
  hub_admin GET 'repo?id=ada/tiny' | jq -e '.revisions.main.commits[0].title == "Upload with hub-push (commit 4 of 4)"'
  hub_admin POST reset
  hub_fault commit too-large '"status":504,"bytes":150,"times":-1'
  expect 0 hub-push -q out/0000.txt ada/tiny
  expect 0 hub-push --create-pr out ada/tiny
  [ "$(hub_count 'e["route"] == "discussions"')" = 1 ]
  [ "$(hub_titles ada/tiny refs/pr/1 | grep -c "(commit . of 4)")" = 4 ]
  same_files ada/tiny out refs/pr/1
  [[ $output = */discussions/1 ]]
}

@test "a hundred files are never halved; a limit that was given stays one" {
  many 100
  start_hub
  for code in 413 504; do
    hub_admin POST reset
    hub_fault commit too-large "\"status\":$code,\"bytes\":50,\"times\":-1"
    expect 75 hub-push --max-wait 1s out ada/tiny
    has stderr "answers $code"
    [ "$(hub_count 'e["route"] == "commit" and e["status"] == 200')" = 0 ]
  done
  hub_admin POST reset
  hub_fault commit too-large '"status":504,"bytes":50,"times":-1'
  expect 0 hub-push --max-files-per-commit 50 out ada/tiny
  same_files ada/tiny out
}

@test "a commit that a gateway gave up and the hub made all the same is found" {
  many 150
  start_hub
  expect 0 hub-push -q out/0000.txt ada/tiny
  hub_fault commit status-after '"status":504'
  expect 0 hub-push out ada/tiny
  [ "$(hub_titles ada/tiny | head -n 1)" = "Upload with hub-push" ]
  for i in out/*; do echo new >> "$i"; done
  # Made between our look and the next, smaller commit.
  hub_fault commit late '"status":504,"seconds":0.3'
  hub_fault commit slow '"bytes":20000'
  expect 0 hub-push out ada/tiny
  same_files ada/tiny out
  [ "$(hub_titles ada/tiny | head -n 1)" = "Upload with hub-push" ]
  [[ $output = */commit/* ]]
}

@test "waiting goes on until the time is used, for every kind of request" {
  many 1
  large out/w.bin 3000
  start_hub --lfs-threshold 100
  expect 0 hub-push -q out/0000.txt ada/tiny
  for fault in 'info 503' 'validate-yaml 502' 'preupload 500' 'batch 503' 'storage-put 503' 'verify 504' 'commit 503' 'commit 409'; do
    read -r route code <<< "$fault"
    echo "$fault" > out/README.md
    large out/w.bin "$((3000 + RANDOM))"
    # Six failures in a row were more than the five tries of old.
    hub_fault "$route" status "\"status\":$code,\"times\":6,\"message\":\"Another operation is in progress\""
    since=$(now)
    expect 75 hub-push --max-wait 1s out ada/tiny
    took 0.9 9 "$since"
    has stderr "$code"
    [[ $stderr != *"a wait of 0 s"* ]]
    hub_admin DELETE fault
  done
  hub_fault commit status '"status":503,"times":3'
  expect 0 hub-push --max-wait 20s out ada/tiny
  hub_fault discussions status '"status":503,"times":2'
  expect 0 hub-push --max-wait 20s --create-pr --delete 0000.txt out/w.bin ada/tiny
  [ "$(hub_count 'e["route"] == "discussions" and e["status"] == 200')" = 1 ]
}

@test "a limit longer than the time there is ends at once, and the call is not repeated" {
  many 1
  start_hub
  expect 0 hub-push -q out ada/tiny
  for route in info preupload commit; do
    echo "$route" > out/new.txt
    hub_admin DELETE log
    hub_fault "$route" rate-limit '"seconds":200,"times":-1'
    since=$(now)
    expect 75 hub-push --max-wait 20s out ada/tiny
    took 0 5 "$since"
    has stderr "try again in 20"
    [ "$(hub_count "e['route'] == '$route'")" = 1 ]
    hub_admin DELETE fault
  done
}

@test "long answers: refusals are cut and shown, JSON is bounded, lists come to an end" {
  model
  start_hub
  expect 0 hub-push -q out ada/tiny
  for kind in big deep; do
    for code in 200 403 500; do
      hub_fault info "$kind" "\"status\":$code,\"times\":-1"
      python3 - <<'PY'
import resource, subprocess, sys
r = subprocess.run(["hub-push", "--max-wait", "0", "out", "ada/tiny"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=30)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(r, peak)
sys.exit(r.returncode not in (6, 75) or peak > 300 or len(r.stderr) > 3000)
PY
      hub_admin DELETE fault
    done
  done
  hub_fault info big '"bytes":20000000'
  expect 6 hub-push -n out ada/tiny
  has stderr "the answer is longer than"
  hub_fault preupload status "\"status\":403,\"message\":\"$(head -c 100000 /dev/zero | tr '\0' x)\""
  expect 6 hub-push -n out ada/tiny
  has stderr "403: xxxxx"
  [ ${#stderr} -lt 3000 ]
  hub_fault tree same-page '"times":-1'
  expect 6 st-inspect hf://ada/tiny
  has stderr "it repeats a page"
  hub_admin DELETE log
  hub_admin DELETE fault
  hub_fault tree endless '"times":-1'
  expect 6 st-inspect hf://ada/tiny
  has stderr "1000 pages"
  [ "$(hub_count 'e["route"] == "tree"')" -le 1001 ]
}

@test "a storage that is full is said so; nobody doubts the token" {
  model
  start_hub
  for message in "Private repository storage limit reached, please upgrade your plan." "Storage quota exceeded" "Payment required"; do
    hub_fault batch status "\"status\":403,\"message\":\"$message\""
    expect 6 hub-push out ada/tiny
    has stderr "$message"
    has stderr "free up space"
    [[ $stderr != *"write access"* ]]
  done
  hub_fault batch status '"status":403'
  expect 6 hub-push out ada/tiny
  has stderr "write access"
}

@test "--private never pushes to a public repository, and says what --no-private can't do" {
  model
  start_hub
  expect 0 hub-push -q out ada/tiny
  echo new > out/new.txt
  hub_admin DELETE log
  for options in "" -n "--part 1/2" --create-pr "--revision other" "-n --revision other" "--every 1m"; do
    # shellcheck disable=SC2086
    expect 5 hub-push $options --private "$([ "$options" = "--every 1m" ] && echo "$FIXTURES/full-run" || echo out)" ada/tiny
    has stderr "public"
    has stderr "leave --private out"
  done
  expect 5 env -u HF_TOKEN hub-push -n --private out ada/tiny
  [ "$(hub_count 'e["method"] != "GET" or e["port"] == "storage"')" = 0 ]
  hub_fault info no-visibility '"times":-1'
  expect 0 hub-push --private out ada/tiny
  has stderr "does not say"
  hub_admin DELETE fault
  expect 0 hub-push --private out ada/hidden
  expect 0 hub-push --private out ada/hidden
  [[ $stderr != *public* ]]
  expect 0 hub-push --no-private out ada/hidden
  has stderr "is private; --no-private has no effect"
}

@test "the URL of a commit is one of this hub, whatever the answer says" {
  many 1
  start_hub --prefix /hf
  n=0
  told() { # MESSAGE (as JSON) EXPECTED
    n=$((n + 1))
    echo $n > out/n.txt
    hub_fault commit commit-url "\"message\":\"$1\""
    expect 0 hub-push out ada/tiny
    [[ $output =~ ^$2$ ]] || { echo "$1 became $output"; return 1; }
  }
  own="$HF_ENDPOINT/ada/tiny/commit/[0-9a-f]{40}"
  told "$HF_ENDPOINT/models/ada/tiny/c/1" "$HF_ENDPOINT/models/ada/tiny/c/1"
  told 'models/ada/tiny/c/1' "$HF_ENDPOINT/models/ada/tiny/c/1"
  told '/ada/tiny/c/1' "$HF_ENDPOINT/ada/tiny/c/1"
  told '/hf/ada/tiny/c/1' "$HF_ENDPOINT/ada/tiny/c/1"
  told 'https://huggingface.co/ada/tiny/c/1' "$HF_ENDPOINT/ada/tiny/c/1"
  for wrong in '\u001b]0;pwn\u0007javascript:alert(1)\n\u001b[2J' 'javascript:alert(1)' '//evil.example/x' 'https://evil.example/x' \
    "$HF_ENDPOINT.evil.example/x" 'data:text/html,x' 'a b' '\u202eabc' '../../x' 'hf_testwrite' ''; do
    told "$wrong" "$own"
  done
}

@test "headers that a hub gives for storage never frame the request, and their values are never shown" {
  mkdir out
  large out/w.bin 3000
  start_hub --lfs-threshold 100
  for name in Host Content-Length transfer-encoding CONNECTION Keep-Alive TE Trailer Upgrade Expect Proxy-Authorization; do
    hub_admin POST reset
    hub_fault batch upload-header "\"message\":\"$name:s3cret\""
    expect 0 hub-push -vv out ada/tiny
    same_files ada/tiny out
    [[ $stderr != *s3cret* ]]
    [ "$(hub_count "e['route'] == 'storage-put' and e['body_bytes'] == 3000")" = 1 ]
  done
  hub_admin POST reset
  hub_fault batch upload-header '"message":"X-Amz-Key:s3cret"'
  expect 0 hub-push -vv out ada/tiny
  has stderr "X-Amz-Key: ***"
  [[ $stderr != *s3cret* ]]
  for line in 'X:a\r\nX-Evil: s3cret' 'X\r\nX-Evil:s3cret' 'X:s3cret\u0000' 'X Y:s3cret'; do
    hub_admin POST reset
    hub_fault batch upload-header "\"message\":\"$line\""
    expect 6 hub-push -vv out ada/tiny
    [[ $stderr != *s3cret* ]]
    [ "$(hub_count 'e["port"] == "storage"')" = 0 ]
  done
}

@test "links lead to http and https alone, and to nothing where they lead elsewhere" {
  mkdir out
  large out/w.bin 3000
  start_hub --lfs-threshold 100
  for link in "file://$PWD/written" 'ftp://127.0.0.1/x' 'https://user:pw@127.0.0.1/x' 'http://a b/x' 'http://\u202e.example/x'; do
    hub_fault batch upload-link "\"location\":\"$link\""
    expect 6 hub-push out ada/tiny
    [ ! -e written ]
    hub_fault info redirect "\"location\":\"$link\""
    expect 6 hub-push out ada/tiny
  done
  [ "$(hub_count 'e["port"] == "storage"')" = 0 ]
}

@test "tokens with line breaks are refused before anything is sent" {
  many 1
  start_hub
  for token in $'hf_a\r\nX-Injected: 1' $'hf_a\nb' $'hf_a\x01' $'hf_a\tb'; do
    HF_TOKEN=$token expect 2 hub-push out ada/tiny
    [[ $stderr != *hf_a* && $stderr != *X-Injected* ]]
    mkdir -p hf
    printf '%s' "$token" > hf/token
    HF_TOKEN='' HF_HOME=$PWD/hf expect 2 hub-push out ada/tiny
    has stderr hf/token
  done
  [ "$(hub_count)" = 0 ]
  HF_HUB_USER_AGENT_ORIGIN=$'a\r\nX-Injected: 1' expect 2 hub-push out ada/tiny
  printf 'hf_testwrite\r\n' > hf/token
  HF_TOKEN='' HF_HOME=$PWD/hf expect 0 hub-push out ada/tiny
  expect 2 hub-push --revision $'a\nb' out ada/tiny
  expect 2 hub-push --tag $'a\nb' out ada/tiny
  expect 0 hub-push --help
  has output "requests at once (default: 8)"
}
