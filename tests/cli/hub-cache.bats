# SPDX-License-Identifier: Apache-2.0
# hub-push into a cache folder of the Hugging Face libraries.
load helper
load hub

setup() {
  hub_home
  unset HF_ENDPOINT HF_TOKEN HF_HOME HF_HUB_CACHE HUGGINGFACE_HUB_CACHE HF_HUB_OFFLINE
  export HF_ENDPOINT=file://$PWD/cache
  repo=cache/models--ada--tiny
}

teardown() { [ ! -d full ] || umount full 2> /dev/null || :; }

# The snapshot that a revision leads to.
snapshot() { echo "$repo/snapshots/$(cat "$repo/refs/${1:-main}")"; }

# Every file of the snapshot is a relative link to a blob whose name is the hash of its bytes, as SHA-256 or as git's.
sound() {
  python3 - "$repo" <<'PY'
import hashlib, os, sys
repo = sys.argv[1]
assert set(os.listdir(repo)) <= {"blobs", "refs", "snapshots", ".no_exist"}, os.listdir(repo)
for folder, _, names in os.walk(repo + "/snapshots"):
    for name in names:
        path = os.path.join(folder, name)
        target = os.readlink(path)
        assert not os.path.isabs(target)
        blob = os.path.realpath(path)
        assert os.path.dirname(blob) == os.path.realpath(repo + "/blobs"), blob
        data = open(blob, "rb").read()
        git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        assert os.path.basename(blob) == (git if len(os.path.basename(blob)) == 40 else hashlib.sha256(data).hexdigest()), blob
for folder, _, names in os.walk(repo + "/refs"):
    for name in names:
        assert os.path.isdir(repo + "/snapshots/" + open(os.path.join(folder, name)).read()), name
PY
}

@test "a push makes blobs, a snapshot and a ref; the same again makes nothing; a change shares the rest" {
  model
  expect 0 hub-push -n out ada/tiny
  has output "NEW     lfs"
  [ ! -e cache ]
  expect 0 hub-push out ada/tiny
  [ "$output" = "file://$PWD/$(snapshot)" ]
  sound
  diff -r out "$(snapshot)" | grep -v gitattributes && false
  grep -q '^\*.safetensors filter=lfs' "$(snapshot)/.gitattributes"
  first=$(snapshot)
  find cache | sort > before
  expect 0 hub-push out ada/tiny
  has stderr "nothing to do"
  find cache | sort | diff before -
  echo '{"changed": true}' > out/generation_config.json
  expect 0 hub-push out ada/tiny
  has stderr "0 added, 1 changed, 0 deleted, 5 the same"
  [ "$(snapshot)" != "$first" ]
  [ "$(ls $repo/blobs | wc -l)" = 8 ]
  sound
  # Going back to what was is going back to its name.
  cp "$FIXTURES/base/generation_config.json" out
  expect 0 hub-push out ada/tiny
  [ "$(snapshot)" = "$first" ]
}

@test "paths, deletions, branches, tags, types, single files, standard input" {
  model
  expect 0 hub-push out ada/tiny
  expect 0 hub-push out/config.json ada/tiny deep/er/name.json
  [ "$(readlink "$(snapshot)/deep/er/name.json" | cut -d/ -f1-5)" = ../../../../blobs ]
  main=$(snapshot)
  expect 0 hub-push --revision side/way --tag v1 - ada/tiny hello.txt <<< hello
  [ "$(snapshot)" = "$main" ]
  [ "$(cat "$(snapshot side/way)/hello.txt")" = hello ]
  [ "$(snapshot v1)" = "$(snapshot side/way)" ]
  [ -e "$(snapshot v1)/config.json" ]
  expect 0 hub-push --delete 'deep/*' --delete 'hello*' --revision side/way out ada/tiny
  [ ! -e "$(snapshot side/way)/deep" ]
  [ -e "$(snapshot v1)/deep/er/name.json" ]
  expect 6 hub-push --expect-parent 0123456 out ada/tiny
  expect 0 hub-push --expect-parent "$(cat $repo/refs/main)" out/config.json ada/tiny more.json
  expect 6 hub-push --no-create out ada/other
  expect 0 hub-push out datasets/ada/d
  expect 0 hub-push out bare
  [ -d cache/datasets--ada--d/snapshots ] && [ -d cache/models--bare/snapshots ]
  expect 6 hub-push out/config.json ada/tiny config.json/below.json
  has stderr "a file and a folder at once"
  sound
}

@test "what is in git and what in LFS is decided as the Hub does" {
  mkdir out
  printf 'text' > out/a.txt
  printf 'nul\0' > out/b.txt
  printf 'text' > out/c.bin
  printf 'text' > out/d.odd
  head -c 10485760 /dev/zero | tr '\0' x > out/large.txt
  printf '*.odd filter=lfs diff=lfs merge=lfs -text\n' > out/.gitattributes
  printf 'left*\n' > out/.gitignore
  touch out/left.txt
  expect 0 hub-push -n out ada/tiny
  [ "$(awk '$2 == "lfs" {printf "%s ", $NF}' <<< "$output")" = "b.txt d.odd large.txt " ]
  has output "IGNORED"
  expect 0 hub-push out ada/tiny
  [ ! -e "$(snapshot)/left.txt" ]
  # Paths that no rule covers get one, as the Hub amends the file.
  grep -q '^b.txt filter=lfs' "$(snapshot)/.gitattributes"
  sound
}

