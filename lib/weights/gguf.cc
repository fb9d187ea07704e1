// SPDX-License-Identifier: Apache-2.0
// Reads the header of a GGUF file in one pass forward: magic and version, key/values, the list of tensors;
// the data begin at the next multiple of the alignment. The byte order shows in the version, which is small:
// read in the wrong order, its low half is zero. Values of metadata are kept as text, and what the header
// says of a tensor becomes a description; no data are read.
//
// Offsets of tensors count from the data section, whose place is known only when the header has ended, so
// each tensor is checked against the file in a second step (`place`). A type that this program does not know
// has no size: its tensor reaches as far as the next one.
//
// Nothing that a header counts is believed: a count must fit the bytes that are left, a text its ceiling, and
// long arrays (vocabularies) are counted and skipped, not kept. Values are cut, and cut shorter when there
// are many, so that memory stays within a few times kKeptTogether.
#include "weights/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <iterator>
#include <optional>
#include <unordered_set>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "weights/layout.h"

namespace mu {
namespace {

// The ceilings of the JavaScript reader (@huggingface/gguf), which the Hub runs on every file, but of tensors
// fewer, since llama.cpp makes some thousands.
constexpr std::uint64_t kMaxPairs = 100'000, kMaxTensors = 200'000, kMaxString = 10'000'000, kMaxKey = 65'535;
constexpr std::uint64_t kMaxDims = 8, kMaxArrayDepth = 4;  // ggml's tensors have 4 dimensions at most
constexpr std::uint64_t kMaxItems = 10'000'000;   // texts and arrays in arrays; vocabularies have a million
constexpr std::size_t kKeptBytes = 4096;          // of a value
constexpr std::size_t kKeptTogether = 16U << 20;  // bytes of all values, before they are kept shorter
constexpr std::size_t kKeptShort = 64;            // bytes of a value then
constexpr std::size_t kKeptItems = 8;             // of an array
constexpr std::size_t kWindow = 1U << 20;         // bytes read at once

struct GgmlType {
  std::uint32_t id;
  std::string_view name;
  std::uint64_t block, bytes;  // elements and bytes of a block
  Dtype dtype = Dtype::kForeign;
};
constexpr std::array kTypes = std::to_array<GgmlType>({
    {0, "f32", 1, 4, Dtype::kF32},
    {1, "f16", 1, 2, Dtype::kF16},
    {2, "q4_0", 32, 18},
    {3, "q4_1", 32, 20},
    {6, "q5_0", 32, 22},
    {7, "q5_1", 32, 24},
    {8, "q8_0", 32, 34},
    {9, "q8_1", 32, 36},
    {10, "q2_k", 256, 84},
    {11, "q3_k", 256, 110},
    {12, "q4_k", 256, 144},
    {13, "q5_k", 256, 176},
    {14, "q6_k", 256, 210},
    {15, "q8_k", 256, 292},
    {16, "iq2_xxs", 256, 66},
    {17, "iq2_xs", 256, 74},
    {18, "iq3_xxs", 256, 98},
    {19, "iq1_s", 256, 50},
    {20, "iq4_nl", 32, 18},
    {21, "iq3_s", 256, 110},
    {22, "iq2_s", 256, 82},
    {23, "iq4_xs", 256, 136},
    {24, "i8", 1, 1, Dtype::kI8},
    {25, "i16", 1, 2, Dtype::kI16},
    {26, "i32", 1, 4, Dtype::kI32},
    {27, "i64", 1, 8, Dtype::kI64},
    {28, "f64", 1, 8, Dtype::kF64},
    {29, "iq1_m", 256, 56},
    {30, "bf16", 1, 2, Dtype::kBF16},
    {34, "tq1_0", 256, 54},
    {35, "tq2_0", 256, 66},
    {39, "mxfp4", 32, 17},
    {40, "nvfp4", 64, 36},
    {41, "q1_0", 128, 18},
});

constexpr std::array<std::uint64_t, 13> kValueBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
constexpr std::uint32_t kString = 8, kArray = 9;

// Reads forward through a window; arrays that are only counted are skipped without being read.
class Reader {
 public:
  explicit Reader(const InputFile& file) : file_(file) {}

