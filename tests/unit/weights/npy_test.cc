// SPDX-License-Identifier: Apache-2.0
#include "weights/npy.h"

#include <doctest/doctest.h>

#include "base/bytes.h"
#include "testing.h"
#include "weights/layout.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string npy(const std::string& dict, const std::string& data, char major = 1) {
  std::string out = "\x93NUMPY";
  out += major;
  out += '\0';
  out += static_cast<char>(dict.size() & 0xFF);
  out += static_cast<char>(dict.size() >> 8);
  if (major > 1) out += std::string(2, '\0');
  return out + dict + data;
}

Weights open_npy(const std::string& path, std::string name) {
  Weights weights;
  add_npy(weights, InputFile(path), std::move(name));
  return weights;
}

std::optional<ErrorKind> error_of_npy(const std::string& bytes) {
  const TempFolder folder;
  put(folder / "x.npy", bytes);
  return error_of([&] { open_npy(folder / "x.npy", "x"); });
}

}  // namespace

TEST_CASE("npy: arrays that numpy writes") {
  const TempFolder folder;
  for (const char major : {char{1}, char{2}, char{3}}) {
    put(folder / "x.npy", npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          \n",
                              std::string(24, 'x'), major));
    const Weights weights = open_npy(folder / "x.npy", "name");
    CHECK(weights.tensors[0].name == "name");
    CHECK(weights.tensors[0].dtype == Dtype::kF32);
    CHECK(weights.tensors[0].shape == std::vector<std::uint64_t>{2, 3});
  }
  for (const char* dict : {"{'shape': (), \"descr\": \"|i1\", 'fortran_order': False}",
                           "{'descr': '<i8', 'fortran_order': True, 'shape': (1,),}\n",
                           "{'descr': '|u1', 'fortran_order': False, 'shape': (3L,)}"}) {
    CAPTURE(dict);
    CHECK_FALSE(error_of_npy(npy(dict, std::string(8, 'x'))).has_value());
  }
}

TEST_CASE("npy: what safetensors can't hold is refused") {
  const std::string data(64, 'x');
  for (const char* dict :
       {"{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 18446744073709551615)}",
        "{'descr': '<U4611686018427387905', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False}", "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}", "__import__('os').system('x')",
        "{'descr", ""}) {
    CAPTURE(dict);
    CHECK(error_of_npy(npy(dict, data)) == ErrorKind::kMalformed);
  }
  std::string dims;
  for (int i = 0; i < 65; ++i) dims += "1,";
  CHECK(error_of_npy(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + dims + ")}", data)) ==
        ErrorKind::kMalformed);
  // Python 2's long numbers ended with version 2.
  const std::string with_long = "{'descr': '|u1', 'fortran_order': False, 'shape': (3L,)}";
  CHECK_FALSE(error_of_npy(npy(with_long, data, 2)).has_value());
  CHECK(error_of_npy(npy(with_long, data, 3)) == ErrorKind::kMalformed);
  CHECK(error_of_npy("") == ErrorKind::kMalformed);
  CHECK(error_of_npy("\x93NUMPY") == ErrorKind::kMalformed);
  CHECK(error_of_npy(npy(std::string(20'000, ' '), "")) == ErrorKind::kMalformed);
  CHECK(error_of_npy(npy("{}", "", 9)) == ErrorKind::kMalformed);
}

TEST_CASE("npy: Fortran order and big-endian numbers are read row-major and little-endian") {
  const TempFolder folder;
  put(folder / "x.npy", npy("{'descr': '>u2', 'fortran_order': True, 'shape': (2, 3)}",
                            std::string("\0\1\0\2\0\3\0\4\0\5\0\6", 12)));
  const Weights weights = open_npy(folder / "x.npy", "x");
  std::vector<std::byte> all(12);
  weights.read(weights.tensors[0], 0, all);
  // Columns were stored: (1 2) (3 4) (5 6).
  CHECK(as_text(all) == std::string_view("\1\0\3\0\5\0\2\0\4\0\6\0", 12));
  std::vector<std::byte> middle(3);
  weights.read(weights.tensors[0], 5, middle);
  CHECK(as_text(middle) == std::string_view("\0\2\0", 3));
}

TEST_CASE("npy: types that safetensors lacks are described") {
  const TempFolder folder;
  for (const auto& [descr, bytes] :
       {std::pair<std::string, std::uint64_t>{"<U3", 24}, {"<c16", 32}, {"|S4", 8}}) {
    CAPTURE(descr);
    put(folder / "x.npy",
        npy("{'descr': '" + descr + "', 'fortran_order': False, 'shape': (2,)}", std::string(64, 'x')));
    const Weights weights = open_npy(folder / "x.npy", "x");
    CHECK(weights.tensors[0].dtype == Dtype::kForeign);
    CHECK(type_text(weights.tensors[0]) == descr);
    CHECK(weights.tensors[0].size == bytes);
  }
}

TEST_CASE("npy: the written start is numpy's") {
  // numpy.save(numpy.zeros((2, 3), "<f4")), numpy 2.4.
  const std::string prefix = npy_prefix({"t", Dtype::kF32, {2, 3}, 0, 0, 24});
  CHECK(prefix ==
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" + std::string(58, ' ') + "\n", ""));
  CHECK(prefix.size() == 128);
  CHECK(npy_prefix({"t", Dtype::kF32, {3}, 0, 0, 12}).find("'shape': (3,), }") != std::string::npos);
  CHECK(npy_prefix({"t", Dtype::kF32, {}, 0, 0, 4}).find("'shape': (), }") != std::string::npos);
  CHECK(error_of([] { npy_prefix({"t", Dtype::kBF16, {2}, 0, 0, 4}); }) == ErrorKind::kRefused);
}
