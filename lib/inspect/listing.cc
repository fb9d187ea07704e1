// SPDX-License-Identifier: Apache-2.0
// The overview is a screen: totals, then the tensors with numbered layers folded (fold.h), the largest groups if there
// are too many, then the files and notes. For the file of one rank (rank_pieces.h) the table also says what it has of
// each tensor. The other views are lists: one line for each tensor, formatted by hand where they may be long.
#include "inspect/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <map>
#include <tuple>

#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/table.h"
#include "inspect/fold.h"
#include "inspect/joined.h"
#include "inspect/object.h"
#include "inspect/rank_pieces.h"
#include "inspect/safety.h"
#include "os/folder.h"
#include "tensor/format.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::size_t kShownGroups =
    24;                                  // lines of tensors in the overview: with the rest it fits one screen
constexpr std::size_t kShownFiles = 16;  // likewise
constexpr std::size_t kLongValue = 200;  // characters of a metadata value

// Text in lines of at most `width` columns, indented by two.
std::string paragraph(const std::string& text, std::size_t width) {
  return "  " + wrap(text, width, 2) + "\n";
}

std::string verdict_text(const Findings& findings) {
  const std::optional<Level> reached = level_reached(findings);
  const std::size_t count = findings.list().size();
  if (!reached) return red("refused by the reference library") + ", --check says why";
  if (count == 0) return green("sound");
  return yellow(fmt::format("loads, {}", plural(count, "finding"))) +
         fmt::format(" (--check={} lists {})", level_name(Level::kHub), count == 1 ? "it" : "them");
}

std::string dtype_table(const InputFacts& facts, std::size_t width) {
  Table table("lrrrr");
  table.row({"dtype", "tensors", "parameters", "bytes", "share"});
  for (const DtypeTotal& total : facts.dtypes) {
    const double share =
        facts.bytes == 0 ? 0 : 100.0 * static_cast<double>(total.bytes) / static_cast<double>(facts.bytes);
    table.row({escape_name(total.text), group_digits(total.tensors), group_digits(total.elements),
               format_size(total.bytes), fmt::format("{:.1f} %", share)});
  }
  return table.text(2, width);
}

// A line of a file of one rank: what it has of the tensors of a group.
std::vector<std::string> piece_row(const FoldedGroup& group, const Weights& weights) {
  const Tensor& tensor = *group.first;
  const PieceTexts piece = piece_texts(weights, tensor);
  return {group.name,
          escape_name(element_type_text(weights, tensor)),
          shape_text(tensor.shape),
          group.count > 1 ? "×" + group_digits(group.count) : "",
          piece.placements,
          piece.shape,
          format_size(group.count * stored_bytes(weights, tensor))};
}

std::string groups_table(const Input& input, const std::vector<const Tensor*>& tensors, std::size_t width) {
  const std::vector<FoldedGroup> groups = fold_tensors(tensors);
  const bool pieces = has_pieces(input);
  // The largest groups, in their original order.
  std::vector<std::size_t> shown(groups.size());
  for (std::size_t i = 0; i < shown.size(); ++i) shown[i] = i;
  if (shown.size() > kShownGroups) {
    const auto size = [&](std::size_t i) { return pieces ? groups[i].elements : groups[i].bytes; };
    std::stable_sort(shown.begin(), shown.end(),
                     [&](std::size_t a, std::size_t b) { return size(a) > size(b); });
    shown.resize(kShownGroups);
    std::sort(shown.begin(), shown.end());
  }
  Table table(pieces ? "lllrllr" : "lllrr");
  if (pieces) table.row({"name", "dtype", "whole", "", "placement", "here", "bytes here"});
  for (const std::size_t i : shown) {
    const FoldedGroup& group = groups[i];
    table.row(pieces ? piece_row(group, input.weights)
                     : std::vector<std::string>{
                           group.name, escape_name(type_text(*group.first)), shape_text(group.first->shape),
                           group.count > 1 ? "×" + group_digits(group.count) : "", format_size(group.bytes)});
  }
  if (pieces) table.leave_out({6, 1}, width);
  std::string text = table.text(2, width);
  if (groups.size() > shown.size())
    text += fmt::format("  … and {} of smaller tensors (-t lists all)\n",
                        plural(groups.size() - shown.size(), "line"));
  return text;
}