@test "edits of the source never reach the cache; --link shares the file" {
  model
  expect 0 hub-push out ada/tiny
  printf 'X' | dd of=out/model.safetensors conv=notrunc status=none
  sound
  cp "$FIXTURES/base/model.safetensors" out/copy.safetensors
  rm -r cache
  rm out/model.safetensors
  expect 0 hub-push --link out ada/tiny
  [ "$(snapshot)/copy.safetensors" -ef out/copy.safetensors ]
  expect 2 hub-push --link --endpoint http://127.0.0.1:1 out ada/tiny
  expect 2 hub-push --part 1/2 out ada/tiny
}

@test "--prune-revisions removes what nothing refers to" {
  model
  expect 0 hub-push out ada/tiny
  old=$(cat $repo/refs/main)
  mkdir -p "$repo/.no_exist/$old" && touch "$repo/.no_exist/$old/added_tokens.json"
  echo '{"n": 1}' > out/config.json
  expect 0 hub-push --revision kept out ada/tiny
  echo '{"n": 2}' > out/config.json
  expect 0 hub-push --prune-revisions out ada/tiny
  has stderr "removed 1 snapshot and 1 blob"
  [ ! -e "$repo/snapshots/$old" ] && [ ! -e "$repo/.no_exist/$old" ]
  grep -q 1 "$(snapshot kept)/config.json"
  sound
}

@test "--verify prints a manifest and mends blobs that rotted" {
  model
  expect 0 hub-push --verify out ada/tiny
  echo "$output" > manifest
  (cd out && sha256sum --quiet -c ../manifest)
  has stderr "file://"
  blob=$(realpath "$(snapshot)/config.json")
  sed -i 's/llama/lLama/' "$blob"
  expect 0 hub-push out ada/tiny  # the size is right
  has stderr "nothing to do"
  expect 0 hub-push --verify out ada/tiny
  has stderr "config.json: its copy in the cache is damaged and will be replaced"
  cmp out/config.json "$blob"
  sound
}

@test "a blob that was cut short is written anew, a ref that ends in a line break too" {
  model
  expect 0 hub-push out ada/tiny
  first=$(snapshot)
  for name in model.safetensors config.json; do
    blob=$(realpath "$(snapshot)/$name")
    truncate -s 1000 "$blob"
    expect 0 hub-push -n out ada/tiny
    has output "CHANGED"
    expect 0 hub-push out ada/tiny
    has stderr "$name: its copy in the cache is damaged"
    cmp "out/$name" "$blob"
    [ "$(snapshot)" = "$first" ]
    sound
  done
  # Under a name that the repository does not have yet.
  truncate -s 5 "$(realpath "$(snapshot)/config.json")"
  cp out/config.json out/copy.json
  expect 0 hub-push out/copy.json ada/tiny
  cmp out/config.json "$(snapshot)/copy.json"
  rm out/copy.json
  expect 0 hub-push --delete '*' out ada/tiny
  for end in '\n' '\r\n' ' '; do
    printf "%s$end" "$(cat $repo/refs/main)" > ref && mv ref $repo/refs/main
    expect 0 hub-push out ada/tiny
    [ "$(wc -c < $repo/refs/main)" = 40 ]
    sound
  done
}

@test "what .gitignore leaves out stops a push; a .gitattributes of ours settles" {
  model
  printf '*.safetensors\n*.log\n' > out/.gitignore
  touch out/x.log
  expect 5 hub-push out ada/tiny
  has stderr "model.safetensors: left out"
  has stderr "remove the line from .gitignore, or --exclude it, or --allow ignored"
  [ ! -e cache/models--ada--tiny ]
  expect 5 hub-push -n out ada/tiny
  expect 0 hub-push --allow ignored out ada/tiny
  has stderr "model.safetensors: left out"
  has stderr "x.log: left out"
  [ ! -e "$(snapshot)/model.safetensors" ]
  expect 1 hub-push --verify --allow ignored out ada/tiny
  has stderr "model.safetensors"
  expect 0 hub-push --exclude '*.safetensors' --verify out ada/tiny
  rm out/.gitignore out/x.log
  echo '*.json filter=lfs diff=lfs merge=lfs -text' > out/.gitattributes
  expect 0 hub-push --delete .gitignore out ada/tiny
  grep -q '^model.safetensors filter=lfs' "$(snapshot)/.gitattributes"
  expect 0 hub-push out ada/tiny
  has stderr "nothing to do"
  expect 0 hub-push --verify out ada/tiny
  sound
}

