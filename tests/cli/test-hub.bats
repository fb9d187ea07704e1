# SPDX-License-Identifier: Apache-2.0
# The local test Hub refuses what the Hub refuses and misbehaves as it is asked to; the official client is run against it by
# tests/interop/test_hub.py.
load helper
load hub
load test-hub

@test "a file goes up in one piece, and what is wrong with it is refused" {
  start_hub
  make_repo
  head -c 1000 /dev/urandom > w
  batch w
  href=$(upload_action .href)
  head -c 999 w > short
  answers 400 -T short "$href"
  answers 400 "${auth[@]}" -T w "$href"
  said body InvalidArgument
  answers 411 -X PUT "$href"
  answers 501 -X PUT -H "Content-Length: 0" "$href"
  answers 501 -X PUT -H "Transfer-Encoding: chunked" --data-binary @w "$href"
  answers 403 -T w "${href}0"
  answers 403 -T w "${href/size=1000/size=1001}"
  tr '\0-\377' '\1-\377\0' < w > other
  answers 400 -T other "$href"
  said body BadDigest
  [ "$(commit "{\"key\":\"lfsFile\",\"value\":{\"path\":\"w\",\"algo\":\"sha256\",\"oid\":\"$(sha256 w)\",\"size\":1000}}")" = 400 ]
  said body "does not exist"
  answers 200 -T w "$href"
  said head "ETag: \"$(md5sum w | cut -d' ' -f1)\""
  answers 200 "${auth[@]}" "${json[@]}" "$HF_ENDPOINT/ada/r.git/info/lfs/objects/verify" -d "{\"oid\":\"$(sha256 w)\",\"size\":1000}"
  answers 400 "${auth[@]}" "${json[@]}" "$HF_ENDPOINT/ada/r.git/info/lfs/objects/verify" -d "{\"oid\":\"$(sha256 w)\",\"size\":1}"
  answers 401 "${json[@]}" "$HF_ENDPOINT/ada/r.git/info/lfs/objects/verify" -d "{\"oid\":\"$(sha256 w)\",\"size\":1000}"
  batch w
  [ "$(jq '.objects[0] | has("actions")' body)" = false ]
  [ "$(commit "{\"key\":\"lfsFile\",\"value\":{\"path\":\"w\",\"algo\":\"sha256\",\"oid\":\"$(sha256 w)\",\"size\":1000}}")" = 200 ]
  answers 200 -L "$HF_ENDPOINT/ada/r/resolve/main/w"
  cmp body w
  answers 206 -L -r 10-19 "$HF_ENDPOINT/ada/r/resolve/main/w"
  cmp body <(tail -c +11 w | head -c 10)
  said head "Content-Range: bytes 10-19/1000"
  answers 416 -L -r 1000- "$HF_ENDPOINT/ada/r/resolve/main/w"
  [ "$(hub_count 'e["leak"]')" = 1 ]
}

@test "parts: keys are padded, sizes and etags are checked, the whole is hashed" {
  start_hub --multipart 1000 --chunk 1000
  make_repo
  head -c 2500 /dev/urandom > w
  batch w '["basic"]'
  [ "$(upload_action .header)" = null ]
  batch w
  [ "$(jq -r .transfer body)" = multipart ]
  [ "$(upload_action '.header|keys|join(" ")')" = "00001 00002 00003 chunk_size" ]
  [ "$(upload_action '.header.chunk_size|type')" = string ]
  cp body plan
  split -b 1000 -d w part
  etags=()
  for k in 1 2 3; do
    url=$(jq -r ".objects[0].actions.upload.header[\"0000$k\"]" plan)
    [ $k != 1 ] || answers 400 -T part02 "$url"
    answers 200 -T "part0$((k - 1))" "$url"
    etags+=("$(sed -n 's/^ETag: \(.*\)\r$/\1/p' head)")
  done
  done_url=$(jq -r .objects[0].actions.upload.href plan)
  finish() {
    local list='' k=1
    for etag in "$@"; do list+="${list:+,}{\"partNumber\":$k,\"etag\":$(jq -n --arg e "$etag" '$e')}"; k=$((k + 1)); done
    status "${lfs[@]}" "$done_url" -d "{\"oid\":\"$(sha256 w)\",\"parts\":[$list]}"
  }
  [ "$(finish "${etags[0]}" "${etags[1]}")" = 400 ]
  [ "$(finish "${etags[0]}" "${etags[1]}" "${etags[2]//\"/}")" = 400 ]
  [ "$(finish "${etags[1]}" "${etags[0]}" "${etags[2]}")" = 400 ]
  answers 400 "${auth[@]}" "${lfs[@]}" "$done_url" -d '{}'
  answers 403 "${lfs[@]}" "${done_url/signature=/signature=0}" -d '{}'
  [ "$(finish "${etags[@]}")" = 200 ]
  [ "$(finish "${etags[@]}")" = 404 ]
  batch w
  [ "$(jq '.objects[0] | has("actions")' body)" = false ]
}

@test "a part that was spoiled on its way is found when the upload completes" {
  start_hub --multipart 1000 --chunk 1000
  make_repo
  head -c 1500 /dev/urandom > w
  batch w
  cp body plan
  hub_fault storage-put corrupt
  list=
  for k in 1 2; do
    tail -c +$((k * 1000 - 999)) w | head -c 1000 > part
    answers 200 -T part "$(jq -r ".objects[0].actions.upload.header[\"0000$k\"]" plan)"
    list+="${list:+,}{\"partNumber\":$k,\"etag\":$(jq -R . <<< "$(sed -n 's/^ETag: \(.*\)\r$/\1/p' head)")}"
  done
  answers 400 "${lfs[@]}" "$(jq -r .objects[0].actions.upload.href plan)" -d "{\"oid\":\"$(sha256 w)\",\"parts\":[$list]}"
  said body BadDigest
}

@test "preupload wants samples of the right length and 256 files at most" {
  start_hub
  make_repo
  ask() { status "${auth[@]}" "${json[@]}" "$(api)/preupload/main" -d "{\"files\":[$1]}"; }
  [ "$(ask '{"path":"a","size":6,"sample":"aGVsbG8K"}')" = 200 ]
  [ "$(jq -c .files[0] body)" = '{"path":"a","uploadMode":"regular","shouldIgnore":false}' ]
  [ "$(ask '{"path":"a.bin","size":6,"sample":"aGVsbG8K"}')" = 200 ]
  said body '"lfs"'
  [ "$(ask '{"path":"a","size":3,"sample":"AAAA"}')" = 200 ]
  said body '"lfs"'
  [ "$(ask '{"path":"a","size":7,"sample":"aGVsbG8K"}')" = 400 ]
  [ "$(ask '{"path":"a","size":6}')" = 400 ]
  [ "$(ask '{"path":"a","size":6,"sample":"aGVsbG8"}')" = 400 ]
  [ "$(ask "$(for i in $(seq 256); do echo "{\"path\":\"$i\",\"size\":0,\"sample\":\"\"},"; done) {\"path\":\"x\",\"size\":0,\"sample\":\"\"}")" = 400 ]
  answers 415 "${auth[@]}" "$(api)/preupload/main" -d '{"files":[]}'
  answers 401 "${json[@]}" "$(api)/preupload/main" -d '{"files":[{"path":"a","size":0,"sample":""}]}'
  answers 404 "${auth[@]}" "${json[@]}" "$(api)/preupload/nowhere" -d '{"files":[{"path":"a","size":0,"sample":""}]}'
  said head "X-Error-Code: RevisionNotFound"
  [ "$(commit '{"key":"file","value":{"path":"a","encoding":"base64","content":"aGVsbG8K"}}')" = 200 ]
  [ "$(ask '{"path":"a","size":6,"sample":"aGVsbG8K"}')" = 200 ]
  [ "$(jq -r .files[0].oid body)" = ce013625030ba8dba906f756967f9e9ca394464a ]
}

@test "the batch call wants its content types and sizes" {
  start_hub
  make_repo
  url=$HF_ENDPOINT/ada/r.git/info/lfs/objects/batch
  oid=$(printf x | sha256sum | cut -d' ' -f1)
  body="{\"operation\":\"upload\",\"objects\":[{\"oid\":\"$oid\",\"size\":1}]}"
  answers 200 "${auth[@]}" "${lfs[@]}" "$url" -d "$body"
  answers 406 "${auth[@]}" -H "Content-Type: application/vnd.git-lfs+json" -H "Accept: text/html" "$url" -d "$body"
  answers 415 "${auth[@]}" -H "Accept: application/vnd.git-lfs+json" "${json[@]}" "$url" -d "$body"
  answers 401 "${lfs[@]}" "$url" -d "$body"
  answers 422 "${auth[@]}" "${lfs[@]}" "$url" -d "${body/upload/download}"
  answers 200 "${auth[@]}" "${lfs[@]}" "$url" -d "${body/$oid/short}"
  said body '"code":422'
  guest=(-H "Authorization: Bearer hf_testpr")
  answers 200 "${guest[@]}" "${lfs[@]}" "$url" -d "$body"
  answers 403 "${guest[@]}" "${lfs[@]}" "$url" -d "${body%\}},\"ref\":{\"name\":\"main\"}}"
}

@test "a commit that breaks a rule is refused whole" {
  start_hub --folder-limit 3
  make_repo
  head=$(curl -s "$(api)" | jq -r .sha)
  file() { printf '{"key":"file","value":{"path":"%s","encoding":"base64","content":"%s"}}' "$1" "${2:-aGVsbG8K}"; }
  for path in ../a a/../b /a a//b .git/config a/.GIT/b 'a\\\\b' 'a\u0007b' ./a ''; do
    [ "$(commit "$(file "$path")")" = 422 ] || { echo "$path"; cat body; return 1; }
  done
  [ "$(commit "$(file a)" "$(file a)")" = 400 ]
  [ "$(commit "$(file a)" "$(file a/b)")" = 400 ]
  [ "$(commit "$(file a aGVsbG8)")" = 400 ]
  [ "$(commit "$(file a AAAA)")" = 400 ]
  said body "binary"
  [ "$(commit "$(file a "$(printf hf_testwrite | base64)")")" = 400 ]
  said body "secrets"
  [ "$(commit "$(file README.md "$(printf -- '---\nyaml-error: no good\n---\n' | base64)")")" = 400 ]
  said body "no good"
  [ "$(commit '{"key":"deletedFile","value":{"path":"nowhere"}}')" = 404 ]
  [ "$(commit '{"key":"other","value":{"path":"a"}}')" = 400 ]
  [ "$(commit)" = 400 ]
  [ "$(commit "$(file a)" "$(file b)" "$(file c)")" = 400 ]
  said body "more than 3 entries"  # .gitattributes is the fourth
  { echo '{"key":"header","value":{"summary":"s"}}'; printf '{"key":"file","value":{"path":"big","encoding":"base64","content":"'
    head -c 10485761 /dev/zero | tr '\0' a | base64 -w0; echo '"}}'; } > lines
  answers 400 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  said body "larger than 10 MiB"
  { echo '{"key":"header","value":{"summary":" "}}'; file a; } > lines
  answers 400 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  said body "summary"
  file a > lines
  answers 400 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  said body "header"
  { echo '{"key":"header","value":{"summary":"s","parentCommit":"0123456"}}'; file a; } > lines
  answers 412 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  { echo "{\"key\":\"header\",\"value\":{\"summary\":\"s\",\"parentCommit\":\"$head\"}}"; file a; } > lines
  answers 415 "${auth[@]}" "${json[@]}" --data-binary @lines "$(api)/commit/main"
  answers 411 "${auth[@]}" "${ndjson[@]}" -H "Transfer-Encoding: chunked" --data-binary @lines "$(api)/commit/main"
  answers 401 "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  answers 403 -H "Authorization: Bearer hf_testread" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  answers 403 -H "Authorization: Bearer hf_testpr" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  said body create_pr
  answers 400 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/$head"
  answers 404 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/nowhere"
  [ "$(hub_titles ada/r)" = "initial commit" ]
  answers 200 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"
  [ "$(hub_titles ada/r)" = $'s\ninitial commit' ]
}

@test "paths are routed raw, ids in another case are redirected for every method" {
  start_hub
  make_repo
  answers 200 "${auth[@]}" "${json[@]}" -d '{}' "$(api)/branch/feature%2Fx"
  answers 409 "${auth[@]}" "${json[@]}" -d '{}' "$(api)/branch/feature%2Fx"
  answers 200 "$(api)/revision/feature%2Fx"
  answers 404 "$(api)/revision/feature/x"
  answers 307 "${auth[@]}" "${json[@]}" -d '{}' "$HF_ENDPOINT/api/models/Ada/R/branch/y%2Fz"
  said head "Location: /api/models/ada/r/branch/y%2Fz"
  answers 307 "$HF_ENDPOINT/ADA/r/resolve/main/.gitattributes"
  answers 404 "${auth[@]}" "$HF_ENDPOINT/api/models/ada/none"
  said head "X-Error-Code: RepoNotFound"
  answers 401 "$HF_ENDPOINT/api/models/ada/none"
  answers 401 -H "Authorization: Bearer hf_nobody" "$(api)"
  said head "X-Error-Message: Invalid credentials in Authorization header"
  answers 405 -X PUT -d '' "$(api)/refs"
  answers 404 "${auth[@]}" "$(api)/xet-write-token/main"
  for header in RateLimit RateLimit-Policy X-Request-Id; do said head "^$header: "; done
}

@test "statuses come before or after the deed" {
  start_hub
  make_repo
  line='{"key":"file","value":{"path":"a","encoding":"base64","content":"aGVsbG8K"}}'
  hub_fault commit status '"status":504'
  [ "$(commit "$line")" = 504 ]
  [ "$(hub_titles ada/r)" = "initial commit" ]
  hub_fault commit status-after '"status":504'
  [ "$(commit "$line")" = 504 ]
  [ "$(hub_titles ada/r)" = $'s\ninitial commit' ]
  hub_fault commit reset-after
  [ "$(commit "$line")" = 000 ]
  [ "$(hub_titles ada/r)" = $'s\ns\ninitial commit' ]
  hub_fault commit reset
  run -56 curl -s "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"  # reset, not closed
  [ "$(hub_titles ada/r)" = $'s\ns\ninitial commit' ]
  hub_fault commit late '"seconds":0.01'
  [ "$(commit "$line")" = 504 ]
  for _ in $(seq 100); do [ "$(hub_titles ada/r | grep -c '^s$')" = 3 ] && break; done
  [ "$(hub_titles ada/r | grep -c '^s$')" = 3 ]
  [ "$(hub_log 'e["route"] == "commit"' | cut -d' ' -f4 | xargs)" = "504 504 0 0 504" ]
}

@test "each kind of 429, and quotas that are kept" {
  start_hub
  make_repo
  hub_fault info rate-limit '"seconds":7'
  answers 429 "$(api)"
  said head 'RateLimit: "api";r=0;t=7'
  hub_fault info retry-after '"seconds":3'
  answers 429 "$(api)"
  said head "Retry-After: 3"
  said head ";r=500"
  hub_fault info retry-date
  answers 429 "$(api)"
  said head "Retry-After: [A-Z][a-z][a-z], .* GMT"
  hub_fault info commit-quota
  answers 429 "$(api)"
  said body "128 per hour"
  answers 200 "$(api)"
  stop_hub
  start_hub --quota 2 --window 86400
  make_repo
  answers 200 "$(api)"
  said head "r=1;"
  answers 200 "$(api)"
  answers 429 "$(api)"
  said head "r=0;"
  answers 200 "${auth[@]}" "$(api)"
}

@test "answers that lie: garbage, cut, of the wrong type, redirected" {
  start_hub
  make_repo
  hub_fault info garbage
  answers 200 "$(api)"
  run ! jq . body
  hub_fault info html
  answers 200 "$(api)"
  said head "text/html"
  hub_fault info wrong-type
  answers 200 "$(api)"
  said head "text/html"
  jq . body > /dev/null
  hub_fault info empty
  answers 200 "$(api)"
  [ ! -s body ]
  hub_fault info truncate '"bytes":10'
  run -18 curl -s -o body "$(api)"
  [ "$(stat -c%s body)" = 10 ]
  hub_fault info truncate '"bytes":0'
  run -18 curl -s -o body "$(api)"
  hub_fault info redirect-loop '"times":3'
  answers 307 "$(api)"
  said head "Location: /api/models/ada/r"
  run -47 curl -s -L --max-redirs 1 "$(api)"
  hub_fault info redirect
  answers 307 "$(api)"
  said head "Location: $HF_STORAGE/api/models/ada/r"
  hub_fault info warning
  answers 200 "$(api)"
  said head "X-HF-Warning: "
  answers 200 "$(api)"
}

@test "storage that is cut, reset, slow, stalled, expired" {
  start_hub
  make_repo
  head -c 3000000 /dev/urandom > w
  batch w
  href=$(upload_action .href)
  hub_fault storage-put cut '"bytes":100000'
  [ "$(status -T w "$href")" = 000 ]
  [ "$(hub_log 'e["fault"] == "cut"' | cut -d' ' -f4,5)" = "0 100000" ]
  hub_fault storage-put reset '"early":true'
  [ "$(status -T w "$href")" = 000 ]
  hub_fault storage-put status '"status":503,"early":true'
  [ "$(status -T w "$href")" = 503 ]
  hub_fault storage-put stall '"seconds":60'
  run -28 curl -s -m 0.3 -T w "$href"
  hub_fault storage-put stall-after '"seconds":60'
  run -28 curl -s -m 0.5 -T w "$href"
  batch w
  [ "$(jq '.objects[0] | has("actions")' body)" = false ]
  hub_fault storage-get slow-answer '"bytes":1000'
  hub_fault batch expired-links
  printf other > o
  batch o
  answers 403 -T o "$(upload_action .href)"
  said body "expired"
  batch o
  href=$(upload_action .href)
  hub_fault storage-put expired
  answers 403 -T o "$href"
  said body "expired"
  hub_fault storage-put no-etag
  answers 200 -T o "$href"
  run ! grep -i '^etag' head
}

@test "the batch call can lie about objects" {
  start_hub
  make_repo
  printf x > w
  hub_fault batch lfs-error '"status":507,"message":"no room"'
  batch w
  said body '"code":507,"message":"no room"'
  hub_fault batch lfs-missing
  batch w
  [ "$(jq '.objects|length' body)" = 0 ]
  hub_fault batch lfs-unasked
  batch w
  [ "$(jq '.objects|length' body)" = 2 ]
  hub_fault create busy
  answers 409 "${auth[@]}" "${json[@]}" -d '{"name":"n","type":"model"}' "$HF_ENDPOINT/api/repos/create"
  said body "in progress"
  answers 200 "${auth[@]}" "${json[@]}" -d '{"name":"n","type":"model"}' "$HF_ENDPOINT/api/repos/create"
  hub_fault create 402
  answers 402 "${auth[@]}" "${json[@]}" -d '{"name":"n","type":"model"}' "$HF_ENDPOINT/api/repos/create"
  answers 400 -d '{"route":"info","kind":"none such"}' "$HF_ENDPOINT/_admin/fault"
}

@test "a repository brings the fault of its name" {
  start_hub
  hub_admin POST repo '{"id":"ada/fault_info_503_2"}' > /dev/null
  make_repo
  answers 200 "$(api)"
  answers 503 "$HF_ENDPOINT/api/models/ada/fault_info_503_2"
  answers 503 "$HF_ENDPOINT/api/models/ada/fault_info_503_2"
  answers 200 "$HF_ENDPOINT/api/models/ada/fault_info_503_2"
}

@test "rules wait, choose and are used up" {
  start_hub
  make_repo
  hub_fault info 500 '"after":1,"times":2'
  answers 200 "$(api)"
  answers 500 "$(api)"
  answers 500 "$(api)"
  answers 200 "$(api)"
  hub_fault '*' 503 '"match":"/refs"'
  answers 200 "$(api)"
  answers 503 "$(api)/refs"
  answers 200 "$(api)/refs"
  hub_fault info 500 '"repo":"ada/other"'
  answers 200 "$(api)"
  hub_admin POST reset > /dev/null
  [ "$(hub_count)" = 0 ]
  answers 404 "${auth[@]}" "$(api)"
}

@test "the profile of KohakuHub" {
  start_hub --profile kohaku --multipart 1000 --chunk 1000
  make_repo
  answers 200 "$(api)"
  [ "$(jq .sha body)" = null ]
  head -c 1500 /dev/urandom > w
  batch w
  [ "$(jq -r .transfer body)" = basic ]
  [ "$(upload_action '.header|keys|join(" ")')" = "1 2 chunk_size upload_id" ]
  [[ $(upload_action .href) == "$HF_ENDPOINT/api/ada/r.git/info/lfs/complete/"* ]]
  line='{"key":"file","value":{"path":"a","encoding":"base64","content":"aGVsbG8K"}}'
  [ "$(commit "$line")" = 200 ]
  first=$(jq -r .commitOid body)
  [ "$(commit "$line")" = 200 ]
  [ "$(jq -r .commitOid body)" = "$first" ]
  [ "$(commit "${line/\"a\"/\"a.bin\"}")" = 400 ]
  said body '"detail"'
  answers 501 "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main?create_pr=1"
  answers 200 "${auth[@]}" "${json[@]}" "$(api)/preupload/main" -d '{"files":[{"path":"a","size":6,"sample":"aGVsbG8K"}]}'
  [ "$(jq -c .files[0] body)" = '{"path":"a","uploadMode":"regular","shouldIgnore":true}' ]
  answers 200 "${auth[@]}" "${json[@]}" "$HF_ENDPOINT/api/validate-yaml" -d '{"content":"","repoType":"model"}'
  [ "$(cat body)" = '{"valid":true}' ]
  answers 404 "$(api)/revision/a%2Fb"
  said body '"Not Found"'
}

@test "a Hub below a path, bodies on disk or nowhere, the log in a file" {
  mkdir data
  start_hub --prefix /hf --data data --log log
  [[ $HF_ENDPOINT == */hf ]]
  make_repo
  head -c 2000000 /dev/urandom > w
  batch w
  answers 200 -T w "$(upload_action .href)"
  [ "$(commit "{\"key\":\"lfsFile\",\"value\":{\"path\":\"w\",\"algo\":\"sha256\",\"oid\":\"$(sha256 w)\"}}")" = 200 ]
  answers 200 -L "$HF_ENDPOINT/ada/r/resolve/main/w"
  cmp body w
  is_empty data
  [ "$(jq -s length log)" = "$(hub_count)" ]
  run ! grep hf_testwrite log
  stop_hub
  start_hub --discard
  make_repo
  head -c 2000000 /dev/zero > other
  batch w
  answers 200 -T other "$(upload_action .href)"
}

@test "the Hub ends with whoever started it" {
  mkfifo ready
  bash -c '"$1" --port 0 > ready & wait' _ "$TEST_HUB" 3>&- &
  starter=$!
  read -r line < ready
  kill -9 $starter
  wait $starter || :
  line=${line#HUB=}
  for _ in $(seq 1000); do curl -s "${line%% *}" || break; done
  run -7 curl -s "${line%% *}"
}
