// SPDX-License-Identifier: Apache-2.0
// A tensor is seen as boxes that count in its own shape, and all that happens here is arithmetic on these boxes. Where
// its layout does not count so, or changes bytes on the way (another order, deflated, computed), the whole tensor
// becomes the source of one box (Layout::tensors), so that any tensors can be joined.
//
// Elements that are not whole bytes (F4, blocks of GGUF) are seen as bytes: the last dimension counts bytes then.
#include "weights/views.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/layout.h"

namespace mu {
namespace {

using Shape = std::vector<std::uint64_t>;

[[noreturn]] void refuse(const Tensor& tensor, std::string_view why) {
  throw malformed(fmt::format("'{}' {} {}", escape_name(tensor.name), shape_text(tensor.shape), why));
}

struct View {
  Shape shape;                  // what boxes count in
  std::uint64_t element = 0;    // bytes
  std::vector<Box> boxes;       // none: without elements
  std::vector<Tensor> tensors;  // what boxes have as sources; none: files
};

// Bytes of an element; 0 if several values share a byte.
std::uint64_t whole_bytes(const Tensor& tensor) {
  if (tensor.dtype != Dtype::kForeign) return bits(tensor.dtype) % 8 == 0 ? bits(tensor.dtype) / 8 : 0;
  const std::uint64_t bytes = tensor.layout ? tensor.layout->element_bytes : 0;
  return checked_mul(tensor.element_count(), bytes) == tensor.size ? bytes : 0;
}

// The shape with the bytes of a row as its last dimension.
Shape shape_in_bytes(const Tensor& tensor) {
  Shape shape = tensor.shape;
  if (shape.empty()) refuse(tensor, "is less than a byte");
  const std::uint64_t values = shape.back(), count = tensor.element_count();
  if (count == 0) return shape;
  const std::uint64_t rows = count / values;
  if (tensor.size % rows != 0) refuse(tensor, "has rows that don't end with a byte");
  shape.back() = tensor.size / rows;
  return shape;
}

// True if the boxes of its layout are all there is to know, and count in `shape`.
bool is_boxes_alone(const Layout& layout, const Shape& shape) {
  return !layout.compute && !layout.inflated && !layout.swap_bytes && !layout.conjugate && !layout.negate &&
         layout.tensors.empty() && layout.shape == shape;
}

bool is_one_run(const Tensor& tensor) {
  return !tensor.layout || (tensor.layout->boxes.empty() && !tensor.layout->compute);
}

Box box_of(std::uint32_t source, std::uint64_t offset, const Shape& shape) {
  return {source, offset, Shape(shape.size(), 0), shape, row_major_strides(shape)};
}

// Of its boxes those that meet [from, to) of dimension `dim`, if that is given: a stack may have thousands.
struct Wanted {
  std::size_t dim;
  std::uint64_t from, to;
};

View view_of(const Tensor& tensor, bool as_source = false, std::optional<Wanted> wanted = {}) {
  View view;
  view.element = whole_bytes(tensor);
  view.shape = view.element == 0 ? shape_in_bytes(tensor) : tensor.shape;
  if (view.element == 0) view.element = 1;
  if (tensor.size == 0) return view;
  if (!as_source && is_one_run(tensor)) {
    view.boxes = {box_of(tensor.source, tensor.offset, view.shape)};
  } else if (!as_source && is_boxes_alone(*tensor.layout, view.shape)) {
    const auto meets = [&](const Box& box) {
      return !wanted || (box.begin[wanted->dim] < wanted->to &&
                         box.begin[wanted->dim] + box.size[wanted->dim] > wanted->from);
    };
    std::copy_if(tensor.layout->boxes.begin(), tensor.layout->boxes.end(), std::back_inserter(view.boxes),
                 meets);
  } else {
    view.boxes = {box_of(0, 0, view.shape)};
    view.tensors = {tensor};
  }
  return view;
}

// One run of bytes in one file, if the tensor is that.
std::optional<ByteRange> one_run(const Tensor& tensor) {
  std::optional<ByteRange> run;
  for (const ByteRange& range : byte_ranges(tensor)) {
    if (!run)
      run = range;
    else if (range.source == run->source && range.offset == run->offset + run->size)
      run->size += range.size;
    else
      return std::nullopt;
  }
  return run;
}

// The tensor of a view; `like` gives name and type, `shape` counts its elements.
Tensor finish(View view, const Tensor& like, Shape shape) {
  Tensor tensor{like.name, like.dtype, std::move(shape), like.source, like.offset, 0};
  const std::optional<std::uint64_t> count = element_count(view.shape);
  const std::optional<std::uint64_t> size = count ? checked_mul(*count, view.element) : std::nullopt;
  if (!size || !element_count(tensor.shape)) refuse(tensor, "is too large");
  tensor.size = *size;
  auto layout = std::make_shared<Layout>();
  if (like.dtype == Dtype::kForeign) {
    layout->type = like.layout ? like.layout->type : "";
    layout->element_bytes = view.element;
  }
  if (tensor.size > 0) {
    layout->shape = std::move(view.shape);
    layout->boxes = std::move(view.boxes);
    layout->tensors = std::move(view.tensors);
    const Box& first = layout->boxes.front();
    const bool files = layout->tensors.empty();
    tensor.source = files ? first.source : layout->tensors[first.source].source;
    tensor.offset = files ? first.offset : layout->tensors[first.source].offset;
    tensor.layout = layout;
    const std::optional<ByteRange> run = one_run(tensor);
    if (!run) return tensor;
    tensor.source = run->source;
    tensor.offset = run->offset;
    layout->boxes.clear();
    layout->tensors.clear();
    layout->shape.clear();
  }
  tensor.layout = like.dtype == Dtype::kForeign ? layout : nullptr;
  return tensor;
}

void check_dimension(const Tensor& tensor, std::size_t dim) {
  if (dim >= tensor.shape.size()) refuse(tensor, fmt::format("has no dimension {}", dim + 1));
}

// Elements of the last dimension as bytes, where they are seen so.
std::uint64_t in_bytes(const Tensor& tensor, std::uint64_t values) {
  const std::uint64_t width = tensor.dtype == Dtype::kForeign ? 0 : bits(tensor.dtype);
  const std::optional<std::uint64_t> product = checked_mul(values, width);
  if (width == 0 || !product || *product % 8 != 0) refuse(tensor, "can't be cut between its bytes");
  return *product / 8;
}

// Leaves [begin, begin + count) of a dimension.
void cut(View& view, std::size_t dim, std::uint64_t begin, std::uint64_t count) {
  std::vector<Box> kept;
  for (Box& box : view.boxes) {
    const std::uint64_t from = std::max(box.begin[dim], begin);
    const std::uint64_t to = std::min(box.begin[dim] + box.size[dim], begin + count);
    if (from >= to) continue;
    box.offset += (from - box.begin[dim]) * box.strides[dim] * view.element;
    box.begin[dim] = from - begin;
    box.size[dim] = to - from;
    kept.push_back(std::move(box));
  }
  view.boxes = std::move(kept);
  view.shape[dim] = count;
}

View cut_view(const Tensor& tensor, std::size_t dim, std::uint64_t begin, std::uint64_t count) {
  check_dimension(tensor, dim);
  const std::optional<std::uint64_t> end = checked_add(begin, count);
  if (!end || *end > tensor.shape[dim]) refuse(tensor, fmt::format("ends before {}", begin));
  const bool bytes = whole_bytes(tensor) == 0 && dim + 1 == tensor.shape.size() && tensor.size > 0;
  if (bytes && count == tensor.shape[dim]) return view_of(tensor);
  if (bytes) {
    begin = in_bytes(tensor, begin);
    count = in_bytes(tensor, count);
  }
  View view = view_of(tensor, false, Wanted{dim, begin, begin + count});
  cut(view, dim, begin, count);
  return view;
}

template <typename Values>
void insert_at(Values& values, std::size_t at, std::uint64_t value) {
  values.insert(values.begin() + static_cast<std::ptrdiff_t>(at), value);
}

template <typename Values>
void erase_at(Values& values, std::size_t at) {
  values.erase(values.begin() + static_cast<std::ptrdiff_t>(at));
}

void check_alike(const Tensor& first, const Tensor& other, std::optional<std::size_t> free_dim) {
  Shape shape = other.shape;
  if (free_dim && shape.size() == first.shape.size()) shape[*free_dim] = first.shape[*free_dim];
  if (first.dtype == other.dtype && type_text(first) == type_text(other) && shape == first.shape) return;
  throw malformed(fmt::format("'{}' ({} {}) and '{}' ({} {}) don't fit each other", escape_name(first.name),
                              type_text(first), shape_text(first.shape), escape_name(other.name),
                              type_text(other), shape_text(other.shape)));
}

// Tensors as views that have the same kind of sources: files, or tensors.
std::vector<View> views_of(std::span<const Tensor> tensors) {
  std::vector<View> views;
  for (const Tensor& tensor : tensors) views.push_back(view_of(tensor));
  const bool mixed =
      std::any_of(views.begin(), views.end(), [](const View& v) { return !v.tensors.empty(); });
  for (std::size_t i = 0; mixed && i < views.size(); ++i) views[i] = view_of(tensors[i], true);
  return views;
}

// Adds the boxes of `more`, which lie at `begin` of dimension `dim`.
void join(View& view, View more, std::size_t dim, std::uint64_t begin) {
  for (Box& box : more.boxes) {
    box.begin[dim] += begin;
    if (!more.tensors.empty()) box.source += static_cast<std::uint32_t>(view.tensors.size());
    view.boxes.push_back(std::move(box));
  }
  std::move(more.tensors.begin(), more.tensors.end(), std::back_inserter(view.tensors));
}

}  // namespace

Tensor slice(const Tensor& tensor, std::size_t dim, std::uint64_t begin, std::uint64_t count) {
  View view = cut_view(tensor, dim, begin, count);
  Shape shape = tensor.shape;
  shape[dim] = count;
  return finish(std::move(view), tensor, std::move(shape));
}

Tensor select(const Tensor& tensor, std::size_t dim, std::uint64_t index) {
  View view = cut_view(tensor, dim, index, 1);
  if (whole_bytes(tensor) == 0 && dim + 1 == tensor.shape.size() && tensor.size > 0)
    refuse(tensor, "can't be cut between its bytes");
  for (Box& box : view.boxes) {
    erase_at(box.begin, dim);
    erase_at(box.size, dim);
    erase_at(box.strides, dim);
  }
  erase_at(view.shape, dim);
  Shape shape = tensor.shape;
  erase_at(shape, dim);
  return finish(std::move(view), tensor, std::move(shape));
}

Tensor concatenate(std::span<const Tensor> tensors, std::size_t dim) {
  const Tensor& first = tensors.front();
  check_dimension(first, dim);
  Shape shape = first.shape;
  shape[dim] = 0;
  std::vector<View> views = views_of(tensors);
  // One without elements does not know the bytes of its rows.
  const auto filled =
      std::find_if(views.begin(), views.end(), [](const View& v) { return !v.boxes.empty(); });
  View whole;
  whole.shape = (filled == views.end() ? views.begin() : filled)->shape;
  whole.element = views.front().element;
  whole.shape[dim] = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    check_alike(first, tensors[i], dim);
    const std::optional<std::uint64_t> end = checked_add(shape[dim], tensors[i].shape[dim]);
    if (!end) refuse(tensors[i], "is too large");
    const std::uint64_t begin = whole.shape[dim], size = views[i].shape[dim];
    join(whole, std::move(views[i]), dim, begin);
    whole.shape[dim] = begin + size;
    shape[dim] = *end;
  }
  return finish(std::move(whole), first, std::move(shape));
}