@test "file:// alone is the user's cache, also by HF_ENDPOINT" {
  model
  HF_HUB_CACHE=$PWD/mine expect 0 hub-push --endpoint file:// out ada/tiny
  [ -d mine/models--ada--tiny ]
  HF_HOME=$PWD/home2 HF_ENDPOINT=file:// expect 0 hub-push out ada/tiny
  [ -d home2/hub/models--ada--tiny ]
  HF_HUB_CACHE='~/c' HF_ENDPOINT=file:// expect 0 hub-push out ada/tiny
  [ -d home/c/models--ada--tiny ]
  HF_HOME='$HOME/x' HF_ENDPOINT=file:// expect 0 hub-push out ada/tiny
  [ -d home/x/hub/models--ada--tiny ]
  XDG_CACHE_HOME=$PWD/xdg HF_ENDPOINT=file:// expect 0 hub-push out ada/tiny
  [ -d xdg/huggingface/hub/models--ada--tiny ]
  XDG_CACHE_HOME=$PWD/xdg HF_HUB_OFFLINE=1 HF_ENDPOINT= expect 0 st-inspect hf://ada/tiny
  printf -- '---\nlicense: mit\n---\n' > xdg/README.md
  XDG_CACHE_HOME=$PWD/xdg HF_ENDPOINT=file:// expect 0 hub-push xdg/README.md ada/tiny
  XDG_CACHE_HOME=$PWD/xdg expect 0 card-gen --base ada/tiny
  has output "license: mit"
  expect 0 hub-push --endpoint file://relative out ada/tiny
  has output "file://$PWD/relative/models--ada--tiny/snapshots/"
}

@test "a cache that is not sound: said, and nothing leads out of it" {
  model
  expect 0 hub-push out ada/tiny
  link=$(snapshot)/chat_template.jinja
  rm "$(realpath "$link")" out/chat_template.jinja
  expect 0 hub-push out/config.json ada/tiny new.json
  has stderr "chat_template.jinja: its blob is missing from the cache; left out"
  [ -z "$(find "$(snapshot)" -xtype l)" ]
  mkdir other && echo secret > other/file
  ln -sf "$PWD/other/file" "$(snapshot)/foreign.txt"
  expect 4 hub-push out ada/tiny
  has stderr "foreign.txt: is a link that leads out of the cache's blobs"
  rm "$(snapshot)/foreign.txt"
  echo plain > "$(snapshot)/plain.txt"  # as libraries write where links can't be had
  expect 0 hub-push out/config.json ada/tiny newer.json
  [ "$(cat "$(snapshot)/plain.txt")" = plain ]
  mv $repo/refs refs && ln -s "$PWD/other" $repo/refs
  expect 4 hub-push out ada/tiny
  has stderr "refs: is a link"
  rm $repo/refs && mv refs $repo
  for revision in ../x a/../../x /etc .; do expect 2 hub-push --revision "$revision" out ada/tiny; done
  expect 2 hub-push --tag ../../x out ada/tiny
  expect 2 hub-push --create-pr out ada/tiny
  expect 2 hub-push --private out ada/tiny
  echo ../../x > $repo/refs/main
  expect 4 hub-push out ada/tiny
  has stderr "does not hold the name of a snapshot"
  [ "$(ls other)" = file ]
}

@test "a full disk leaves what was seen before; a second push waits; an unwritable cache is an error" {
  mkdir out full
  large out/a.bin 30000
  mount -t tmpfs -o size=200k none full 2> /dev/null || skip "needs a mount"
  export HF_ENDPOINT=file://$PWD/full
  repo=full/models--ada--tiny
  expect 0 hub-push out ada/tiny
  find full -not -path '*.locks*' | sort > before
  large out/b.bin 400000
  expect 7 hub-push out ada/tiny
  has stderr "are free"
  find full -not -path '*.locks*' | sort | diff before -
  # What a push killed elsewhere left goes before the space is counted.
  stage=$repo/.push.mu-stage.elsewhere.1.ns1.1.1
  mkdir $stage
  large $stage/half 100000
  touch -d '2 days ago' $stage/half $stage
  large out/b.bin 90000
  expect 0 hub-push out ada/tiny
  [ ! -e $stage ]
  rm out/b.bin
  (
    flock 9
    expect 75 hub-push out ada/tiny
    has stderr "push.lock"
  ) 9> full/.locks/models--ada--tiny/push.lock
  mount -o remount,ro full
  expect 0 hub-push -n out ada/tiny
  echo x > out/c.txt
  expect 7 hub-push out ada/tiny
  has stderr "Read-only"
}

@test "without HOME nothing is written into the folder that is pushed, nor where we are" {
  model
  find out | sort > before
  cd out
  for home in "" . relative; do
    expect 0 env -u XDG_CACHE_HOME -u XDG_STATE_HOME "HOME=$home" hub-push . ada/tiny
    expect 0 env -u HOME hub-push . ada/tiny
  done
  cd ..
  find out | sort | diff before -
  HOME=$PWD/out expect 0 hub-push out ada/tiny
  find out | sort | diff before -
}
