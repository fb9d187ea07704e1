// SPDX-License-Identifier: Apache-2.0
// A .npy file is a magic, a version, the length of a header, the header and the data. The header is the text
// of a Python dict with three keys: `descr` names the element type, `fortran_order` the order of the
// dimensions, `shape` the dimensions. Python evaluates that text; here a parser accepts these three keys and
// nothing else of the language.
//
// The descriptor says size and byte order. An array in C order and little-endian is a plain tensor; Fortran
// order becomes strides and big-endian a flag of a layout, so the data are read where they lie. Types that
// safetensors lacks are described as foreign. An array of Python objects is a pickle, and is refused.
//
// In an .npz, every member of the zip archive is such a file, stored or deflated, and only its first bytes
// are read when it is opened: the header is at most kMaxHeader long. A damaged array is a finding, so that
// the others can be listed.
//
// Writing gives the bytes that numpy.save writes, so that files can be compared.
#include "weights/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "weights/archive/zip.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr std::size_t kMaxHeader = 10'000;   // bytes; numpy refuses longer ones
constexpr std::size_t kMaxDims = 64;         // as numpy 2
constexpr std::size_t kMaxArrays = 300'000;  // of one archive

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
  // `long_suffix`: numbers may end in 'L', as Python 2 wrote them.
  DictParser(std::string_view text, bool long_suffix) : text_(text), long_suffix_(long_suffix) {}

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
    if (end == std::string_view::npos) throw malformed("unterminated text in the .npy header");
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
        throw malformed("the shape in the .npy header is not a tuple of whole numbers");
      at_ = static_cast<std::size_t>(parsed.ptr - text_.data());
      if (long_suffix_) take('L');
      items.push_back(value);
      if (!take(',')) {
        expect(')');
        break;
      }
    }
    return items;
  }

  std::string_view text_;
  bool long_suffix_;
  std::size_t at_ = 0;
};

struct ElementType {
  Dtype dtype = Dtype::kForeign;
  std::string foreign{};  // the descriptor, where safetensors has no such type
  std::uint64_t bytes = 0;
  bool swap = false;
};

ElementType type_of(const std::string& descr) {
  ElementType type;
  std::string normal = descr;
  if (normal.size() < 2) throw malformed("the array's type '" + escape_name(descr) + "' is unknown");
  if (normal.substr(1).starts_with("O") || normal[0] == 'O')
    throw malformed("it holds Python objects, which are never unpickled");
  type.swap = normal[0] == '>';
  if (normal[0] == '=' || normal[0] == '>' || (normal[0] == '|' && normal.size() == 3 && normal[2] != '1'))
    normal[0] = '<';
  if (normal.size() == 3 && normal[2] == '1') normal[0] = '|';
  for (const auto& [name, dtype] : kDescriptors) {
    if (name != normal) continue;
    type.dtype = dtype;
    type.bytes = bits(dtype) / 8;
    type.swap = type.swap && type.bytes > 1;
    return type;
  }
  // Texts, times, complex128 …: described, with the size that the descriptor gives.
  const char* const digits = normal.data() + 2;
  const std::from_chars_result parsed = std::from_chars(digits, normal.data() + normal.size(), type.bytes);
  constexpr std::string_view kKinds = "SUMmVcf";
  if (parsed.ec != std::errc() || kKinds.find(normal[1]) == std::string_view::npos)
    throw malformed("the array's type '" + escape_name(descr) + "' is unknown");
  if (normal[1] == 'U') {
    const std::optional<std::uint64_t> bytes = checked_mul(type.bytes, 4);
    if (!bytes) throw malformed("the array's type '" + escape_name(descr) + "' is unknown");
    type.bytes = *bytes;
  }
  type.foreign = descr;
  type.swap = false;
  return type;
}

// The text of the header: where it begins and how long it is.
struct HeaderExtent {
  std::size_t begin, length;
  unsigned version;
};
HeaderExtent header_extent(std::span<const std::byte> start) {
  ByteReader reader(start);
  if (as_text(reader.take(kMagic.size())) != kMagic) throw malformed("this is not a .npy file");
  const auto major = reader.take_le<std::uint8_t>();
  reader.take(1);
  if (major < 1 || major > 3) throw malformed(fmt::format(".npy version {} is unknown", major));
  const std::size_t length = major == 1 ? reader.take_le<std::uint16_t>() : reader.take_le<std::uint32_t>();
  if (length > kMaxHeader)
    throw malformed(fmt::format("the .npy header has {} bytes, more than {}", length, kMaxHeader));
  return {reader.offset(), length, major};
}

// Where an array's bytes lie.
struct Place {
  std::uint32_t source;
  std::uint64_t offset;  // of the .npy magic, in the file or in `inflated`
  std::uint64_t size;    // bytes of the .npy, header included
  std::shared_ptr<InflatedMember> inflated{};
};

