# SPDX-License-Identifier: Apache-2.0
# What `make release` asks of a commit: in throw-away repositories.
load helper

# A repository whose version is 1.2.3, ready to be released.
ready() {
  no_sanitizer  # reads texts, runs no programs
  command -v git > /dev/null || skip "no git"
  export GIT_AUTHOR_NAME=ada GIT_AUTHOR_EMAIL=ada@example.org GIT_COMMITTER_NAME=ada GIT_COMMITTER_EMAIL=ada@example.org
  export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
  mkdir tree && cd tree || return
  git init -q .
  printf 'cmake_minimum_required(VERSION 3.25)\nproject(modelutils VERSION 1.2.3 LANGUAGES CXX)\n' > CMakeLists.txt
  printf '# Changes\n\n## Unreleased\n\n## 1.2.3 (2026-12-01)\n\n- New.\n\n## 1.2.2 (2026-11-01)\n\n- Old.\n' > CHANGELOG.md
  commit
}
commit() { git add -A && git commit -q --allow-empty -m change; }
release() { "$BATS_TEST_DIRNAME/../../tools/packaging/release" .; }
# refused TEXT: it is not released, for that reason alone.
refused() {
  expect 1 release
  [ -z "$output" ]
  has stderr "$1"
  [ "$(wc -l <<< "$stderr")" = 1 ] || { echo "$stderr"; return 1; }
}

@test "release: a commit that is ready is to be tagged, then published" {
  ready
  expect 0 release
  has output "git tag -a v1.2.3"
  git tag -a v1.2.3 -m 1.2.3
  expect 0 release
  has output "git push origin HEAD v1.2.3"
}

@test "release: version, change log and tag agree" {
  ready
  sed -i 's/VERSION 1.2.3/VERSION 1.3.0/' CMakeLists.txt && commit
  refused "its newest release is 1.2.3, project() says 1.3.0"
  sed -i 's/VERSION 1.3.0/VERSION 1.2.3/' CMakeLists.txt && commit
  git tag v1.2.4
  expect 1 release
  has stderr "this commit is v1.2.4, project() says 1.2.3"
  git tag -d v1.2.4 > /dev/null
  git tag v1.2.3 && git commit -q --allow-empty -m more
  refused "v1.2.3 is another commit"
  git tag -d v1.2.3 > /dev/null
  git tag v1.10.0 HEAD~1
  refused "v1.10.0 is released, which is newer than 1.2.3"
}

@test "release: the change log has a dated release on top and nothing under Unreleased" {
  ready
  sed -i 's/^## Unreleased$/&\n\n- Newer./' CHANGELOG.md && commit
  refused "changes stand under Unreleased"
  sed -i '/^- Newer/d; s/ (2026-12-01)//' CHANGELOG.md && commit
  refused "not a version and its date"
  sed -i 's/^## 1.2.3$/& (2026-02-30)/' CHANGELOG.md && commit
  refused "not a day: 2026-02-30"
  sed -i 's/2026-02-30/2026-12-01/; /^## Unreleased$/d' CHANGELOG.md && commit
  refused "add '## Unreleased'"
}

@test "release: the tree is clean and has a version, and every reason is named" {
  ready
  touch new
  refused "not clean"
  sed -i 's/VERSION 1.2.3/VERSION 1.3.0/' CMakeLists.txt
  expect 1 release
  has stderr "not clean"
  has stderr "project() says 1.3.0"
  sed -i 's/ VERSION 1.3.0//' CMakeLists.txt && commit
  refused "no version"
}

@test "release: this tree's version and its newest dated release agree" {
  root=$BATS_TEST_DIRNAME/../..
  version=$(sed -nE 's/^project\(modelutils VERSION ([0-9.]+).*/\1/p' "$root/CMakeLists.txt")
  grep -E '^## [0-9]' "$root/CHANGELOG.md" | head -n 1 > heading
  grep -qE "^## ${version//./[.]} \(20[0-9]{2}-[0-9]{2}-[0-9]{2}\)$" heading
}

@test "packages: any SOURCE_DATE_EPOCH makes a wheel and an archive, which replace those of other versions" {
  no_sanitizer  # reads texts, runs no programs
  packaging=$BATS_TEST_DIRNAME/../../tools/packaging
  mkdir -p stage/bin stage/licences out
  touch out/model_coreutils-0.0.1-py3-none-manylinux_2_28_{x86_64,aarch64}.whl out/modelutils-0.0.1-linux-{x86_64,aarch64}.tar.gz
  for epoch in 0 1700000000; do
    expect 0 env SOURCE_DATE_EPOCH=$epoch "$packaging/make-wheel" stage x86_64 out
    expect 0 env SOURCE_DATE_EPOCH=$epoch "$packaging/make-tarball" stage x86_64 out
  done
  [ "$(find out -name '*0.0.1*' | wc -l)" = 2 ]
  [ "$(find out -name '*x86_64*' | wc -l)" = 2 ]
  expect 2 env SOURCE_DATE_EPOCH=yesterday "$packaging/source-date"
  has stderr "SOURCE_DATE_EPOCH is not a number of seconds: yesterday"
}
