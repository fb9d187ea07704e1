// SPDX-License-Identifier: Apache-2.0
// Where the elements of a tensor lie when they are not one row-major run of bytes in one file: views with
// strides, bytes in the other order, compressed members, pieces of several files or of other tensors; and the name of
// an element type that safetensors does not have. A tensor without a layout is plain.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace mu {

class InflatedMember;
class Sources;   // weights/gather.h
struct Weights;  // weights/weights.h

// A part of the tensor and where its elements lie. Vectors have one entry per dimension of Layout::shape.
struct Box {
  std::uint32_t source = 0;              // which file of the set, or which of Layout::tensors
  std::uint64_t offset = 0;              // byte of the first element there, or in Layout::inflated
  std::vector<std::uint64_t> begin{};    // first index in the tensor
  std::vector<std::uint64_t> size{};     // elements
  std::vector<std::uint64_t> strides{};  // in elements of the source; 0 repeats

  auto operator<=>(const Box&) const = default;
};

struct Layout {
  std::string type{};               // "q4_k", "complex128": only of Dtype::kForeign
  std::uint64_t element_bytes = 0;  // of a foreign type with boxes
  std::vector<std::uint64_t>
      shape{};  // what boxes count in: the tensor's shape (of F4 in bytes), or [elements] for flat pieces
  std::vector<Box> boxes{};  // disjoint, together the whole tensor; empty: bytes as of a plain tensor
  bool swap_bytes = false;   // the source is big-endian
  bool conjugate = false;    // complex values are stored conjugated (torch's conj bit)
  bool negate = false;       // values are stored negated (torch's neg bit)
  std::shared_ptr<InflatedMember> inflated{};  // offsets count in this, not in the file
  // Sources of the boxes are these, whose bytes are read as theirs; empty: files. Of a computed tensor, what it is
  // made of.
  std::vector<Tensor> tensors{};
  // For a tensor that is made from others as it is read: fills `out` from byte `at`, whole elements. Thread safe. The
  // rest of the layout, and the tensor's source and offset, only say where it came from.
  std::function<void(const Sources& sources, std::uint64_t at, std::span<std::byte> out)> compute{};
  // What that reads beside `tensors`: tensors of other sets (an adapter's), which live as long as this.
  std::vector<std::pair<const Weights*, Tensor>> others{};
};

// A run of bytes in one file.
struct ByteRange {
  std::uint32_t source;
  std::uint64_t offset, size;
};

// The runs that, one after the other, are the tensor's bytes; empty when they must be gathered through a
// buffer instead (an empty tensor has one empty run).
std::vector<ByteRange> byte_ranges(const Tensor& tensor);

// How texts name the element type: "bf16", or the foreign type's own name.
std::string_view type_text(const Tensor& tensor);
// The same as headers write it: "BF16".
std::string_view type_name(const Tensor& tensor);

// Bytes of what the boxes of its layout count: of an element or, where a byte has several values, 1. 0 for a foreign
// type without boxes.
std::size_t box_element_bytes(const Tensor& tensor);

// Strides of a dense row-major array, in elements.
std::vector<std::uint64_t> row_major_strides(const std::vector<std::uint64_t>& shape);

// True when `strides` mean a dense row-major array; dimensions of one element and empty arrays don't count.
bool is_row_major(const std::vector<std::uint64_t>& shape, const std::vector<std::uint64_t>& strides);

}  // namespace mu
