# SPDX-License-Identifier: Apache-2.0
# Manners that every program has, and that its documents agree.
load helper

tools="card-gen ckpt-prune hub-push lora-extract st-inspect st-pack"
root=$BATS_TEST_DIRNAME/../..

@test "--help fits a screen, --version is one line, both on stdout" {
  for tool in $tools; do
    expect 0 $tool --help
    [ "${#lines[@]}" -le 52 ]
    [ "$(awk '{ if (length > 80) n++ } END { print n + 0 }' <<< "$output")" = 0 ]
    has output "Example: $tool"
    [ -z "$stderr" ]
    expect 0 $tool --version
    [[ $output =~ ^$tool\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
  done
}

@test "wrong usage is 2, one line on stderr, nothing on stdout" {
  for tool in $tools; do
    for arguments in "" "--no-such-option" "--threads 0 x" "--threads x y" "--color=blue x" "--hel"; do
      expect 2 $tool $arguments
      [ -z "$output" ]
      [ "$(wc -l <<< "$stderr")" = 1 ]
      has stderr "$tool: "
    done
  done
  expect 2 st-inspect --tensors --names x
  expect 2 st-inspect --check=all x
  expect 2 st-inspect --sort=color x
  expect 2 st-inspect --tree=0 x
  expect 2 st-inspect --fail-on=zero x
  expect 2 st-inspect --diff x
  expect 2 st-inspect --rtol=1 x
  expect 2 st-inspect --diff --rtol=-1 x y
  expect 2 ckpt-prune x
  expect 2 ckpt-prune -n x
  expect 2 ckpt-prune --keep -1 x
  expect 2 ckpt-prune --keep 1x x
  expect 2 ckpt-prune --keep-every 0 x
  expect 2 ckpt-prune --keep-within 3y x
  expect 2 ckpt-prune --keep-best 1 --min --max x
  expect 2 ckpt-prune --torn throw x
  expect 2 ckpt-prune --keep 1 --paths nothing x
  expect 2 ckpt-prune --pin 3 x
  expect 2 ckpt-prune --keep 1 --pattern '*' x
  expect 2 st-pack x
  expect 2 st-pack x -o y --dtype i8
  expect 2 st-pack x -o y --rename a/b
  expect 2 st-pack x -o y --metadata k
  expect 2 st-pack x -o y --max-shard-size 5XB
  expect 2 st-pack x -o y.safetensors --max-shard-size 5GB
  expect 2 st-pack x -o - --verify
  expect 2 st-pack x -o y --part 3/2
  expect 2 st-pack x -o - --part 1/2
  expect 2 st-pack x -o y --fingerprint size
  expect 2 st-inspect x --part 1/2
  expect 2 st-inspect --stats x -n
  expect 2 st-inspect --combine --names x
  expect 2 hub-push x a/b --part 1/0
  expect 2 lora-extract x
  expect 2 lora-extract x y -o z
  expect 2 lora-extract --base x -o z
  expect 2 lora-extract --base x --tuned y -o z.safetensors
  expect 2 lora-extract --base x --tuned y -o z --rank 0
  expect 2 lora-extract --base x --tuned y -o z --rank energy=2
  expect 2 lora-extract --base x --tuned y -o z --rank auto --alpha 8
  expect 2 lora-extract --base x --tuned y -o z --svd slow
  expect 2 lora-extract --base x --tuned y -o z --embeddings all
  expect 2 lora-extract x -o z --rank 4
  expect 2 lora-extract x -o z --alpha none
  expect 2 lora-extract x -o z --dtype i8
  expect 2 lora-extract --compare x
  expect 2 lora-extract --compare --resize 4 x y
  expect 2 card-gen -i
  expect 2 card-gen --base /home/me/model
  expect 2 card-gen --base "a sentence"
  expect 2 card-gen --base a/b --license Apache-2.0
  expect 2 card-gen --base a/b --language english
  expect 2 card-gen --base a/b --method magic
  expect 2 card-gen --base a/b --style best
  expect 2 card-gen --base a/b --set tags=x
  expect 2 card-gen --base a/b --name $'a\x1bb'
  expect 2 card-gen --fix x
}

@test "a stdout that can't be written to is 7, a closed pipe is quiet" {
  expect 7 bash -c "st-inspect '$FIXTURES/tied' >&-"
  expect 7 bash -c "st-inspect '$FIXTURES/tied' > /dev/full"
  has stderr "st-inspect: standard output: cannot write"
  expect 7 bash -c "st-pack '$FIXTURES/tied' -o - > /dev/full"
  run --separate-stderr bash -c "args=(); for i in {1..2000}; do args+=('$FIXTURES/tied'); done; st-inspect \"\${args[@]}\" | head -n 1 > /dev/null; exit \${PIPESTATUS[0]}"
  [ "$status" = 141 ]
  [ -z "$stderr" ]
  run --separate-stderr bash -c "st-pack '$FIXTURES/base' -o - | head -c 1 > /dev/null; exit \${PIPESTATUS[0]}"
  [ "$status" = 0 ] || [ "$status" = 141 ]
  [ -z "$stderr" ]
}

@test "names from files can't move the cursor" {
  safetensors bad.safetensors "{$(tensor 'a\\u001b[2Jb' U8 '[1]' 0 1),$(tensor '\\u202ex' U8 '[1]' 1 2)}" 2
  for view in "" -t --names --tree --stats --hash --check; do
    run st-inspect $view bad.safetensors
    ! grep -q $'\x1b' <<< "$output"
    ! grep -q $'\u202e' <<< "$output"
  done
  expect 0 st-inspect --names bad.safetensors
  has output 'a\x1b[2Jb'
  has output '\u{202e}x'
  st-inspect --names -0 bad.safetensors | cmp - <(printf 'a\x1b[2Jb\0\u202ex\0')
  expect 7 st-inspect $'no\x1bfile'
  has stderr 'no\x1bfile'
}

@test "several operands are all done and the worst counts" {
  head -c 1000 "$FIXTURES/tied/model.safetensors" > cut
  expect 4 st-inspect "$FIXTURES/tied" cut "$FIXTURES/sharded"
  has output "$FIXTURES/sharded"
  has stderr "cut: "
  expect 7 st-inspect cut missing "$FIXTURES/tied"
  has output "$FIXTURES/tied"
  expect 1 st-inspect --metadata=nobody "$FIXTURES/tied" "$FIXTURES/sharded"
  [ "$(wc -l <<< "$stderr")" = 2 ]
  expect 4 st-inspect --metadata=nobody "$FIXTURES/tied" cut
}

@test "options end at --, - is a stream, an optional value needs =" {
  cp "$FIXTURES/tied/model.safetensors" ./-x
  expect 0 st-inspect --names -- -x
  expect 0 st-inspect --metadata "$FIXTURES/tied"
  has output "format = pt"
  expect 0 st-inspect --metadata=format "$FIXTURES/tied"
  [ "$output" = pt ]
  expect 0 st-inspect --sort=name --sort size --names "$FIXTURES/tied"
  [ "${lines[0]}" = model.embed_tokens.weight ]
}

@test "help, man page and completions list the same long options" {
  for tool in $tools; do
    "$tool" --help | grep -oE -- '--[a-z][a-z-]+' | sort -u | grep -v -- "--${tool#st-}-" > help
    grep -oE -- '^\.B[RI]? .*' "$root/man/$tool.1" | sed 's/\\-/-/g' | grep -oE -- '--[a-z][a-z-]+' | sort -u > man
    diff help man
    for shell in bash zsh fish; do
      case $shell in
        bash) file=$root/tools/completions/$tool.bash ;;
        zsh) file=$root/tools/completions/_$tool ;;
        fish) file=$root/tools/completions/$tool.fish ;;
      esac
      if [ $shell = fish ]; then
        grep -oE -- '-l [a-z-]+' "$file" | sed 's/-l /--/' | sort -u > completion
      else
        grep -oE -- '--[a-z][a-z-]+' "$file" | sort -u > completion
      fi
      diff help completion
    done
  done
}