  bool swap = false;
  bool wide = true;  // counts have 64 bits (since version 2)

  [[nodiscard]] std::uint64_t at() const { return at_; }
  [[nodiscard]] std::uint64_t left() const { return file_.size() - at_; }

  template <typename T>
  T number() {
    T value = load_le<T>(need(sizeof(T)));
    at_ += sizeof(T);
    if (swap && sizeof(T) > 1) {
      std::byte bytes[sizeof(T)];
      std::memcpy(bytes, &value, sizeof(T));
      std::reverse(std::begin(bytes), std::end(bytes));
      std::memcpy(&value, bytes, sizeof(T));
    }
    return value;
  }
  std::uint64_t count() { return wide ? number<std::uint64_t>() : number<std::uint32_t>(); }

  // A text of at most `most` bytes, of which `keep` are returned.
  std::string text(std::uint64_t most, std::uint64_t keep, std::string_view what) {
    const std::uint64_t length = count();
    if (length > most) throw malformed(fmt::format("a {} of {} bytes", what, length));
    if (length > left()) throw cut();
    const std::uint64_t kept = std::min(length, keep);
    std::string out(static_cast<std::size_t>(kept), '\0');
    file_.read_at(at_, std::as_writable_bytes(std::span(out)));
    at_ += length;
    return out;
  }
  void skip(std::uint64_t bytes) {
    if (bytes > left()) throw cut();
    at_ += bytes;
  }

 private:
  Error cut() const { return malformed("the file ends inside its header").at(fmt::format("byte {}", at_)); }

  const std::byte* need(std::size_t bytes) {
    if (bytes > left()) throw cut();
    if (at_ < begin_ || at_ + bytes > begin_ + window_.size()) {
      begin_ = at_;
      window_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kWindow, left())));
      file_.read_at(begin_, window_);
    }
    return window_.data() + (at_ - begin_);
  }

  const InputFile& file_;
  std::vector<std::byte> window_;
  std::uint64_t begin_ = 0, at_ = 0;
};

std::string scalar(Reader& reader, std::uint32_t type) {
  switch (type) {
    case 0:
      return std::to_string(reader.number<std::uint8_t>());
    case 1:
      return std::to_string(reader.number<std::int8_t>());
    case 2:
      return std::to_string(reader.number<std::uint16_t>());
    case 3:
      return std::to_string(reader.number<std::int16_t>());
    case 4:
      return std::to_string(reader.number<std::uint32_t>());
    case 5:
      return std::to_string(reader.number<std::int32_t>());
    case 6:
      return fmt::format("{}", reader.number<float>());
    case 7:
      return reader.number<std::uint8_t>() != 0 ? "true" : "false";
    case kString:
      return reader.text(kMaxString, kKeptBytes + 1, "text");
    case 10:
      return std::to_string(reader.number<std::uint64_t>());
    case 11:
      return std::to_string(reader.number<std::int64_t>());
    case 12:
      return fmt::format("{}", reader.number<double>());
    default:
      throw malformed(fmt::format("value type {} is unknown", type)).at(fmt::format("byte {}", reader.at()));
  }
}

// `items` counts the texts and arrays seen inside arrays.
std::string value(Reader& reader, std::uint32_t type, std::uint64_t depth, std::uint64_t& items) {
  if (type != kArray) return scalar(reader, type);
  if (depth >= kMaxArrayDepth) throw malformed("its arrays are nested too deeply");
  const auto element = reader.number<std::uint32_t>();
  const std::uint64_t count = reader.count();
  if (element >= kValueBytes.size()) throw malformed(fmt::format("value type {} is unknown", element));
  constexpr std::uint64_t kLeastVaried = 4;  // a text of version 1
  const std::uint64_t least = std::max<std::uint64_t>(kValueBytes[element], 1);
  if (kValueBytes[element] == 0) {
    if (count > reader.left() / kLeastVaried || count > kMaxItems - items)
      throw malformed(fmt::format("an array counts {} values, more than are read", count));
    items += count;
  }
  if (count > reader.left() / least)
    throw malformed(fmt::format("an array counts {} values where {} bytes are left", count, reader.left()));
  std::string text = "[";
  for (std::uint64_t i = 0; i < count; ++i) {
    if (i >= kKeptItems && kValueBytes[element] > 0) {
      reader.skip((count - i) * kValueBytes[element]);
      break;
    }
    if (i >= kKeptItems && element == kString) {
      reader.skip(reader.count());
      continue;
    }
    const std::string item = value(reader, element, depth + 1, items);
    if (i >= kKeptItems || text.size() > kKeptBytes) continue;
    text += (i > 0 ? ", " : "") + (element == kString ? '"' + item + '"' : item);
  }
  if (count > kKeptItems) text += fmt::format(", … {} in all", count);
  return text + "]";
}

