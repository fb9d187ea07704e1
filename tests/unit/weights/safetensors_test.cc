// SPDX-License-Identifier: Apache-2.0
#include "weights/safetensors.h"

#include <doctest/doctest.h>

#include <random>

#include "base/text.h"
#include "hash/sha256.h"
#include "testing.h"
#include "weights/digest.h"
#include "weights/open/open.h"
#include "weights/sniff.h"
#include "weights/weights.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(as_bytes(text));
  return to_hex(hash.finish());
}

std::string write_zeros(const std::vector<TensorSpec>& specs, const std::optional<Metadata>& metadata) {
  const std::vector<std::size_t> order = safetensors_order(specs);
  std::string file = safetensors_prefix(specs, order, metadata);
  for (const TensorSpec& spec : specs) file.append(spec.size, '\0');
  return file;
}

}  // namespace

TEST_CASE("safetensors: written bytes are the reference's") {
  CHECK(sha256_hex(write_zeros({}, std::nullopt)) ==
        "9bbcbf73561f6bc5d0a17ea6a2081feed2d1304e87602d8c502d9a5c4bd85576");
  std::vector<TensorSpec> each;
  for (std::size_t i = 0; i < kDtypes; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    each.push_back(
        {"t" + std::string(i < 10 ? "0" : "") + std::to_string(i), dtype, {2, 2}, bits(dtype) / 2});
  }
  CHECK(sha256_hex(write_zeros(each, std::nullopt)) ==
        "fb66c516a1ba3682d05e86376e314a870182045bab8c03195a89b1dcaf24d924");
  std::vector<TensorSpec> odd;
  for (const std::string& name :
       {std::string("b"), std::string("a\"b"), std::string(""), std::string("B"),
        std::string("a\x01"
                    "b"),
        std::string("a\tb"), std::string("a.10"), std::string("a.9"), std::string("a/b"), std::string("a\\b"),
        std::string("a\x7F"
                    "b"),
        std::string("a\u2028b"), std::string("é"), std::string("😀")}) {
    odd.push_back({name, Dtype::kU8, {0}, 0});
  }
  odd.push_back({"a", Dtype::kU8, {0}, 0});
  CHECK(sha256_hex(write_zeros(odd, Metadata{{"format", "pt"}})) ==
        "848c7fdc36d48899b849a6acf967ff881f3edbc580dca6acffc7f0559d8e3ca4");
}

TEST_CASE("safetensors: written files read back, and writing them again changes nothing") {
  std::mt19937 random(11);
  const TempFolder folder;
  for (int round = 0; round < 50; ++round) {
    std::vector<TensorSpec> specs;
    for (unsigned i = 0; i < random() % 20; ++i) {
      const auto dtype = static_cast<Dtype>(random() % kDtypes);
      const std::vector<std::uint64_t> shape = {random() % 4, 4 * (random() % 3)};
      specs.push_back({"t." + std::to_string(i), dtype, shape, tensor_bytes(dtype, shape).bytes});
    }
    const Metadata metadata = {{"format", "pt"}, {"k\n", "v\""}};
    put(folder / "f.safetensors", write_zeros(specs, metadata));
    const Weights weights = open_weights(folder / "f.safetensors");
    CHECK(weights.findings.list().empty());
    CHECK(*weights.files[0].metadata == metadata);
    REQUIRE(weights.tensors.size() == specs.size());
    std::vector<TensorSpec> again;
    for (const Tensor& tensor : weights.tensors)
      again.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.size});
    CHECK(write_zeros(again, metadata) == get(folder / "f.safetensors"));
  }
}

TEST_CASE("safetensors: cut at any byte it does not load, and the message says how") {
  const TempFolder folder;
  const std::string whole =
      write_zeros({{"a", Dtype::kF32, {2, 2}, 16}, {"b", Dtype::kU8, {3}, 3}}, Metadata{{"format", "pt"}});
  for (std::size_t size = 0; size < whole.size(); ++size) {
    put(folder / "cut", whole.substr(0, size));
    const Weights weights = open_weights(folder / "cut");
    REQUIRE(weights.findings.first_up_to(Level::kLoads) != nullptr);
    CHECK(error_of([&] { weights.findings.throw_if_unloadable(); }) == ErrorKind::kMalformed);
    const std::string_view rule = weights.findings.first_up_to(Level::kLoads)->rule;
    CHECK(rule == (size < whole.size() - 19 ? "ST-LEN" : "ST-SIZE"));
  }
}

TEST_CASE("safetensors: with any bit flipped it loads only if the tensors still tile the file") {
  const TempFolder folder;
  const std::string whole =
      write_zeros({{"a", Dtype::kF32, {2, 2}, 16}, {"b", Dtype::kU8, {3}, 3}}, std::nullopt);
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    put(folder / "flipped", flipped);
    const Weights weights = open_weights(folder / "flipped");
    if (weights.findings.first_up_to(Level::kLoads) != nullptr) continue;
    std::uint64_t cursor = weights.files[0].data_begin;
    for (const Tensor& tensor : weights.tensors) {
      CHECK(tensor.offset == cursor);
      CHECK(tensor_bytes(tensor.dtype, tensor.shape).bytes == tensor.size);
      cursor += tensor.size;
    }
    CHECK(cursor == flipped.size());
  }
}

TEST_CASE("safetensors: a million tensors on one range give a hundred findings") {
  std::string header = "{";
  for (int i = 0; i < 20'000; ++i)
    header += "\"" + std::to_string(i) + R"(":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)";
  header.back() = '}';
  Findings findings;
  parse_safetensors_header(header, "f", findings);
  CHECK(findings.count("ST-OVERLAP") == 19'999);
  CHECK(findings.list().size() <= 2 * Findings::kKept);
}

TEST_CASE("sniff: files of other kinds are named") {
  CHECK(describe_foreign_file("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 4976698672\n")
            ->find("4.977 GB") != std::string::npos);
  CHECK(describe_foreign_file("  \n<!DOCTYPE html><html>")->find("web page") != std::string::npos);
  CHECK(describe_foreign_file("PK\x03\x04")->find("zip") != std::string::npos);
  CHECK_FALSE(describe_foreign_file("\x10\0\0\0\0\0\0\0{}").has_value());
}

TEST_CASE("digest: it is what its definition says") {
  const std::string data = "\x01\x02\x03\x04\x05\x06";
  const std::string hash = tensor_hash("U8", {2, 3}, 6, [&](std::uint64_t at, std::span<std::byte> out) {
    std::copy_n(as_bytes(data).begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  });
  CHECK(hash == sha256_hex(std::string("U8\0"
                                       "2,3\0",
                                       7) +
                           data));
  CHECK(content_digest({{"b", "22"}, {"a", "11"}}) == sha256_hex("st-content-1\na\t11\nb\t22\n"));
}