@test "completion files are sound in their shells" {
  no_sanitizer  # reads texts, runs no programs
  for tool in $tools; do
    bash -n "$root/tools/completions/$tool.bash"
    command -v zsh > /dev/null && zsh -n "$root/tools/completions/_$tool"
    command -v fish > /dev/null && fish --no-execute "$root/tools/completions/$tool.fish"
  done
  source "$root/tools/completions/st-pack.bash"
  COMP_WORDS=(st-pack --ver) COMP_CWORD=1
  _st_pack
  [[ " ${COMPREPLY[*]} " == *" --verify "* ]]
}

@test "an installed tree holds programs, man pages and completions" {
  no_sanitizer  # reads texts, runs no programs
  DESTDIR=$PWD/root cmake --install "$BIN_DIR/.." --prefix /usr > /dev/null
  (cd root && find . -type f | sort) > found
  diff found - <<'LIST'
./usr/bin/card-gen
./usr/bin/ckpt-prune
./usr/bin/hub-push
./usr/bin/lora-extract
./usr/bin/st-inspect
./usr/bin/st-pack
./usr/share/bash-completion/completions/card-gen
./usr/share/bash-completion/completions/ckpt-prune
./usr/share/bash-completion/completions/hub-push
./usr/share/bash-completion/completions/lora-extract
./usr/share/bash-completion/completions/st-inspect
./usr/share/bash-completion/completions/st-pack
./usr/share/fish/vendor_completions.d/card-gen.fish
./usr/share/fish/vendor_completions.d/ckpt-prune.fish
./usr/share/fish/vendor_completions.d/hub-push.fish
./usr/share/fish/vendor_completions.d/lora-extract.fish
./usr/share/fish/vendor_completions.d/st-inspect.fish
./usr/share/fish/vendor_completions.d/st-pack.fish
./usr/share/man/man1/card-gen.1
./usr/share/man/man1/ckpt-prune.1
./usr/share/man/man1/hub-push.1
./usr/share/man/man1/lora-extract.1
./usr/share/man/man1/st-inspect.1
./usr/share/man/man1/st-pack.1
./usr/share/man/man7/modelutils-cookbook.7
./usr/share/man/man7/modelutils.7
./usr/share/zsh/site-functions/_card-gen
./usr/share/zsh/site-functions/_ckpt-prune
./usr/share/zsh/site-functions/_hub-push
./usr/share/zsh/site-functions/_lora-extract
./usr/share/zsh/site-functions/_st-inspect
./usr/share/zsh/site-functions/_st-pack
LIST
  # Programs and pages speak of one version, which stands in the project's first lines alone.
  version=$(st-inspect --version | cut -d' ' -f2)
  for page in root/usr/share/man/man*/*; do
    [[ $(grep '^[.]TH ' "$page") == *" \"modelutils $version\" "* ]]
  done
  expect 1 grep -rnF "$version" "$root"/{README.md,CMakePresets.json,Makefile,lib,man,tools,tests/run-tests,tests/demo,tests/packaging}
}
