// SPDX-License-Identifier: Apache-2.0
#include "hub/remote.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE("names of places on a hub") {
  struct Row {
    std::string_view text, id, revision, path, name;
  };
  for (const Row& row : {
           Row{"hf://a/b", "a/b", "main", "", "hf://a/b"},
           {"hf://a/b/", "a/b", "main", "", "hf://a/b"},
           {"hf://a/b@v1/x/y.json", "a/b", "v1", "x/y.json", "hf://a/b@v1"},
           {"hf://a/b@refs%2Fpr%2F3", "a/b", "refs/pr/3", "", "hf://a/b@refs%2Fpr%2F3"},
           {"hf://datasets/a/b@x/y", "a/b", "x", "y", "hf://datasets/a/b@x"},
           {"hf://models/a/b/y", "a/b", "main", "y", "hf://models/a/b"},
           {"hf://spaces/a/b", "a/b", "main", "", "hf://spaces/a/b"},
       }) {
    CAPTURE(row.text);
    const RemotePlace place = parse_place(row.text);
    CHECK(place.repo.id == row.id);
    CHECK(place.revision == row.revision);
    CHECK(place.path == row.path);
    CHECK(place.name == row.name);
  }
  CHECK(parse_place("hf://datasets/a/b").repo.type == RepoType::kDataset);
  CHECK(parse_place("hf://a/b").repo.type == RepoType::kModel);
  for (const std::string_view text :
       {"hf://", "hf://a", "hf://a/", "hf://datasets/a", "hf://a/b@", "hf://a/b/../c", "hf://../b"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_place(text); }) == ErrorKind::kUsage);
  }
}