std::string files_table(const Folder& folder, std::size_t width) {
  Table table("lrl");
  std::size_t rows = 0;
  for (const FolderFile& file : folder.files) {
    if (rows++ == kShownFiles) break;
    table.row({escape_name(file.name) + (file.is_folder ? "/" : ""),
               file.is_folder ? "" : format_size(file.size), std::string(role_text(file.role))});
  }
  std::string text = table.text(2, width);
  if (folder.files.size() > kShownFiles)
    text += fmt::format("  … and {} more\n", folder.files.size() - kShownFiles);
  return text;
}

// A node of the tree: its children by name, and sums over everything below.
struct TreeNode {
  std::map<std::string, TreeNode, std::less<>> children;
  std::uint64_t count = 0, elements = 0, bytes = 0;
};

void draw_tree(const TreeNode& node, std::size_t level, std::size_t depth, Table& table) {
  for (const auto& [name, child] : node.children) {
    table.row({std::string(2 * level, ' ') + name, plural(child.count, "tensor"),
               group_digits(child.elements), format_size(child.bytes)});
    if (depth == 0 || level + 1 < depth) draw_tree(child, level + 1, depth, table);
  }
}

}  // namespace

std::optional<SortKey> sort_key_of(std::string_view word) {
  if (word == "name") return SortKey::kName;
  if (word == "size") return SortKey::kSize;
  if (word == "offset") return SortKey::kOffset;
  if (word == "dtype") return SortKey::kDtype;
  return std::nullopt;
}

std::vector<const Tensor*> choose_tensors(const Weights& weights, const std::vector<Glob>& filters,
                                          SortKey key) {
  std::vector<const Tensor*> chosen;
  chosen.reserve(weights.tensors.size());
  for (const Tensor& tensor : weights.tensors) {
    if (filters.empty() || matches_any(filters, tensor.name)) chosen.push_back(&tensor);
  }
  const auto sort_by = [&chosen](auto order) {
    std::stable_sort(chosen.begin(), chosen.end(),
                     [order](const Tensor* a, const Tensor* b) { return order(*a) < order(*b); });
  };
  switch (key) {
    case SortKey::kName:
      sort_by([](const Tensor& t) { return std::string_view(t.name); });
      break;
    case SortKey::kSize:
      sort_by([](const Tensor& t) { return ~t.size; });
      break;
    case SortKey::kDtype:
      sort_by([](const Tensor& t) { return std::tuple(t.dtype, std::string_view(t.name)); });
      break;
    case SortKey::kOffset:
      break;  // the order of the list
  }
  return chosen;
}

