// SPDX-License-Identifier: Apache-2.0
// How two inputs are compared. Tensors are matched by name (compared_names.h). A name that one side
// lacks is looked up among the names that tied embeddings have, since one side may store the head and the
// other tie it; if the values then differ, it counts as missing after all. Each pair is decided as cheaply as
// possible: by shape; by files that are known to be the same; by bytes, if the dtypes are equal; and only if
// bytes or dtypes differ by values, which needs a second pass and decodes both sides. Both passes read fixed
// pieces, so memory does not grow with the tensors; pairs are spread over the threads.

#include "inspect/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"
#include "inspect/fold.h"
#include "model/tied.h"
#include "os/interrupt.h"
#include "os/threads.h"
#include "tensor/decode.h"
#include "tensor/format.h"
#include "weights/contents.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::uint64_t kPieceElements =
    128U << 10;  // at most 1 MiB for each side and thread (8 bytes an element)

using NamedTensors = std::map<std::string, const ComparedTensor*, std::less<>>;

NamedTensors named_tensors(const std::vector<ComparedTensor>& tensors) {
  NamedTensors names;
  for (const ComparedTensor& tensor : tensors) {
    check_interrupt();
    if (!names.emplace(tensor.name, &tensor).second)
      throw malformed(fmt::format("two tensors are named '{}'", escape_name(tensor.name)));
  }
  return names;
}

// The ties of one side. Without rules of its own, those of any class will do, since values are compared.
Ties ties_of(const Input& input, const NamedTensors& tensors) {
  TieRules rules = input.config ? tie_rules_of(*input.config) : TieRules();
  if (rules.rules.empty()) rules = tie_rules_of_any_class();
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return {std::move(rules), std::move(names)};
}

std::span<std::byte> room(std::vector<std::byte>& buffer, Dtype dtype, std::uint64_t elements) {
  const auto size = static_cast<std::size_t>(elements * bits(dtype) / 8);
  buffer.resize(std::max(buffer.size(), size));
  return std::span(buffer).first(size);
}

// Reads two tensors of the same shape side by side.
void compare_values(const Weights& wa, const Weights& wb, Tolerance tolerance, TensorDiff& diff) {
  const Tensor& a = *diff.a;
  const Tensor& b = *diff.b;
  thread_local std::vector<std::byte> a_buffer, b_buffer;
  const std::uint64_t count = a.element_count();
  for (std::uint64_t done = 0; done < count; done += kPieceElements) {
    const std::uint64_t elements = std::min(kPieceElements, count - done);
    const std::span<std::byte> left = room(a_buffer, a.dtype, elements);
    const std::span<std::byte> right = room(b_buffer, b.dtype, elements);
    wa.read(a, done * bits(a.dtype) / 8, left);
    wb.read(b, done * bits(b.dtype) / 8, right);
    merge_comparison(diff.comparison, compare_pieces(a.dtype, left, b.dtype, right, tolerance));
  }
}

void compare_tensors(const Weights& wa, const Weights& wb, const DiffOptions& options, TensorDiff& diff) {
  const Tensor& a = *diff.a;
  const Tensor& b = *diff.b;
  if (a.shape != b.shape) {
    diff.kind = DiffKind::kShape;
    return;
  }
  if (a.dtype == Dtype::kForeign || b.dtype == Dtype::kForeign) {
    diff.kind = type_text(a) != type_text(b) || a.size != b.size ? DiffKind::kDtype
                : equal_bytes(wa, a, wb, b)                      ? DiffKind::kEqual
                                                                 : DiffKind::kValues;
    return;
  }
  const bool known = a.dtype == b.dtype && !a.layout && !b.layout && a.offset == b.offset &&
                     a.size == b.size && options.same_files.contains({a.source, b.source});
  if (known || equal_bytes(wa, a, wb, b)) {
    diff.kind = DiffKind::kEqual;
    return;
  }
  const bool comparable =
      can_decode(a.dtype) && can_decode(b.dtype) && (a.dtype == Dtype::kC64) == (b.dtype == Dtype::kC64);
  if (!comparable) {
    diff.kind = a.dtype == b.dtype ? DiffKind::kValues : DiffKind::kDtype;
    return;
  }
  compare_values(wa, wb, options.tolerance, diff);
  if (diff.comparison.outside > 0) {
    diff.kind = DiffKind::kValues;
  } else {
    diff.kind = a.dtype == b.dtype || options.ignore_dtype ? DiffKind::kEqual : DiffKind::kDtype;
  }
}

