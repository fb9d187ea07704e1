// SPDX-License-Identifier: Apache-2.0
#include "weights/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::size_t kMaxHeader = 10'000;  // bytes; numpy refuses longer ones

constexpr std::array<std::pair<std::string_view, Dtype>, 13> kDescriptors = {{{"|b1", Dtype::kBool},
                                                                              {"|i1", Dtype::kI8},
                                                                              {"|u1", Dtype::kU8},
                                                                              {"<i2", Dtype::kI16},
                                                                              {"<u2", Dtype::kU16},
                                                                              {"<i4", Dtype::kI32},
                                                                              {"<u4", Dtype::kU32},
                                                                              {"<i8", Dtype::kI64},
                                                                              {"<u8", Dtype::kU64},
                                                                              {"<f2", Dtype::kF16},
                                                                              {"<f4", Dtype::kF32},
                                                                              {"<f8", Dtype::kF64},
                                                                              {"<c8", Dtype::kC64}}};

struct NpyHeader {
  std::string descr;
  bool fortran_order = false;
  std::vector<std::uint64_t> shape;
};

// Reads the dict literal, and nothing else of Python.
class DictParser {
 public:
  explicit DictParser(std::string_view text) : text_(text) {}

  NpyHeader parse() {
    NpyHeader header;
    unsigned seen = 0;
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr") {
        header.descr = string();
        seen |= 1U;
      } else if (key == "fortran_order") {
        header.fortran_order = boolean();
        seen |= 2U;
      } else if (key == "shape") {
        header.shape = tuple();
        seen |= 4U;
      } else {
        throw malformed("the .npy header has an unknown key '" + escape_name(key) + "'");
      }
      if (!take(',')) {
        expect('}');
        break;
      }
    }
    if (seen != 7U) throw malformed("the .npy header lacks descr, fortran_order or shape");
    if (!trim(text_.substr(at_)).empty()) throw malformed("something follows the dict of the .npy header");
    return header;
  }

 private:
  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t')) ++at_;
  }
  bool take(char c) {
    blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) throw malformed(fmt::format("the .npy header has no '{}' at character {}", c, at_));
  }
  std::string string() {
    blanks();
    const char quote = at_ < text_.size() ? text_[at_] : '\0';
    if (quote == '[' || quote == '(') throw malformed("structured arrays are not supported");
    if (quote != '\'' && quote != '"') throw malformed("the .npy header has no text where one is expected");
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) throw malformed("a text in the .npy header has no end");
    std::string out(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return out;
  }
  bool boolean() {
    blanks();
    for (const auto& [word, truth] : {std::pair<std::string_view, bool>{"True", true}, {"False", false}}) {
      if (text_.substr(at_, word.size()) != word) continue;
      at_ += word.size();
      return truth;
    }
    throw malformed("fortran_order is neither True nor False");
  }
  std::vector<std::uint64_t> tuple() {
    std::vector<std::uint64_t> items;
    expect('(');
    while (!take(')')) {
      blanks();
      std::uint64_t value = 0;
      const char* const end = text_.data() + text_.size();
      const std::from_chars_result parsed = std::from_chars(text_.data() + at_, end, value);
      if (parsed.ec != std::errc())
        throw malformed("the shape in the .npy header is no tuple of whole numbers");
      at_ = static_cast<std::size_t>(parsed.ptr - text_.data());
      take('L');  // Python 2's long
      items.push_back(value);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return items;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

Dtype dtype_of(const std::string& descr) {
  std::string normal = descr;
  if (normal.size() == 3 && (normal[0] == '=' || (normal[0] == '|' && normal[2] != '1'))) normal[0] = '<';
  if (normal.size() == 3 && normal[2] == '1') normal[0] = '|';
  for (const auto& [name, dtype] : kDescriptors) {
    if (name == normal) return dtype;
  }
  const std::string_view kind = std::string_view(normal).substr(std::min<std::size_t>(1, normal.size()));
  if (kind.starts_with("O")) throw malformed("it holds Python objects, which are never unpickled");
  if (normal.starts_with(">"))
    throw malformed("big-endian arrays are not supported").hint("save it in native order");
  throw malformed("an array of type '" + escape_name(descr) + "' has no place in safetensors");
}

// Length of the text and where it begins.
std::pair<std::size_t, std::size_t> header_extent(std::span<const std::byte> start) {
  ByteReader reader(start);
  if (as_text(reader.take(kMagic.size())) != kMagic) throw malformed("this is no .npy file");
  const auto major = reader.take_le<std::uint8_t>();
  reader.take(1);
  if (major < 1 || major > 3) throw malformed(fmt::format(".npy version {} is unknown", major));
  const std::size_t length = major == 1 ? reader.take_le<std::uint16_t>() : reader.take_le<std::uint32_t>();
  if (length > kMaxHeader)
    throw malformed(fmt::format("the .npy header has {} bytes, more than {}", length, kMaxHeader));
  return {reader.offset(), length};
}

Weights read_npy(InputFile input, std::string_view name) {
  std::vector<std::byte> start(
      static_cast<std::size_t>(std::min<std::uint64_t>(input.size(), kMaxHeader + 12)));
  input.read_at(0, start);
  const auto [begin, length] = header_extent(start);
  if (begin + length > start.size()) throw malformed("the file ends inside its header");
  const NpyHeader header = DictParser(as_text(std::span(start).subspan(begin, length))).parse();
  const Dtype dtype = dtype_of(header.descr);
  const auto long_sides =
      std::count_if(header.shape.begin(), header.shape.end(), [](std::uint64_t n) { return n != 1; });
  if (header.fortran_order && long_sides > 1) {
    throw malformed("arrays in Fortran order are not supported").hint("save numpy.ascontiguousarray of it");
  }
  const ByteSize size = tensor_bytes(dtype, header.shape);
  const std::uint64_t available = input.size() - (begin + length);
  if (size.status != ByteSizeStatus::kOk || size.bytes > available) {
    throw malformed(
        fmt::format("the array needs more than the {} that follow the header", plural(available, "byte")));
  }
  Weights weights;
  weights.tensors.push_back({std::string(name), dtype, header.shape, 0, begin + length, size.bytes});
  const std::string path = input.path();
  const std::uint64_t file_size = input.size();
  weights.files.push_back({.name = path,
                           .file = std::move(input),
                           .size = file_size,
                           .data_begin = begin + length,
                           .metadata = {}});
  return weights;
}

}  // namespace

Weights open_npy(const std::string& path, std::string_view name) {
  try {
    return read_npy(InputFile(path), name);
  } catch (Error& error) {
    throw error.in_file(escape_name(path));
  }
}

std::string npy_prefix(const Tensor& tensor) {
  const auto found = std::find_if(kDescriptors.begin(), kDescriptors.end(),
                                  [&tensor](const auto& entry) { return entry.second == tensor.dtype; });
  if (found == kDescriptors.end()) {
    throw refused(fmt::format("NumPy has no type for {}", name(tensor.dtype))).hint("add --dtype f32");
  }
  if (tensor.shape.size() > 64) throw refused("NumPy arrays have at most 64 dimensions");
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': (", found->first);
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    dict += fmt::format("{}{}", i > 0 ? ", " : "", tensor.shape[i]);
  }
  dict += tensor.shape.size() == 1 ? ",), }" : "), }";
  // Room for the first dimension to grow to 21 digits, then blanks and a newline to a multiple of 64.
  const std::size_t first_digits = tensor.shape.empty() ? 0 : std::to_string(tensor.shape[0]).size();
  if (!tensor.shape.empty()) dict.append(21 - first_digits, ' ');
  const std::size_t unpadded = kMagic.size() + 4 + dict.size() + 1;
  dict.append((64 - unpadded % 64) % 64, ' ');
  dict += '\n';
  std::string out(kMagic);
  out += '\x01';
  out += '\0';
  out += static_cast<char>(dict.size() & 0xFF);
  out += static_cast<char>(dict.size() >> 8);
  return out + dict;
}

}  // namespace mu