// `start` holds the first bytes of the array's .npy.
Tensor read_array(std::span<const std::byte> start, const Place& place, std::string name) {
  const auto [begin, length, version] = header_extent(start);
  if (begin + length > start.size()) throw malformed("it ends inside its header");
  const NpyHeader header = DictParser(as_text(start.subspan(begin, length)), version < 3).parse();
  if (header.shape.size() > kMaxDims)
    throw malformed(fmt::format("the array has {} dimensions, more than {}", header.shape.size(), kMaxDims));
  const ElementType type = type_of(header.descr);
  const std::optional<std::uint64_t> count = element_count(header.shape);
  const std::optional<std::uint64_t> bytes = count ? checked_mul(*count, type.bytes) : std::nullopt;
  const std::uint64_t available = place.size - (begin + length);
  if (!bytes || *bytes > available)
    throw malformed(
        fmt::format("the array needs more than the {} that follow the header", plural(available, "byte")));
  if (place.inflated && *bytes != available)
    throw malformed(fmt::format("the array has {} bytes, its member {}", *bytes, available));
  Tensor tensor{std::move(name), type.dtype, header.shape, place.source, place.offset + begin + length,
                *bytes};
  std::vector<std::uint64_t> strides = row_major_strides(header.shape);
  if (header.fortran_order) {
    std::uint64_t stride = 1;
    for (std::size_t i = 0; i < strides.size(); ++i) {
      strides[i] = stride;
      stride *= header.shape[i];
    }
  }
  const bool plain = is_row_major(header.shape, strides) && !type.swap && !place.inflated;
  if (plain && type.dtype != Dtype::kForeign) return tensor;
  Layout layout;
  layout.type = type.foreign;
  layout.element_bytes = type.bytes;
  layout.shape = header.shape;
  layout.swap_bytes = type.swap;
  layout.inflated = place.inflated;
  layout.boxes.push_back({place.source, tensor.offset, std::vector<std::uint64_t>(strides.size(), 0),
                          header.shape, std::move(strides)});
  tensor.layout = std::make_shared<Layout>(std::move(layout));
  return tensor;
}

std::vector<std::byte> first_bytes(const Place& place, const InputFile& file) {
  std::vector<std::byte> start(
      static_cast<std::size_t>(std::min<std::uint64_t>(place.size, kMaxHeader + 12)));
  if (place.inflated) {
    place.inflated->read_at(0, start);
  } else {
    file.read_at(place.offset, start);
  }
  return start;
}

void add_file(Weights& weights, InputFile file, std::uint64_t data_begin) {
  const std::string path = file.path();
  const std::uint64_t size = file.size();
  weights.files.push_back(
      {.name = path, .file = std::move(file), .size = size, .data_begin = data_begin, .metadata = {}});
}

constexpr std::string_view kSuffix = ".npy";

std::string without_suffix(std::string_view name) {
  return std::string(name.substr(0, name.size() - kSuffix.size()));
}

}  // namespace

bool is_npy_start(std::string_view start) {
  return start.starts_with(kMagic);
}

bool is_npz_start(std::string_view start, std::string_view path) {
  constexpr std::size_t kName = 30, kLength = 26;  // offsets in a local header
  if (!start.starts_with("PK\x03\x04") && !start.starts_with("PK\x05\x06")) return false;
  if (path.ends_with(".npz")) return true;
  if (start.size() < kName) return false;
  const auto length = load_le<std::uint16_t>(as_bytes(start).data() + kLength);
  return start.substr(kName, length).ends_with(kSuffix);
}

void add_npy(Weights& weights, InputFile file, std::string name) {
  in_file(file.path(), [&] {
    const Place place{static_cast<std::uint32_t>(weights.files.size()), 0, file.size()};
    Tensor tensor = read_array(first_bytes(place, file), place, std::move(name));
    const std::uint64_t data_begin = tensor.offset;
    if (tensor.offset + tensor.size < file.size())
      weights.findings.add(
          {"NP-TRAILING", Level::kSpec, true,
           fmt::format("{} bytes follow the array", file.size() - tensor.offset - tensor.size), file.path()});
    weights.tensors.push_back(std::move(tensor));
    add_file(weights, std::move(file), data_begin);
  });
}

namespace {

void add_arrays(Weights& weights, const InputFile& file) {
  const auto source = static_cast<std::uint32_t>(weights.files.size());
  const ZipArchive zip(file, 0, file.size(), weights.findings);
  for (const ZipEntry& entry : zip.entries()) {
    if (!entry.name.ends_with(kSuffix)) {
      if (!entry.is_folder())
        weights.findings.add({"NP-MEMBER", Level::kSpec, true,
                              "the member '" + escape_name(entry.name) + "' is not an array and is left out",
                              file.path()});
      continue;
    }
    try {
      Place place{source, 0, entry.size};
      if (entry.method == 0) {
        place.offset = zip.data_offset(entry);
      } else {
        place.inflated = zip.inflated(entry);
      }
      weights.tensors.push_back(read_array(first_bytes(place, file), place, without_suffix(entry.name)));
      if (place.inflated) place.inflated->rest();
      if (weights.tensors.size() > kMaxArrays)
        throw malformed(fmt::format("it holds more than {} arrays", group_digits(kMaxArrays)));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      weights.findings.add({"NP-ARRAY", Level::kLoads, false,
                            fmt::format("array '{}': {}", escape_name(entry.name), error.message()),
                            file.path()});
    }
  }
}

}  // namespace

void add_npz(Weights& weights, InputFile file) {
  in_file(file.path(), [&] {
    add_arrays(weights, file);
    add_file(weights, std::move(file), 0);
  });
}

std::string npy_prefix(const Tensor& tensor) {
  const auto found = std::find_if(kDescriptors.begin(), kDescriptors.end(),
                                  [&tensor](const auto& entry) { return entry.second == tensor.dtype; });
  if (found == kDescriptors.end()) {
    throw refused(fmt::format("NumPy has no type for {}", name(tensor.dtype))).hint("add --dtype f32");
  }
  if (tensor.shape.size() > kMaxDims)
    throw refused(fmt::format("NumPy arrays have at most {} dimensions", kMaxDims));
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
