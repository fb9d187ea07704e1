# SPDX-License-Identifier: Apache-2.0
# What stops a push before anything is sent: the guard, and metadata that the Hub refuses.
load helper
load hub

setup() { hub_home; }

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
  has stderr "a.txt: differs from 'A.txt' only in case"
  has stderr "nul.json: Windows reserves this name for a device [portable]"
  has stderr "x?: Windows does not allow '?' in a name [portable]"
  rm out/{A.txt,a.txt,nul.json,x?}
  touch out/$'caf\u00e9' out/$'cafe\u0301' out/$'\u00c4.txt' out/$'\u00e4.txt'
  expect 0 hub-push -n out ada/tiny
  has stderr $'caf\u00e9: differs from \'cafe\u0301\' only in the Unicode form of its letters'
  has stderr $'\u00e4.txt: differs from \'\u00c4.txt\' only in case'
  rm out/caf* out/$'\u00c4.txt' out/$'\u00e4.txt'
  rm out/config.json
  expect 0 hub-push -n out ada/tiny
  has stderr "[config]"
}

@test "the man page and the completions list the rules that stop a push" {
  expect 2 hub-push --allow nothing out ada/tiny
  sed -n '/^[.]TS/,/^[.]TE/p' "$BATS_TEST_DIRNAME/../../man/hub-push.1" | awk -F'\t' 'NF == 2 {gsub(/\\/, "", $1); print $1}' > listed
  [ -s listed ]
  diff listed <(sed 's/.*the rules are //; s/, /\n/g' <<< "$stderr")
  for file in hub-push.bash _hub-push hub-push.fish; do
    grep -qF "$(paste -sd' ' listed)" "$BATS_TEST_DIRNAME/../../tools/completions/$file" || { echo "$file lists other rules"; return 1; }
  done
}

@test "a link that leads nowhere in place of weights stops the push" {
  model
  start_hub
  rm out/model.safetensors
  ln -s nowhere out/model.safetensors
  ln -s nowhere out/notes.txt
  expect 5 hub-push out ada/tiny
  has stderr "model.safetensors: a link that does not lead to a file [torn]"
  has stderr "save or fetch it again"
  [ "$(hub_count 'e["route"] in ("create", "commit")')" = 0 ]
  expect 0 hub-push --exclude '*.safetensors' out ada/tiny
  has stderr "model.safetensors: left out: excluded"
  has stderr "notes.txt: left out: a link that does not lead to a file"
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
  has stderr "1 file is missing from the repository"
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