std::string overview_text(const Input& input, const InputFacts& facts, const Findings& findings,
                          const std::vector<const Tensor*>& tensors, std::size_t width) {
  std::string text = bold(escape_name(input.name)) + "\n";
  text += paragraph(facts.description, width);
  text += "  " + verdict_text(findings) + "\n";
  if (const std::string safety = safety_line(input); !safety.empty()) text += "  " + safety + "\n";
  if (const TorchObject* const object = shown_object(input)) {
    if (facts.tensors > 0)
      text += fmt::format("  {} values, {} in {}\n", group_digits(facts.elements),
                          format_size(facts.stored_bytes), plural(facts.tensors, "tensor"));
    text += object_overview_text(input, *object, width);
    for (const std::string& note : facts.notes) text += paragraph("note: " + note, width);
    return text;
  }
  text += paragraph(fmt::format("{} parameters, {} in {}, {}", group_digits(facts.elements),
                                format_size(facts.stored_bytes) + (has_pieces(input) ? " of them here," : ""),
                                plural(facts.tensors, "tensor"), plural(input.weights.files.size(), "file")),
                    width);
  const bool joins = facts.quantised && !has_pieces(input);
  if (joins) text += paragraph("quantised: " + quantisation_text(*facts.quantised), width);
  if (facts.dtypes.size() > 1 && !has_pieces(input)) text += "\n" + dtype_table(facts, width);
  if (!tensors.empty())
    text +=
        "\n" + (joins ? groups_table(input, join_quantised(input, *facts.quantised, tensors).tensors, width)
                      : groups_table(input, tensors, width));
  const Metadata metadata = input.weights.merged_metadata();
  if (metadata.size() > (metadata.contains("format") ? 1U : 0U))
    text += fmt::format("\n  metadata: {} (--metadata shows them)\n", plural(metadata.size(), "key"));
  if (input.folder) text += "\n" + files_table(*input.folder, width);
  if (!facts.notes.empty()) text += "\n";
  for (const std::string& note : facts.notes) text += paragraph("note: " + note, width);
  return text;
}

void print_tensors(const Input& input, const std::vector<const Tensor*>& tensors) {
  const Weights& weights = input.weights;
  const bool pieces = has_pieces(input);
  std::vector<std::string> files;
  for (const WeightsFile& file : weights.files) files.push_back(escape_name(base_name(file.name)));
  // Formatted by hand: this view is used for headers of half a million tensors, and the iterators of fmt take
  // twice as long here.
  std::string line;
  const auto add_number = [&line](std::uint64_t number) {
    char digits[20];
    line.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
  };
  for (const Tensor* tensor : tensors) {
    line = escape_name(tensor->name);
    line += '\t';
    if (tensor->dtype == Dtype::kForeign) {
      line += escape_name(type_name(*tensor));
    } else {
      line += name(tensor->dtype);
    }
    line += '\t';
    for (std::size_t i = 0; i < tensor->shape.size(); ++i) {
      if (i > 0) line += ',';
      add_number(tensor->shape[i]);
    }
    for (const std::uint64_t number : {tensor->element_count(), tensor->size}) {
      line += '\t';
      add_number(number);
    }
    line += '\t';
    line += files[tensor->source];
    line += '\t';
    add_number(tensor->offset);
    if (pieces) {
      const PieceTexts piece = piece_texts(weights, *tensor);
      line += fmt::format("\t{}\t{}\t{}\t{}", escape_name(element_type_text(weights, *tensor)), piece.shape,
                          stored_bytes(weights, *tensor), piece.placements);
    }
    line += '\n';
    out(line);
  }
}

void print_names(const std::vector<const Tensor*>& tensors, bool null) {
  for (const Tensor* tensor : tensors) {
    out(null ? tensor->name : escape_name(tensor->name));
    out(null ? std::string_view("\0", 1) : "\n");
  }
}

std::string tree_text(const std::vector<const Tensor*>& tensors, std::size_t depth, std::size_t width) {
  TreeNode root;
  for (const FoldedGroup& group : fold_tensors(tensors)) {
    TreeNode* node = &root;
    for (const std::string_view part : split(group.name, '.')) {
      node = &node->children[std::string(part)];
      node->count += group.count;
      node->elements += group.elements;
      node->bytes += group.bytes;
    }
  }
  Table table("lrrr");
  draw_tree(root, 0, depth, table);
  table.leave_out({2, 1}, width);  // values, tensors: the names are what a tree is for
  return table.text(0, width);
}

std::string metadata_text(const Metadata& metadata) {
  std::string text;
  for (const auto& [key, value] : metadata) {
    const std::string shown = escape_name(value);
    text += fmt::format("{} = {}\n", escape_name(key),
                        shown.size() > kLongValue
                            ? shorten(shown, kLongValue) + fmt::format(" ({} bytes)", value.size())
                            : shown);
  }
  return text;
}

}  // namespace mu