// Matches the names of both sides; the kind of a matched pair is not decided yet.
std::vector<TensorDiff> match_names(const NamedTensors& a, const NamedTensors& b, const Ties& a_ties,
                                    const Ties& b_ties) {
  std::vector<TensorDiff> diffs;
  for (const auto& [name, tensor] : a) {
    check_interrupt();
    const auto other = b.find(name);
    TensorDiff diff{DiffKind::kEqual, name, tensor, other == b.end() ? nullptr : other->second, ""};
    if (diff.b == nullptr) {
      diff.tied_to = b_ties.kept_name_of(name);
      if (!diff.tied_to.empty()) diff.b = b.at(diff.tied_to);
    }
    if (diff.b == nullptr) diff.kind = DiffKind::kOnlyInA;
    diffs.push_back(std::move(diff));
  }
  for (const auto& [name, tensor] : b) {
    check_interrupt();
    if (a.contains(name)) continue;
    TensorDiff diff{DiffKind::kEqual, name, nullptr, tensor, a_ties.kept_name_of(name)};
    if (!diff.tied_to.empty()) diff.a = a.at(diff.tied_to);
    if (diff.a == nullptr) diff.kind = DiffKind::kOnlyInB;
    diffs.push_back(std::move(diff));
  }
  std::sort(diffs.begin(), diffs.end(),
            [](const TensorDiff& x, const TensorDiff& y) { return x.name < y.name; });
  return diffs;
}

// If a head is stored on one side and tied on the other, but the values differ, it is simply missing on the
// other side.
void undo_false_ties(TensorDiff& diff, const NamedTensors& a) {
  if (diff.tied_to.empty() || diff.kind == DiffKind::kEqual) return;
  const bool in_a = a.contains(diff.name);
  diff.kind = in_a ? DiffKind::kOnlyInA : DiffKind::kOnlyInB;
  (in_a ? diff.b : diff.a) = nullptr;
  diff.tied_to.clear();
  diff.comparison = {};
}

std::string side_text(const Tensor& tensor) {
  return fmt::format("{} {}", escape_name(type_text(tensor)), shape_text(tensor.shape));
}

std::string comparison_text(const Comparison& c) {
  return fmt::format(
      "{} of {} values differ, max abs {:.6g}, mean abs {:.6g}, relative L2 {:.6g}, cosine {:.9g}",
      group_digits(c.differing), group_digits(c.count), c.max_abs, c.mean_abs(), c.relative_l2(), c.cosine());
}

std::string line_of(const TensorDiff& diff) {
  const std::string name = escape_name(diff.name);
  switch (diff.kind) {
    case DiffKind::kOnlyInA:
      return fmt::format("- {}  {}", name, side_text(*diff.a));
    case DiffKind::kOnlyInB:
      return fmt::format("+ {}  {}", name, side_text(*diff.b));
    case DiffKind::kShape:
      return fmt::format("~ {}  {} against {}", name, side_text(*diff.a), side_text(*diff.b));
    case DiffKind::kDtype:
    case DiffKind::kValues: {
      const std::string types = diff.a->dtype == diff.b->dtype
                                    ? escape_name(type_text(*diff.a))
                                    : fmt::format("{} against {}", escape_name(type_text(*diff.a)),
                                                  escape_name(type_text(*diff.b)));
      if (diff.comparison.count == 0) return fmt::format("~ {}  {}, bytes differ", name, types);
      return fmt::format("~ {}  {}, {}", name, types, comparison_text(diff.comparison));
    }
    case DiffKind::kEqual:
      return "";
  }
  return "";
}

constexpr std::array<std::string_view, 6> kKindNames = {"only_in_a", "only_in_b", "shape",
                                                        "dtype",     "values",    "equal"};

void write_names(JsonWriter& json, const ComparedNames& names) {
  json.key("names").begin_object().member("compared", "published");
  for (const auto& [key, side] : {std::pair("a", &names.a), std::pair("b", &names.b)})
    json.key(key)
        .begin_object()
        .member("memory", side->renamed)
        .member("older", side->older)
        .member("wrapped", side->wrapped)
        .end_object();
  json.end_object();
}

