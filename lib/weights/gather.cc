// SPDX-License-Identifier: Apache-2.0
// A stretch of the tensor, counted in elements, meets each box in a number of runs: elements that follow one
// another in the tensor. The runs of a box are numbered in the order of the tensor and their elements counted
// through ("local" elements), so a stretch is one local range per box, found by bisection.
//
// A local range of a dense box is one read. Otherwise it is cut into at most 2·dims - 1 sub-boxes, and each
// is read with the dimensions sorted by their stride in the source: the innermost ones that fit a window, and
// that have little between what is wanted, are one read; the outer ones are looped over.
#include "weights/gather.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "tensor/simd.h"
#include "weights/archive/inflate.h"
#include "weights/stretch.h"

namespace mu {
namespace {

constexpr std::uint64_t kWindow = kGatherWindow;
constexpr std::uint64_t kGap = 4096;  // bytes that are read in the time that a read of its own takes
constexpr std::uint64_t kUsefulPart = kGatherUsefulPart;

using Read = std::function<void(std::uint64_t offset, std::span<std::byte> out)>;

// One dimension of a sub-box; strides in bytes.
struct Side {
  std::uint64_t count, from, to;
};

// Exchanges rows and columns of elements: out[c][r] = in[r][c]; strides in bytes. Squares of 16 by 16 stay in
// registers and the first-level cache, where one element at a time would touch a line of memory for each.
template <typename Element>
[[gnu::always_inline]] inline void exchange(const Side& rows, const Side& columns, const std::byte* in,
                                            std::byte* out) {
  constexpr std::uint64_t kEdge = 16;
  using Square = std::array<std::array<Element, kEdge>, kEdge>;
  const auto each = [&](std::uint64_t row, std::uint64_t row_end, std::uint64_t column,
                        std::uint64_t column_end) {
    for (std::uint64_t c = column; c < column_end; ++c) {
      for (std::uint64_t r = row; r < row_end; ++r)
        std::memcpy(out + c * columns.to + r * sizeof(Element), in + r * rows.from + c * sizeof(Element),
                    sizeof(Element));
    }
  };
  const std::uint64_t whole_rows = rows.count - rows.count % kEdge;
  const std::uint64_t whole_columns = columns.count - columns.count % kEdge;
  for (std::uint64_t c = 0; c < whole_columns; c += kEdge) {
    for (std::uint64_t r = 0; r < whole_rows; r += kEdge) {
      Square from, to;
      for (std::uint64_t i = 0; i < kEdge; ++i)
        std::memcpy(from[i].data(), in + (r + i) * rows.from + c * sizeof(Element), sizeof(from[i]));
      for (std::uint64_t i = 0; i < kEdge; ++i) {
        for (std::uint64_t j = 0; j < kEdge; ++j) to[i][j] = from[j][i];
      }
      for (std::uint64_t i = 0; i < kEdge; ++i)
        std::memcpy(out + (c + i) * columns.to + r * sizeof(Element), to[i].data(), sizeof(to[i]));
    }
  }
  each(whole_rows, rows.count, 0, whole_columns);
  each(0, rows.count, whole_columns, columns.count);
}

MU_SIMD void exchange_1(const Side& rows, const Side& columns, const std::byte* in, std::byte* out) {
  exchange<std::uint8_t>(rows, columns, in, out);
}
MU_SIMD void exchange_2(const Side& rows, const Side& columns, const std::byte* in, std::byte* out) {
  exchange<std::uint16_t>(rows, columns, in, out);
}
MU_SIMD void exchange_4(const Side& rows, const Side& columns, const std::byte* in, std::byte* out) {
  exchange<std::uint32_t>(rows, columns, in, out);
}

// True if it has done that: two sides, each dense on one side of the copy.
bool exchanged(std::span<const Side> sides, const std::byte* from, std::byte* to, std::size_t element) {
  if (sides.size() != 2 || sides[0].to != element || sides[1].from != element) return false;
  if (element == 1) exchange_1(sides[0], sides[1], from, to);
  if (element == 2) exchange_2(sides[0], sides[1], from, to);
  if (element == 4) exchange_4(sides[0], sides[1], from, to);
  return element == 1 || element == 2 || element == 4;
}

// Moves the elements of a sub-box out of a window; `sides` from the largest source stride to the smallest.
void scatter(std::span<const Side> sides, const std::byte* from, std::byte* to, std::size_t element) {
  if (sides.empty()) {
    std::memcpy(to, from, element);
    return;
  }
  if (exchanged(sides, from, to, element)) return;
  const Side& side = sides.front();
  if (sides.size() > 1) {
    for (std::uint64_t i = 0; i < side.count; ++i)
      scatter(sides.subspan(1), from + i * side.from, to + i * side.to, element);
    return;
  }
  if (side.from == element && side.to == element) {
    std::memcpy(to, from, static_cast<std::size_t>(side.count) * element);
    return;
  }
  const auto each = [&](auto size) {
    for (std::uint64_t i = 0; i < side.count; ++i)
      std::memcpy(to + i * side.to, from + i * side.from, decltype(size)::value);
  };
  switch (element) {
    case 1:
      return each(std::integral_constant<std::size_t, 1>());
    case 2:
      return each(std::integral_constant<std::size_t, 2>());
    case 4:
      return each(std::integral_constant<std::size_t, 4>());
    case 8:
      return each(std::integral_constant<std::size_t, 8>());
    default:
      for (std::uint64_t i = 0; i < side.count; ++i)
        std::memcpy(to + i * side.to, from + i * side.from, element);
  }
}

std::uint64_t span_of(std::span<const Side> sides, std::size_t element) {
  std::uint64_t span = element;
  for (const Side& side : sides) span += (side.count - 1) * side.from;
  return span;
}

// A buffer that a later one of the same thread takes over. What is read into it may be gathered in turn, so that
// several are in use at once.
class Buffer {
 public:
  explicit Buffer(std::uint64_t size) : size_(static_cast<std::size_t>(size)) {
    if (!spares().empty()) {
      bytes_ = std::move(spares().back());
      spares().pop_back();
    }
    if (bytes_.size() < size_) bytes_.resize(size_);
  }
  ~Buffer() { spares().push_back(std::move(bytes_)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  [[nodiscard]] std::span<std::byte> bytes() { return std::span(bytes_).first(size_); }

 private:
  static std::vector<std::vector<std::byte>>& spares() {
    thread_local std::vector<std::vector<std::byte>> spares;
    return spares;
  }
  std::size_t size_;
  std::vector<std::byte> bytes_;
};

// Reads all that lies between the first and the last element of a sub-box at once.
void read_window(std::span<const Side> sides, std::uint64_t offset, std::byte* to, std::size_t element,
                 const Read& read) {
  Buffer window(span_of(sides, element));
  read(offset, window.bytes());
  scatter(sides, window.bytes().data(), to, element);
}

// Which dimensions of a sub-box are read at once: `steps` of dimension `outer` with all that are inside it.
struct Joined {
  std::size_t outer;
  std::uint64_t steps;
};

// From the innermost dimension outwards: what lies between two steps is read along where that costs less than
// another read, as far as the window reaches.
Joined join_reads(std::span<const Side> sides, std::size_t element) {
  Joined joined{sides.size(), 1};
  std::uint64_t span = element, wanted = element;
  while (joined.outer > 0) {
    const Side& side = sides[joined.outer - 1];
    const std::uint64_t gap = side.from > span ? side.from - span : 0;
    if ((gap > kGap && gap / kUsefulPart > wanted) || span > kWindow) break;
    const std::uint64_t fitting = side.from == 0 ? side.count : (kWindow - span) / side.from + 1;
    joined = {joined.outer - 1, std::min(side.count, fitting)};
    if (fitting < side.count) break;
    span += (side.count - 1) * side.from;
    wanted *= side.from == 0 ? 1 : side.count;
  }
  return joined;
}

// Reads a sub-box whose first element lies at `offset`.
void read_sides(std::span<Side> sides, Joined joined, std::uint64_t offset, std::byte* to,
                std::size_t element, const Read& read) {
  if (sides.empty()) return read_window(sides, offset, to, element, read);
  const Side outer = sides.front();
  if (joined.outer > 0) {
    --joined.outer;
    for (std::uint64_t i = 0; i < outer.count; ++i)
      read_sides(sides.subspan(1), joined, offset + i * outer.from, to + i * outer.to, element, read);
    return;
  }
  for (std::uint64_t i = 0; i < outer.count; i += joined.steps) {
    sides.front().count = std::min(joined.steps, outer.count - i);
    read_window(sides, offset + i * outer.from, to + i * outer.to, element, read);
  }
  sides.front() = outer;
}

class BoxReader {
 public:
  BoxReader(const Box& box, const std::vector<std::uint64_t>& shape, std::size_t element, const Read& read)
      : box_(box),
        element_(element),
        read_(read),
        tensor_strides_(row_major_strides(shape)),
        box_strides_(row_major_strides(box.size)),
        dense_(is_row_major(box.size, box.strides)) {
    // Dimensions after `cut_` are whole, so that a run spans them.
    cut_ = shape.size();
    std::uint64_t run = 1;
    while (cut_ > 0) {
      --cut_;
      run *= box.size[cut_];
      if (box.size[cut_] != shape[cut_]) break;
    }
    run_ = run;
    runs_ = 1;
    for (std::size_t i = 0; i < cut_; ++i) runs_ *= box.size[i];
  }

  // Fills what of elements [first, last) of the tensor lies in this box.
  void read(std::uint64_t first, std::uint64_t last, std::span<std::byte> out) const {
    const std::uint64_t at_once = run_ * element_ > kWindow / 4 ? 1 : kWindow / (run_ * element_);
    std::uint64_t low = run_at(first + 1 > run_ ? first + 1 - run_ : 0, 0, runs_);  // ends after `first`
    const std::uint64_t high = run_at(last, low, runs_);
    while (low < high) {
      const std::uint64_t next = std::min(high, low + at_once);
      const std::uint64_t start = start_of(low), from = std::max(first, start);
      const std::uint64_t last_start = start_of(next - 1), to = std::min(last, last_start + run_);
      const std::uint64_t local = low * run_ + from - start;
      const std::uint64_t local_end = (next - 1) * run_ + to - last_start;
      if (next == low + 1) {
        read_local(local, local_end,
                   out.subspan(static_cast<std::size_t>((from - first) * element_),
                               static_cast<std::size_t>((to - from) * element_)));
      } else {
        Buffer runs((local_end - local) * element_);
        read_local(local, local_end, runs.bytes());
        spread(low, next, first, last, runs.bytes().data(), out.data());
      }
      low = next;
    }
  }

 private:
  // Element of the tensor where a run begins.
  std::uint64_t start_of(std::uint64_t run) const {
    std::uint64_t at = 0;
    for (std::size_t i = cut_ + 1; i < box_.begin.size(); ++i) at += box_.begin[i] * tensor_strides_[i];
    if (cut_ < box_.begin.size()) at += box_.begin[cut_] * tensor_strides_[cut_];
    for (std::size_t i = cut_; i-- > 0;) {
      at += (box_.begin[i] + run % box_.size[i]) * tensor_strides_[i];
      run /= box_.size[i];
    }
    return at;
  }

  // The first of runs [low, high) that begins at this element of the tensor or after it.
  std::uint64_t run_at(std::uint64_t element, std::uint64_t low, std::uint64_t high) const {
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      if (start_of(middle) < element)
        low = middle + 1;
      else
        high = middle;
    }
    return low;
  }

  // Copies what of runs [run, next) lies in elements [first, last) of the tensor to its place.
  void spread(std::uint64_t run, std::uint64_t next, std::uint64_t first, std::uint64_t last,
              const std::byte* from, std::byte* out) const {
    // Runs that differ in their innermost index follow one another at one distance.
    const std::uint64_t row = box_.size[cut_ - 1], distance = tensor_strides_[cut_ - 1];
    std::uint64_t start = start_of(run);
    for (std::uint64_t in_row = run % row; run < next; ++run, ++in_row, start += distance) {
      if (in_row == row) {
        in_row = 0;
        start = start_of(run);
      }
      const std::uint64_t begin = std::max(first, start), end = std::min(last, start + run_);
      const auto size = static_cast<std::size_t>((end - begin) * element_);
      std::memcpy(out + (begin - first) * element_, from, size);
      from += size;
    }
  }

  // Elements [first, last) of the box, counted row-major.
  void read_local(std::uint64_t first, std::uint64_t last, std::span<std::byte> out) const {
    if (dense_) return read_(box_.offset + first * element_, out);
    while (first < last) {
      // The largest dimension of which whole steps fit between here and the end.
      std::size_t dim = box_.size.size();
      while (dim > 0 && first % box_strides_[dim - 1] == 0 && box_strides_[dim - 1] <= last - first) --dim;
      const std::uint64_t unit = box_strides_[dim];
      const std::uint64_t here = first / unit % box_.size[dim];
      const std::uint64_t steps = std::min((last - first) / unit, box_.size[dim] - here);
      read_steps(first, dim, steps, out.data());
      out = out.subspan(static_cast<std::size_t>(steps * unit * element_));
      first += steps * unit;
    }
  }

  // `steps` of dimension `dim` with everything inside them, from local element `first`.
  void read_steps(std::uint64_t first, std::size_t dim, std::uint64_t steps, std::byte* to) const {
    std::uint64_t offset = box_.offset;
    for (std::size_t i = 0; i < box_.size.size(); ++i)
      offset += first / box_strides_[i] % box_.size[i] * box_.strides[i] * element_;
    std::vector<Side> sides;
    for (std::size_t i = dim; i < box_.size.size(); ++i) {
      const std::uint64_t count = i == dim ? steps : box_.size[i];
      if (count > 1) sides.push_back({count, box_.strides[i] * element_, box_strides_[i] * element_});
    }
    std::stable_sort(sides.begin(), sides.end(),
                     [](const Side& a, const Side& b) { return a.from > b.from; });
    read_sides(sides, join_reads(sides, element_), offset, to, element_, read_);
  }

  const Box& box_;
  std::size_t element_;
  const Read& read_;
  std::vector<std::uint64_t> tensor_strides_, box_strides_;
  bool dense_;
  std::size_t cut_ = 0;
  std::uint64_t run_ = 1, runs_ = 1;  // elements of a run; number of runs
};

bool is_complex(Dtype dtype) {
  return dtype == Dtype::kC64;
}

void reverse_bytes(std::span<std::byte> data, std::size_t width) {
  if (width < 2) return;
  for (std::size_t i = 0; i + width <= data.size(); i += width)
    std::reverse(data.begin() + static_cast<std::ptrdiff_t>(i),
                 data.begin() + static_cast<std::ptrdiff_t>(i + width));
}

// Flips the sign bit of the number that ends at byte `last`, and of every number `step` bytes on.
void flip_signs(std::span<std::byte> data, std::size_t last, std::size_t step) {
  for (std::size_t i = last; i < data.size(); i += step) data[i] ^= std::byte{0x80};
}

// Whether some of elements [first, last) of the tensor can lie in the box.
bool may_hold(const Box& box, const std::vector<std::uint64_t>& strides, std::uint64_t first,
              std::uint64_t last) {
  std::uint64_t begin = 0, end = 0;
  for (std::size_t i = 0; i < strides.size(); ++i) {
    if (box.size[i] == 0) return false;
    begin += box.begin[i] * strides[i];
    end += (box.begin[i] + box.size[i] - 1) * strides[i];
  }
  return begin < last && end >= first;
}

}  // namespace

void Sources::read(std::size_t which, std::uint64_t at, std::span<std::byte> out) const {
  const Tensor& tensor = tensors_[which];
  if (tensor.layout) return gather(tensor, at, out, read_, losses_);
  read_(tensor.source, tensor.offset + at, out);
}

void gather(const Tensor& tensor, std::uint64_t at, std::span<std::byte> out, const ReadSource& read_source,
            CastReport* losses) {
  const Layout& layout = *tensor.layout;
  const std::size_t element = box_element_bytes(tensor);
  if ((layout.boxes.empty() && !layout.compute) || element == 0)
    return read_source(tensor.source, tensor.offset + at, out);
  if (at % element != 0 || out.size() % element != 0) {
    // Whole elements around what is asked for.
    const std::uint64_t begin = at - at % element;
    const std::uint64_t end = std::min(tensor.size, (at + out.size() + element - 1) / element * element);
    std::vector<std::byte> whole(static_cast<std::size_t>(end - begin));
    gather(tensor, begin, whole, read_source, losses);
    std::memcpy(out.data(), whole.data() + (at - begin), out.size());
    return;
  }
  if (layout.compute) return layout.compute(Sources(layout.tensors, read_source, losses), at, out);
  const std::uint64_t first = at / element, last = first + out.size() / element;
  const std::vector<std::uint64_t> strides = row_major_strides(layout.shape);
  for (const Box& box : layout.boxes) {
    if (!may_hold(box, strides, first, last)) continue;
    const Read read = [&](std::uint64_t offset, std::span<std::byte> bytes) {
      if (layout.inflated) return layout.inflated->read_at(offset, bytes);
      if (layout.tensors.empty()) return read_source(box.source, offset, bytes);
      Sources(layout.tensors, read_source, losses).read(box.source, offset, bytes);
    };
    BoxReader(box, layout.shape, element, read).read(first, last, out);
  }
  const std::size_t number = is_complex(tensor.dtype) ? element / 2 : element;
  if (layout.swap_bytes) reverse_bytes(out, number);
  if (layout.conjugate && is_complex(tensor.dtype)) flip_signs(out, element - 1, element);
  if (layout.negate) flip_signs(out, number - 1, number);
}

// In the boxes of a layout bytes are the elements of types that have several values in one, as torch has F4.
std::size_t box_element_bytes(const Tensor& tensor) {
  if (bits(tensor.dtype) % 8 != 0) return 1;
  return tensor.dtype == Dtype::kForeign ? static_cast<std::size_t>(tensor.layout->element_bytes)
                                         : bits(tensor.dtype) / 8;
}

std::vector<ByteRange> byte_ranges(const Tensor& tensor) {
  const Layout* layout = tensor.layout.get();
  if (layout != nullptr && layout->compute) return {};
  if (layout == nullptr || layout->boxes.empty()) return {{tensor.source, tensor.offset, tensor.size}};
  if (layout->swap_bytes || layout->conjugate || layout->negate || layout->inflated) return {};
  if (tensor.size == 0) return {{tensor.source, 0, 0}};
  const std::size_t element = box_element_bytes(tensor);
  const std::vector<std::uint64_t> strides = row_major_strides(layout->shape);
  // Boxes in the order of their first element; each must be one dense run that follows the one before.
  std::vector<std::pair<std::uint64_t, const Box*>> order;
  for (const Box& box : layout->boxes) {
    std::uint64_t start = 0, count = 1;
    for (std::size_t i = 0; i < strides.size(); ++i) {
      start += box.begin[i] * strides[i];
      count *= box.size[i];
    }
    if (count > 0) order.emplace_back(start, &box);
  }
  std::sort(order.begin(), order.end());
  std::vector<std::vector<ByteRange>> of_tensors;
  for (const Tensor& one : layout->tensors) {
    of_tensors.push_back(byte_ranges(one));
    if (of_tensors.back().empty()) return {};
  }
  std::vector<ByteRange> ranges;
  std::uint64_t next = 0;
  for (const auto& [start, box] : order) {
    std::uint64_t count = 1;
    for (const std::uint64_t n : box->size) count *= n;
    if (start != next || !is_row_major(box->size, box->strides)) return {};
    // A box that is cut in an inner dimension ends elsewhere than its count says.
    std::uint64_t last = 0;
    for (std::size_t i = 0; i < strides.size(); ++i) last += (box->begin[i] + box->size[i] - 1) * strides[i];
    if (last + 1 != start + count) return {};
    if (of_tensors.empty()) {
      ranges.push_back({box->source, box->offset, count * element});
    } else {
      for_stretch(of_tensors[box->source], &ByteRange::size, box->offset, count * element,
                  [&ranges](const ByteRange& range, std::uint64_t from, std::uint64_t size) {
                    ranges.push_back({range.source, range.offset + from, size});
                  });
    }
    next = start + count;
  }
  return ranges;
}

std::string_view type_text(const Tensor& tensor) {
  return tensor.dtype == Dtype::kForeign && tensor.layout ? std::string_view(tensor.layout->type)
                                                          : short_name(tensor.dtype);
}

std::string_view type_name(const Tensor& tensor) {
  return tensor.dtype == Dtype::kForeign && tensor.layout ? std::string_view(tensor.layout->type)
                                                          : name(tensor.dtype);
}

std::vector<std::uint64_t> row_major_strides(const std::vector<std::uint64_t>& shape) {
  std::vector<std::uint64_t> strides(shape.size(), 1);
  for (std::size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
  return strides;
}

bool is_row_major(const std::vector<std::uint64_t>& shape, const std::vector<std::uint64_t>& strides) {
  std::uint64_t expected = 1;
  bool matches = true;
  for (std::size_t i = shape.size(); i-- > 0;) {
    if (shape[i] == 0) return true;
    if (shape[i] != 1 && strides[i] != expected) matches = false;
    expected *= shape[i];
  }
  return matches;
}

}  // namespace mu
