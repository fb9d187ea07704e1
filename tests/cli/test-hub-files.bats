# SPDX-License-Identifier: Apache-2.0
# How the local test Hub gives files: ranges, what they are held to, links, rates; and how it spoils them.
load helper
load hub
load test-hub

@test "files that come slowly, of another range, with another ETag" {
  start_hub
  make_repo
  head -c 5000 /dev/urandom > w
  batch w
  href=$(upload_action .href)
  hub_fault storage-put slow '"bytes":10000'
  answers 200 -T w "$href"
  [ "$(hub_log 'e["fault"] == "slow" and e["end_ms"] - e["begin_ms"] >= 400')" ]
  hub_fault storage-put wrong-etag
  answers 200 -T w "$href"
  said head 'ETag: "0000'
  [ "$(commit "{\"key\":\"lfsFile\",\"value\":{\"path\":\"w\",\"algo\":\"sha256\",\"oid\":\"$(sha256 w)\"}}")" = 200 ]
  url=$HF_ENDPOINT/ada/r/resolve/main/w
  hub_fault storage-get slow-answer '"bytes":10000'
  run -28 curl -s -m 0.3 -L -o body "$url"
  hub_fault storage-get wrong-range
  answers 206 -L -r 10-19 "$url"
  said head "Content-Range: bytes 11-20/5000"
  hub_fault storage-get ignore-range
  answers 200 -L -r 10-19 "$url"
  cmp body w
  hub_fault resolve expired-links
  answers 403 -L "$url"
  hub_fault resolve redirect "\"location\":\"$HF_STORAGE/elsewhere\",\"status\":302"
  answers 302 "$url"
  said head "Location: $HF_STORAGE/elsewhere"
  answers 200 -I "$url" -L
  answers 302 -I "$url"
  said head "X-Linked-Etag: \"$(sha256 w)\""
  said head "X-Linked-Size: 5000"
  said head "X-Repo-Commit: "
  hub_fault preupload missing-path
  answers 200 "${auth[@]}" "${json[@]}" "$(api)/preupload/main" -d '{"files":[{"path":"a","size":0,"sample":""}]}'
  [ "$(jq -c .files body)" = '[]' ]
}

@test "a range is held to the ETag or the date that If-Range names" {
  start_hub
  make_repo
  large w 1500000  # above 1 MiB it is in a file
  published w
  url=$(curl -s -o /dev/null -w '%{redirect_url}' "$url")
  answers 206 -r 100-1400099 "$url"
  cmp body <(tail -c +101 w | head -c 1400000)
  etag=$(header ETag) date=$(header Last-Modified)
  [[ $etag == '"'*'"' ]]
  said head "Accept-Ranges: bytes"
  for held in "$etag" "$date"; do answers 206 -r 0-9 -H "If-Range: $held" "$url"; done
  for held in "W/$etag" '"other"' "Mon, 01 Jan 2001 00:00:00 GMT"; do
    answers 200 -r 0-9 -H "If-Range: $held" "$url"
    cmp body w
  done
  hub_fault storage-get wrong-etag
  answers 200 -r 0-9 -H "If-Range: $etag" "$url"
  hub_fault storage-get ignore-if-range
  answers 206 -r 0-9 -H "If-Range: $etag" "$url"
  [ "$(header ETag)" != "$etag" ]
  hub_fault storage-get changed
  answers 200 -r 0-9 -H "If-Range: $etag" "$url"
  [ "$(stat -c%s body)" = 1500000 ]
  [ "$(cmp -l body w | wc -l)" = 1500000 ]
  hub_fault storage-get corrupt
  answers 206 -r 1000-1100 -H "If-Range: $etag" "$url"
  [ "$(cmp -l body <(tail -c +1001 w | head -c 101) | wc -l)" = 1 ]
  hub_fault storage-get short-range
  answers 206 -r 0-9 "$url"
  said head "Content-Range: bytes 0-4/1500000"
  hub_fault storage-get wrong-size
  answers 206 -r 0-9 "$url"
  said head "Content-Range: bytes 0-9/1500001"
  hub_fault storage-get no-ranges
  answers 200 -r 0-9 "$url"
  said head "Accept-Ranges: none"
  hub_fault storage-get refused-range
  answers 416 -r 0-9 "$url"
  said head 'Content-Range: bytes \*/1500000'
  hub_fault storage-get encoded
  answers 206 -r 0-9 "$url"
  said head "Content-Encoding: gzip"
  [ "$(hub_log 'e["if_range"] == "\"other\""' | wc -l)" = 1 ]
  stop_hub
  start_hub --link-etags
  make_repo
  published w
  answers 200 -L "$url"
  [ "$(header ETag | sort -u | wc -l)" = 2 ]  # of the redirect, and of storage
  header ETag | tail -n 1 > first
  answers 200 -L "$url"
  run ! cmp first <(header ETag | tail -n 1)
}

@test "an object is replaced behind its links, and the Hub says so" {
  start_hub
  make_repo
  large w 3000
  published w
  link=$(curl -s -o /dev/null -w '%{redirect_url}' "$url")
  answers 206 -r 0-9 "$link"
  etag=$(header ETag)
  hub_admin POST replace '{"id":"ada/r","path":"w"}' > /dev/null
  answers 200 -r 0-9 -H "If-Range: $etag" "$link"
  [ "$(cmp -l body w | wc -l)" = 1 ]
  replaced=$(sha256 body)
  answers 200 -L "$url"
  [ "$(sha256 body)" = "$replaced" ]
  said head "X-Linked-Etag: \"$replaced\""
}

@test "bytes that went out are counted, also when the answer ends early" {
  start_hub
  make_repo
  large w 8000000
  published w
  for kind in truncate reset-answer; do
    hub_fault storage-get $kind '"bytes":70000'
    run curl -s -L -o body "$url"
    [ "$status" != 0 ]
    [ "$(hub_log "e['fault'] == '$kind' and e['sent_bytes'] == 70000 and e['answer_bytes'] == 8000000" | wc -l)" = 1 ]
  done
  hub_fault storage-get stall-answer '"bytes":70000'
  curl -s -L -o body "$url" 3>&- &
  pid=$!
  [ "$(hub_admin GET 'stalled?count=1')" = '{"stalled":1}' ]
  kill -9 $pid
  wait $pid || :
  [ "$(hub_log 'e["fault"] == "stall-answer" and e["sent_bytes"] == 70000' | wc -l)" = 1 ]
  hub_fault storage-get stall '"times":3'
  pids=()
  for i in 1 2 3; do
    curl -s -L -o body$i "$url" 3>&- &
    pids+=($!)
  done
  hub_admin GET 'stalled?count=3' > /dev/null
  hub_admin DELETE stalled > /dev/null
  wait "${pids[@]}"
  for i in 1 2 3; do cmp body$i w; done
  [ "$(hub_log 'e["route"] == "storage-get" and e["in_flight"] >= 3' | wc -l)" -ge 1 ]
}

@test "a limited rate is shared by all connections, and latency comes before each answer" {
  start_hub --rate 20MB --latency 30
  make_repo
  large w 2000000
  published w
  curl -s -L -o one "$url" -w '%{time_total}' > time.one 3>&- &
  pid=$!
  curl -s -L -o two "$url" -w '%{time_total}' > time.two
  wait $pid
  cmp one w
  cmp two w
  python3 -c 'assert max(float(open(f).read()) for f in ("time.one", "time.two")) > 0.23'
  [ "$(curl -s -o body "$HF_ENDPOINT/api/whoami-v2" -w '%{time_total}' | python3 -c 'print(float(input()) > 0.03)')" = True ]
}

@test "plain files, with the validators and the ranges that they shall have" {
  start_hub
  printf 0123456789 > w
  put() { curl -sS --fail -T "$1" "$HF_STORAGE/_files/x.bin$2"; }
  url=$HF_STORAGE/_files/x.bin
  answers 404 "$url"
  put w ''
  answers 206 -r 3-5 "$url"
  [ "$(cat body)" = 345 ]
  etag=$(header ETag) date=$(header Last-Modified)
  answers 206 -r 3-5 -H "If-Range: $etag" "$url"
  put w ''
  answers 200 -r 3-5 -H "If-Range: $date" "$url"
  put w '?etag=weak'
  answers 200 -r 3-5 -H "If-Range: $(header ETag)" "$url"
  [[ $(header ETag) == W/* ]]
  answers 206 -r 3-5 -H "If-Range: $(header Last-Modified)" "$url"
  put w '?etag=none&modified=none'
  answers 206 -r 3-5 "$url"
  [ -z "$(header ETag)$(header Last-Modified)" ]
  put w '?ranges=ignore'
  answers 200 -r 3-5 "$url"
  said head "Accept-Ranges: bytes"
  put w '?ranges=none'
  answers 200 -r 3-5 "$url"
  said head "Accept-Ranges: none"
  hub_fault file-get 503
  answers 503 "$url"
  answers 400 "${auth[@]}" "$url"
  [ "$(hub_count 'e["route"] == "file-get" and e["leak"]')" = 1 ]
}
