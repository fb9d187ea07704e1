// SPDX-License-Identifier: Apache-2.0
#include "pack/select.h"

#include <doctest/doctest.h>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

const std::vector<Tensor> kTensors = {{"a.weight", Dtype::kF32, {2, 3}, 0, 0, 24},
                                      {"a.bias", Dtype::kF32, {2}, 0, 24, 8},
                                      {"ids", Dtype::kI64, {2}, 0, 32, 16},
                                      {"scale", Dtype::kF8E8M0, {4}, 0, 48, 4}};

// All steps by which tensors get their type and name.
std::vector<PackedTensor> select_tensors(const std::vector<Tensor>& tensors, const Selection& selection,
                                         const std::vector<std::string>& dropped,
                                         const ListedNames& listed = {}) {
  std::vector<PackedTensor> packed = choose_tensors(tensors, selection, dropped, listed);
  cast_tensors(packed, selection, listed);
  rename_tensors(packed, selection.rename);
  return packed;
}

std::vector<std::string> names_of(const Selection& selection, const std::vector<std::string>& dropped = {}) {
  std::vector<std::string> names;
  for (const PackedTensor& tensor : select_tensors(kTensors, selection, dropped))
    names.push_back(tensor.output.name);
  return names;
}

std::optional<ErrorKind> error_of_selection(const Selection& selection) {
  return error_of([&] { select_tensors(kTensors, selection, {}); });
}

}  // namespace

TEST_CASE("select: globs, names and dropped names, in the order of the input") {
  using Names = std::vector<std::string>;
  CHECK(names_of({}) == Names{"a.weight", "a.bias", "ids", "scale"});
  Selection some;
  some.select = {Glob("ids"), Glob("a.*")};
  some.exclude = {Glob("*.bias")};
  CHECK(names_of(some) == Names{"a.weight", "ids"});
  Selection named;
  named.names = std::set<std::string>{"ids", "a.bias"};
  CHECK(names_of(named) == Names{"a.bias", "ids"});
  CHECK(names_of({}, {"ids", "scale"}) == Names{"a.weight", "a.bias"});
}

TEST_CASE("select: only floating tensors are cast, and the last pattern overrides the general type") {
  Selection selection;
  selection.dtype = Dtype::kBF16;
  selection.dtype_of = {
      {Glob("*bias"), Dtype::kF16}, {Glob("a.bias"), Dtype::kF64}, {Glob("ids"), Dtype::kF32}};
  const std::vector<PackedTensor> packed = select_tensors(kTensors, selection, {});
  CHECK(packed[0].output.dtype == Dtype::kBF16);
  CHECK(packed[0].output.size == 12);
  CHECK(packed[1].output.dtype == Dtype::kF64);
  CHECK(packed[1].output.size == 16);
  CHECK(packed[2].output.dtype == Dtype::kI64);
  CHECK(packed[3].output.dtype == Dtype::kF8E8M0);
}

TEST_CASE("select: what would lose something is refused") {
  Selection nothing;
  nothing.select = {Glob("zz*")};
  CHECK(error_of_selection(nothing) == ErrorKind::kRefused);
  Selection collision;
  collision.rename = {Rename("s/^a\\..*/a/")};
  CHECK(error_of_selection(collision) == ErrorKind::kRefused);
  Selection nameless;
  nameless.rename = {Rename("s/ids//")};
  CHECK(error_of_selection(nameless) == ErrorKind::kRefused);
  Selection reserved;
  reserved.rename = {Rename("s/ids/__metadata__/")};
  CHECK(error_of_selection(reserved) == ErrorKind::kRefused);
  Selection unknown;
  unknown.names = std::set<std::string>{"ids", "nobody"};
  CHECK(error_of_selection(unknown) == ErrorKind::kMalformed);
}

TEST_CASE("select: names count as the file has them and without what a wrapper added") {
  const ListedNames listed = {{"a.weight", "module.a.weight"}, {"a.bias", "module.a.bias"}};
  const auto take = [&](const Selection& selection) {
    std::vector<std::string> names;
    for (const PackedTensor& tensor : select_tensors(kTensors, selection, {}, listed))
      names.push_back(tensor.output.name);
    return names;
  };
  using Names = std::vector<std::string>;
  Selection by_listed, by_name, without, named, cast;
  by_listed.select = {Glob("module.a.*")};
  by_name.select = {Glob("a.*")};
  CHECK(take(by_listed) == Names{"a.weight", "a.bias"});
  CHECK(take(by_name) == Names{"a.weight", "a.bias"});
  without.exclude = {Glob("module.*")};
  CHECK(take(without) == Names{"ids", "scale"});
  named.names = std::set<std::string>{"module.a.bias", "a.weight"};
  CHECK(take(named) == Names{"a.weight", "a.bias"});
  named.names->insert("module.none");
  CHECK(error_of([&] { take(named); }) == ErrorKind::kMalformed);
  cast.dtype_of = {{Glob("module.a.bias"), Dtype::kF16}};
  CHECK(select_tensors(kTensors, cast, {}, listed)[1].output.dtype == Dtype::kF16);
  CHECK(unmatched_globs({"a.weight", "a.bias"}, cast, listed).empty());
}

TEST_CASE("select: globs and rules that match nothing are named") {
  Selection selection;
  selection.select = {Glob("a.*"), Glob("z*")};
  selection.exclude = {Glob("ids"), Glob("y*")};
  selection.dtype_of = {{Glob("*bias"), Dtype::kF16}, {Glob("x*"), Dtype::kF64}};
  selection.rename = {Rename("s/^a/b/"), Rename("s/^b/c/"), Rename("s/ids/w/"), Rename("s/c/c/")};
  const std::vector<std::string> names = {"a.weight", "a.bias", "ids"};
  CHECK(unmatched_globs(names, selection) == std::vector<std::string>{"--select 'z*' matches no tensor",
                                                                      "--exclude 'y*' matches no tensor",
                                                                      "--dtype 'x*=f64' matches no tensor"});
  CHECK(unmatched_globs(names, {}).empty());
  CHECK(unmatched_renames({"a.weight", "a.bias", "id"}, selection.rename) ==
        std::vector<std::string>{"--rename 's/ids/w/' matches no tensor"});
}

TEST_CASE("select: a tensor made of others has one type") {
  const Tensor made = {"ab", Dtype::kF32, {8}, 0, 0, 32};
  std::vector<PackedTensor> tensors = {{&made, {"ab", Dtype::kF32, {8}, 32}, {&kTensors[0], &kTensors[1]}}};
  Selection one, both;
  one.dtype_of = {{Glob("a.bias"), Dtype::kF16}};
  both.dtype_of = {{Glob("a.*"), Dtype::kF16}};
  CHECK(error_of([&] { cast_tensors(tensors, one); }) == ErrorKind::kRefused);
  cast_tensors(tensors, both);
  CHECK(tensors[0].output.dtype == Dtype::kF16);
  CHECK(tensors[0].output.size == 16);
}

TEST_CASE("select: a tensor without a name is refused without a word about --rename") {
  const std::vector<Tensor> tensors = {{"", Dtype::kF32, {1}, 0, 0, 4}};
  try {
    select_tensors(tensors, {}, {});
    CHECK(false);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kRefused);
    CHECK(std::string(error.what()).find("--rename") == std::string::npos);
  }
}