Tensor stack(std::span<const Tensor> tensors, std::size_t dim) {
  const Tensor& first = tensors.front();
  if (dim > first.shape.size()) refuse(first, fmt::format("has no dimension {}", dim));
  if (whole_bytes(first) == 0 && dim == first.shape.size()) refuse(first, "can't be cut between its bytes");
  std::vector<View> views = views_of(tensors);
  View whole;
  whole.shape = views.front().shape;
  whole.element = views.front().element;
  insert_at(whole.shape, dim, tensors.size());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    check_alike(first, tensors[i], std::nullopt);
    for (Box& box : views[i].boxes) {
      insert_at(box.begin, dim, 0);
      insert_at(box.size, dim, 1);
      insert_at(box.strides, dim, 0);
    }
    join(whole, std::move(views[i]), dim, i);
  }
  Shape shape = first.shape;
  insert_at(shape, dim, tensors.size());
  return finish(std::move(whole), first, std::move(shape));
}

Tensor transpose(const Tensor& tensor, std::size_t first, std::size_t second) {
  check_dimension(tensor, std::max(first, second));
  if (first == second) return tensor;
  if (whole_bytes(tensor) == 0 && std::max(first, second) + 1 == tensor.shape.size())
    refuse(tensor, "can't be cut between its bytes");
  View view = view_of(tensor);
  for (Box& box : view.boxes) {
    std::swap(box.begin[first], box.begin[second]);
    std::swap(box.size[first], box.size[second]);
    std::swap(box.strides[first], box.strides[second]);
  }
  std::swap(view.shape[first], view.shape[second]);
  Shape shape = tensor.shape;
  std::swap(shape[first], shape[second]);
  return finish(std::move(view), tensor, std::move(shape));
}

Tensor reshape(const Tensor& tensor, Shape shape) {
  if (element_count(shape) != tensor.element_count())
    refuse(tensor, "has another number of elements than " + shape_text(shape));
  Tensor result = tensor;
  result.shape = std::move(shape);
  return result;
}

Tensor interleave(const Tensor& tensor, std::size_t dim, std::uint64_t groups, std::uint64_t parts) {
  check_dimension(tensor, dim);
  const std::optional<std::uint64_t> unit = checked_mul(groups, parts);
  const std::uint64_t size = tensor.shape[dim];
  if (!unit || *unit == 0 || size % *unit != 0)
    refuse(tensor,
           fmt::format("does not divide into {} times {} along dimension {}", groups, parts, dim + 1));
  if (tensor.size == 0) return tensor;
  Shape fine = tensor.shape;
  fine[dim] = size / *unit;
  insert_at(fine, dim, parts);
  insert_at(fine, dim, groups);
  return reshape(transpose(reshape(tensor, std::move(fine)), dim + 1, dim + 2), tensor.shape);
}

}  // namespace mu
