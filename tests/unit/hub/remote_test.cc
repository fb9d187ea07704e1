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
           {"hf://a/b@refs/pr/3", "a/b", "refs/pr/3", "", "hf://a/b@refs/pr/3"},
           {"hf://a/b@refs/pr/3/x.json", "a/b", "refs/pr/3", "x.json", "hf://a/b@refs/pr/3"},
           {"hf://a/b@refs/pr/3x/y", "a/b", "refs", "pr/3x/y", "hf://a/b@refs"},
           {"hf://a/b@refs%2fpr%2F3/x", "a/b", "refs/pr/3", "x", "hf://a/b@refs%2fpr%2F3"},
           {"hf://datasets/a/b@refs/convert/parquet", "a/b", "refs/convert/parquet", "",
            "hf://datasets/a/b@refs/convert/parquet"},
           {"hf://a/b@refs/convert/duck.db-1/d/f", "a/b", "refs/convert/duck.db-1", "d/f",
            "hf://a/b@refs/convert/duck.db-1"},
           {"hf://a/b@feature%2Fx%20y", "a/b", "feature/x y", "", "hf://a/b@feature%2Fx%20y"},
           {"hf://a/b/x@y", "a/b", "main", "x@y", "hf://a/b"},
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
  for (const std::string_view text : {"hf://", "hf://a", "hf://a/", "hf://datasets/a", "hf://a/b@",
                                      "hf://a/b/../c", "hf://../b", "hf://a@x/b", "hf://a/b@x%0Ay"}) {
    CAPTURE(text);
    CHECK(error_of([&] { parse_place(text); }) == ErrorKind::kUsage);
  }
}