void write_plain(JsonWriter& json, const PlainSides& plain) {
  json.key("dequantized").begin_object();
  if (plain.a) json.member("a", name(*plain.a));
  if (plain.b) json.member("b", name(*plain.b));
  json.end_object();
}

}  // namespace

std::uint64_t Diff::count(DiffKind kind) const {
  return static_cast<std::uint64_t>(
      std::count_if(tensors.begin(), tensors.end(), [kind](const TensorDiff& d) { return d.kind == kind; }));
}

bool Diff::same() const {
  return count(DiffKind::kEqual) == tensors.size();
}

Diff diff_inputs(const Input& a, const Input& b, const DiffOptions& options, unsigned threads,
                 Progress& progress) {
  Diff diff{compared_names(a, b, options.map, options.names_as_is), {}};
  const NamedTensors a_names = named_tensors(diff.names.a.tensors),
                     b_names = named_tensors(diff.names.b.tensors);
  diff.tensors = match_names(a_names, b_names, ties_of(a, a_names), ties_of(b, b_names));
  parallel_for(diff.tensors.size(), threads, [&](std::size_t i) {
    TensorDiff& tensor = diff.tensors[i];
    if (tensor.a == nullptr || tensor.b == nullptr) return;
    compare_tensors(a.weights, b.weights, options, tensor);
    undo_false_ties(tensor, a_names);
    if (tensor.a != nullptr) progress.add(tensor.a->size);
  });
  return diff;
}

std::string diff_text(const Diff& diff, std::size_t width) {
  std::string text;
  for (const TensorDiff& tensor : diff.tensors) {
    const std::string line = line_of(tensor);
    if (!line.empty()) text += wrap(line, width, 4) + "\n";
    if (!tensor.tied_to.empty())
      text += fmt::format("= {}  tied to {} on the other side\n", escape_name(tensor.name),
                          escape_name(tensor.tied_to));
  }
  const std::string_view names = diff.names.is_seen_through() ? ", under published names" : "";
  if (diff.same()) return text + fmt::format("same: {}{}\n", plural(diff.tensors.size(), "tensor"), names);
  return text +
         fmt::format(
             "different: {} only in A, {} only in B, {} in shape, {} in dtype, {} in values, {} equal{}\n",
             diff.count(DiffKind::kOnlyInA), diff.count(DiffKind::kOnlyInB), diff.count(DiffKind::kShape),
             diff.count(DiffKind::kDtype), diff.count(DiffKind::kValues), diff.count(DiffKind::kEqual),
             names);
}

std::string diff_json(const Input& a, const Input& b, const PlainSides& plain, const Diff& diff) {
  std::string text;
  JsonWriter json(text);
  json.begin_object()
      .member("schema", "modelutils.st-inspect.diff/1")
      .member("a", a.name)
      .member("b", b.name);
  json.member("same", diff.same());
  if (plain.a || plain.b) write_plain(json, plain);
  if (diff.names.is_seen_through()) write_names(json, diff.names);
  json.key("tensors").begin_array();
  for (const TensorDiff& tensor : diff.tensors) {
    json.begin_object()
        .member("name", tensor.name)
        .member("result", kKindNames[static_cast<std::size_t>(tensor.kind)]);
    for (const auto& [key, side] : {std::pair("a", tensor.a), std::pair("b", tensor.b)}) {
      if (side == nullptr) continue;
      json.key(key).begin_object().member("dtype", type_name(*side)).key("shape").numbers(side->shape);
      if (side->is_seen_through()) {
        json.key("made_of").begin_array();
        for (const std::string& name : side->made_of) json.value(name);
        json.end_array();
      }
      json.end_object();
    }
    if (!tensor.tied_to.empty()) json.member("tied_to", tensor.tied_to);
    const Comparison& c = tensor.comparison;
    if (c.count > 0) {
      json.member("values", c.count).member("differing", c.differing).member("max_abs", c.max_abs);
      json.member("mean_abs", c.mean_abs())
          .member("relative_l2", c.relative_l2())
          .member("cosine", c.cosine());
    }
    json.end_object();
  }
  json.end_array().end_object();
  return text + "\n";
}

}  // namespace mu
