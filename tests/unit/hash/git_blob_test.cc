// SPDX-License-Identifier: Apache-2.0
// Ids are what `git hash-object` prints for the same bytes.
#include "hash/git_blob.h"

#include <doctest/doctest.h>

#include "base/bytes.h"
#include "base/error.h"
#include "hash/sha256.h"

using namespace mu;

TEST_CASE("git_blob: ids are git's") {
  CHECK(git_object_id("blob", as_bytes("hello\n")) == "ce013625030ba8dba906f756967f9e9ca394464a");
  CHECK(git_object_id("blob", {}) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
  CHECK(git_object_id("tree", {}) == "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
}

TEST_CASE("git_blob: pieces give the id of the whole, and must add up") {
  GitBlobId pieces(6);
  pieces.update(as_bytes("hel"));
  pieces.update({});
  pieces.update(as_bytes("lo\n"));
  CHECK(pieces.finish() == "ce013625030ba8dba906f756967f9e9ca394464a");

  GitBlobId shorter(7);
  shorter.update(as_bytes("hello\n"));
  CHECK_THROWS_AS(shorter.finish(), Error);
  GitBlobId longer(5);
  longer.update(as_bytes("hello\n"));
  CHECK_THROWS_AS(longer.finish(), Error);
}

TEST_CASE("git_blob: the LFS pointer of a file and the id git gives it") {
  Sha256 hash;
  hash.update(as_bytes("hello\n"));
  const std::string pointer = lfs_pointer(to_hex(hash.finish()), 6);
  CHECK(pointer ==
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03\n"
        "size 6\n");
  CHECK(git_object_id("blob", as_bytes(pointer)) == "fa61e1ef71c9908c0926776a4aa3504b3a27f159");
}

TEST_CASE("git_blob: SHA-1 of a long input in uneven pieces") {
  // FIPS 180-2, example 3: a million times "a".
  Sha1 hash;
  const std::string run(997, 'a');
  std::size_t left = 1000000;
  while (left > 0) {
    const std::size_t n = std::min(left, run.size());
    hash.update(as_bytes(std::string_view(run).substr(0, n)));
    left -= n;
  }
  CHECK(to_hex(hash.finish()) == "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
}
