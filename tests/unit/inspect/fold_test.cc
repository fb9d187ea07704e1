// SPDX-License-Identifier: Apache-2.0
#include "inspect/fold.h"

#include <doctest/doctest.h>

using namespace mu;

namespace {

std::vector<std::string> folded(const std::vector<std::string>& names) {
  std::vector<Tensor> tensors;
  for (const std::string& name : names)
    tensors.push_back(
        {name, Dtype::kF32, {static_cast<std::uint64_t>(name.ends_with('!') ? 2 : 1)}, 0, 0, 4});
  std::vector<const Tensor*> pointers;
  for (const Tensor& tensor : tensors) pointers.push_back(&tensor);
  std::vector<std::string> lines;
  for (const FoldedGroup& group : fold_tensors(pointers))
    lines.push_back(group.name + " x" + std::to_string(group.count));
  return lines;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("fold: numbered components become ranges") {
  CHECK(folded({"l.0.w", "l.1.w", "l.2.w", "n"}) == Lines{"l.[0-2].w x3", "n x1"});
  CHECK(folded({"l.0.w", "l.2.w", "l.3.w"}) == Lines{"l.[0,2-3].w x3"});
  CHECK(folded({"l.0.e.0.w", "l.0.e.1.w", "l.1.e.0.w", "l.1.e.1.w"}) == Lines{"l.[0-1].e.[0-1].w x4"});
  CHECK(folded({"l.7.w"}) == Lines{"l.7.w x1"});
  CHECK(folded({"10", "9"}) == Lines{"[9-10] x2"});
}

TEST_CASE("fold: other shapes and odd numbers stay apart") {
  CHECK(folded({"l.0.w", "l.1.w!"}).size() == 2);
  CHECK(folded({"l.0.w!", "l.1.w!"}).size() == 1);
  CHECK(folded({"l.00.w", "l.01.w"}).size() == 2);
  CHECK(folded({"l.99999999999.w", "l.1.w"}).size() == 2);
  CHECK(folded({std::string("a\0b", 3), ""}) == Lines{"a\\x00b x1", " x1"});
}

TEST_CASE("fold: a name can't pass for a range") {
  CHECK(folded({std::string("l.\0.w", 5)}) == Lines{"l.\\x00.w x1"});
}