const GgmlType* find_type(std::uint32_t id) {
  const auto found =
      std::find_if(kTypes.begin(), kTypes.end(), [id](const GgmlType& type) { return type.id == id; });
  return found == kTypes.end() ? nullptr : &*found;
}

class GgufReader {
 public:
  GgufReader(Weights& weights, InputFile file)
      : weights_(weights),
        source_(static_cast<std::uint32_t>(weights.files.size())),
        file_(std::move(file)),
        reader_(file_) {}

  void read() {
    reader_.skip(4);
    auto version = reader_.number<std::uint32_t>();
    if ((version & 0xFFFFU) == 0) {
      reader_.swap = true;
      version = __builtin_bswap32(version);
    }
    if (version < 1 || version > 3) throw malformed(fmt::format("GGUF version {} is unknown", version));
    reader_.wide = version > 1;
    const std::uint64_t tensors = reader_.count();
    const std::uint64_t pairs = reader_.count();
    // Each takes at least its length, type and offset.
    if (tensors > std::min(kMaxTensors, reader_.left() / 24))
      throw malformed(fmt::format("it counts {} tensors, more than it can hold", tensors));
    if (pairs > std::min(kMaxPairs, reader_.left() / 8))
      throw malformed(fmt::format("it counts {} key/values, more than it can hold", pairs));
    Metadata metadata = {{"GGUF.version", std::to_string(version)}};
    for (std::uint64_t i = 0; i < pairs; ++i) read_pair(metadata);
    std::vector<Tensor> list;
    std::vector<const GgmlType*> types;
    std::unordered_set<std::string> names;
    for (std::uint64_t i = 0; i < tensors; ++i) {
      types.push_back(read_tensor(list));
      if (!names.insert(list.back().name).second)
        throw malformed("two tensors are called '" + escape_name(list.back().name) + "'");
    }
    const std::uint64_t data_begin = (reader_.at() + alignment_ - 1) / alignment_ * alignment_;
    place(list, types, data_begin);
    std::move(list.begin(), list.end(), std::back_inserter(weights_.tensors));
    const std::string name = file_.path();
    const std::uint64_t size = file_.size();
    weights_.files.push_back({.name = name,
                              .file = std::move(file_),
                              .size = size,
                              .data_begin = std::min(data_begin, size),
                              .metadata = std::move(metadata)});
    weights_.files.back().read_only =
        "GGUF files are read only: their names and layouts are those of llama.cpp";
  }

