# SPDX-License-Identifier: Apache-2.0
# Requests to the local test Hub by curl, for the suites that test it.

auth=(-H "Authorization: Bearer hf_testwrite")
json=(-H "Content-Type: application/json")
lfs=(-H "Accept: application/vnd.git-lfs+json" -H "Content-Type: application/vnd.git-lfs+json")
ndjson=(-H "Content-Type: application/x-ndjson")

# status CURL ARGUMENTS: the status of the answer (000: none); its body is in ./body, its head in ./head.
status() { curl -s -m 20 -H Expect: -o body -D head -w '%{http_code}' "$@" || :; }
answers() {
  local code
  code=$(status "${@:2}")
  [ "$code" = "$1" ] || { echo "status $code, not $1: ${*:2}"; cat head body; return 1; }
}
said() { grep -qi -e "$2" "$1" || { echo "'$2' is not in $1"; cat "$1"; return 1; }; }

api() { echo "$HF_ENDPOINT/api/models/ada/r"; }
make_repo() { hub_admin POST repo '{"id":"ada/r"}' > /dev/null; }
sha256() { sha256sum "$1" | cut -d' ' -f1; }

# batch FILE [TRANSFERS]: the answer of the batch call in ./body.
batch() {
  answers 200 "${auth[@]}" "${lfs[@]}" "$HF_ENDPOINT/ada/r.git/info/lfs/objects/batch" -d "{\"operation\":\"upload\",
    \"transfers\":${2:-[\"basic\",\"multipart\"]},\"hash_algo\":\"sha256\",
    \"objects\":[{\"oid\":\"$(sha256 "$1")\",\"size\":$(stat -c%s "$1")}]}"
}
upload_action() { jq -r ".objects[0].actions.upload$1" body; }
# commit LINE...: status of a commit with these lines behind a header.
commit() { printf '%s\n' '{"key":"header","value":{"summary":"s","description":""}}' "$@" > lines; status "${auth[@]}" "${ndjson[@]}" --data-binary @lines "$(api)/commit/main"; }

# published FILE: it is in ada/r, in LFS, and $url is where.
published() {
  batch "$1"
  answers 200 -T "$1" "$(upload_action .href)"
  [ "$(commit "{\"key\":\"lfsFile\",\"value\":{\"path\":\"$1\",\"algo\":\"sha256\",\"oid\":\"$(sha256 "$1")\"}}")" = 200 ]
  url=$HF_ENDPOINT/ada/r/resolve/main/$1
}
header() { sed -n "s/^$1: \(.*\)\r\$/\1/Ip" head; }