 private:
  void read_pair(Metadata& metadata) {
    const std::string key = reader_.text(kMaxKey, kMaxKey, "key");
    const auto type = reader_.number<std::uint32_t>();
    std::string text = value(reader_, type, 0, items_);
    if (key == "general.alignment") {
      const std::from_chars_result parsed =
          std::from_chars(text.data(), text.data() + text.size(), alignment_);
      if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || alignment_ == 0 ||
          alignment_ % 8 != 0 || alignment_ > (1U << 30))
        throw malformed("its alignment '" + escape_name(text) + "' is not a multiple of 8");
    }
    const std::size_t most = kept_ < kKeptTogether ? kKeptBytes : kKeptShort;
    if (text.size() > most) text = text.substr(0, most) + "…";
    kept_ += key.size() + text.size();
    if (kept_ > 2 * kKeptTogether) throw malformed("its key/values are too large together");
    if (!metadata.emplace(key, std::move(text)).second)
      weights_.findings.add(
          {"GG-DUP", Level::kSpec, false, "the key '" + escape_name(key) + "' appears twice", file_.path()});
  }

  // Appends a tensor whose offset still counts from the data section.
  const GgmlType* read_tensor(std::vector<Tensor>& list) {
    Tensor tensor{reader_.text(kMaxKey, kMaxKey, "name"), Dtype::kForeign, {}, source_, 0, 0};
    const auto dims = reader_.number<std::uint32_t>();
    if (dims > kMaxDims) throw malformed(fmt::format("a tensor has {} dimensions", dims));
    for (std::uint32_t i = 0; i < dims; ++i) tensor.shape.push_back(reader_.count());
    const auto id = reader_.number<std::uint32_t>();
    tensor.offset = reader_.number<std::uint64_t>();
    const auto broken = [&tensor](std::string why) {
      return malformed("tensor '" + escape_name(tensor.name) + "': " + std::move(why));
    };
    if (tensor.offset % alignment_ != 0) throw broken("its offset is not aligned");
    const GgmlType* const type = find_type(id);
    const std::uint64_t row = tensor.shape.empty() ? 1 : tensor.shape.front();
    std::reverse(tensor.shape.begin(), tensor.shape.end());
    const std::optional<std::uint64_t> count = element_count(tensor.shape);
    if (!count) throw broken("its shape overflows 64 bits");
    Layout layout;
    if (type == nullptr) {
      layout.type = fmt::format("ggml_type_{}", id);
    } else {
      if (row % type->block != 0)
        throw broken(fmt::format("rows of {} values don't fill blocks of {}", row, type->block));
      const std::optional<std::uint64_t> bytes = checked_mul(*count / type->block, type->bytes);
      if (!bytes) throw broken("its size overflows 64 bits");
      tensor.size = *bytes;
      tensor.dtype = type->dtype;
      if (type->dtype == Dtype::kForeign) layout.type = type->name;
    }
    if (tensor.dtype == Dtype::kForeign || (reader_.swap && bits(tensor.dtype) > 8)) {
      layout.swap_bytes = reader_.swap && tensor.dtype != Dtype::kForeign;
      tensor.layout = std::make_shared<Layout>(std::move(layout));
    }
    list.push_back(std::move(tensor));
    return type;
  }

  // From offsets in the data section to bytes of the file, each checked.
  void place(std::vector<Tensor>& list, const std::vector<const GgmlType*>& types, std::uint64_t data_begin) {
    std::vector<std::uint64_t> starts;
    const std::uint64_t available = file_.size() - std::min(data_begin, file_.size());
    for (const Tensor& tensor : list) starts.push_back(tensor.offset);
    std::sort(starts.begin(), starts.end());
    for (std::size_t i = 0; i < list.size(); ++i) {
      Tensor& tensor = list[i];
      if (types[i] == nullptr && tensor.offset <= available) {
        // Its size is not known: it reaches as far as the next tensor.
        const auto next = std::upper_bound(starts.begin(), starts.end(), tensor.offset);
        tensor.size = (next == starts.end() ? available : std::min(*next, available)) - tensor.offset;
      }
      if (tensor.offset > available || tensor.size > available - tensor.offset)
        throw malformed(
            fmt::format("tensor '{}' reaches beyond the end of the file", escape_name(tensor.name)));
      tensor.offset += data_begin;
      if (!tensor.layout || !tensor.layout->swap_bytes) continue;
      Layout layout = *tensor.layout;
      layout.shape = tensor.shape;
      layout.boxes.push_back({source_, tensor.offset, std::vector<std::uint64_t>(tensor.shape.size(), 0),
                              tensor.shape, row_major_strides(tensor.shape)});
      tensor.layout = std::make_shared<Layout>(std::move(layout));
    }
  }

  Weights& weights_;
  std::uint32_t source_;
  InputFile file_;
  Reader reader_;
  std::uint64_t alignment_ = 32;
  std::uint64_t items_ = 0;  // texts and arrays in arrays
  std::size_t kept_ = 0;     // bytes of keys and values
};

}  // namespace

bool is_gguf_start(std::string_view start) {
  return start.starts_with("GGUF");
}

void add_gguf(Weights& weights, InputFile file) {
  const std::string name = file.path();
  in_file(name, [&] { GgufReader(weights, std::move(file)).read(); });
}

}  // namespace mu
