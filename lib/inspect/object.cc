// SPDX-License-Identifier: Apache-2.0
// How a pickled object is shown. The pickle was parsed into nodes without running anything (weights/pickle/);
// this file only walks those nodes. Kinds of objects that users know get a view of their own: optimizers
// (settings and the tensors kept for each parameter), random states, training arguments; anything else is a
// tree. Nodes can be shared or cyclic, so a small pickle can be endless as text. For that reason every view
// is bounded: trees by lines, tables by fields, values by bytes, JSON by one budget of bytes for the whole
// document. Values whose names or texts look like secrets are masked everywhere.

#include "inspect/object.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "base/apart.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/table.h"
#include "inspect/rank_pieces.h"
#include "model/secrets.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::size_t kTreeLines = 4000;      // lines of --tree: more than anybody reads, and a bound
constexpr std::size_t kOverviewLines = 40;    // lines of a tree in the default view, about one screen
constexpr std::size_t kOverviewFields = 30;   // likewise
constexpr std::size_t kValueBytes = 60;       // of a value in a table: leaves room for its name on a line
constexpr std::size_t kLongestLine = 10'000;  // items of a list that are checked: bounds the time
constexpr std::size_t kJsonBytes =
    16U << 20;  // of all values in the JSON report together: the bound against shared nodes
constexpr std::size_t kLongValue = 1U << 20;  // bytes of one value
constexpr int kJsonDepth = 8;                 // levels of nested lists, below which they become text
constexpr std::size_t kJsonItems = 1000;      // a longer list becomes text

bool is_leaf(const Pickle& p, PickleId id) {
  const PickleKind kind = p.kind(id);
  if (kind <= PickleKind::kBytes || kind == PickleKind::kGlobal || kind >= PickleKind::kPersistent)
    return true;
  if (is_tensor_node(p, id)) return true;
  if (kind == PickleKind::kCall)
    return pickle_mapping(p, id).empty() &&
           (p.call(id).state == kNoNode || p.kind(p.call(id).state) != PickleKind::kDict) &&
           p.call(id).list == kNoNode;
  // Short lists of plain values stay on their line.
  const std::span<const PickleId> all = p.items(id);
  if (kind == PickleKind::kDict) return all.empty();
  const std::span<const PickleId> items = all.first(std::min(all.size(), kLongestLine));
  return std::all_of(items.begin(), items.end(),
                     [&p](PickleId item) { return p.kind(item) <= PickleKind::kBytes; });
}

struct Child {
  std::string name;
  PickleId value;
};

// The contents of a node: mappings as alternating keys and values, then a list.
struct Contents {
  std::array<std::span<const PickleId>, 2> mappings{};
  std::span<const PickleId> list{};

  [[nodiscard]] std::size_t count() const {
    return mappings[0].size() / 2 + mappings[1].size() / 2 + list.size();
  }
};
Contents contents_of(const Pickle& p, PickleId id) {
  Contents contents;
  if (p.kind(id) == PickleKind::kCall) {
    const PickleCall& call = p.call(id);
    if (call.state != kNoNode && p.kind(call.state) == PickleKind::kDict)
      contents.mappings[0] = p.items(call.state);
    if (call.list != kNoNode) contents.list = p.items(call.list);
    contents.mappings[1] = pickle_mapping(p, id);
  } else if (p.kind(id) == PickleKind::kDict) {
    contents.mappings[0] = p.items(id);
  } else {
    contents.list = p.items(id);
  }
  return contents;
}

// The children of a node, at most the first `most`.
std::vector<Child> children_of(const Pickle& p, const Contents& contents, std::size_t most) {
  std::vector<Child> children;
  for (const std::span<const PickleId> pairs : contents.mappings) {
    for (std::size_t i = 0; i < pairs.size() && children.size() < most; i += 2)
      children.push_back({mask_secrets(pickle_key_text(p, pairs[i])), pairs[i + 1]});
  }
  for (std::size_t i = 0; i < contents.list.size() && children.size() < most; ++i)
    children.push_back({std::to_string(i), contents.list[i]});
  return children;
}

std::string value_text(const Pickle& p, std::string_view name, PickleId id) {
  if (is_secret(p, name, id)) return "'***'";
  return python_value(p, id, kValueBytes);
}

// The type and, unless it is a leaf, the number of its children.
std::string type_column(const Pickle& p, PickleId id) {
  const std::string type = python_type(p, id);
  if (is_leaf(p, id)) return type;
  return fmt::format("{} of {}", type, group_digits(contents_of(p, id).count()));
}

class TreePrinter {
 public:
  TreePrinter(const Pickle& pickle, std::size_t depth, std::size_t lines, std::size_t indent,
              std::size_t width)
      : p_(pickle), depth_(depth), lines_(lines), indent_(indent), width_(width) {}

  std::string text() {
    const PickleId root = p_.root();
    const std::string blanks(indent_, ' ');
    if (is_leaf(p_, root)) return blanks + value_text(p_, "", root) + "\n";
    walk(root, 0);
    std::string text = table_.text(indent_, width_);
    if (left_out_ > 0) text += fmt::format("{}… {} more lines\n", blanks, group_digits(left_out_));
    return text;
  }

 private:
  void walk(PickleId id, std::size_t level) {
    // Trees may be cyclic or share nodes; the number of lines is the real bound.
    if (level >= 64) return;
    const Contents contents = contents_of(p_, id);
    const std::vector<Child> children = children_of(p_, contents, lines_ - std::min(lines_, rows_));
    left_out_ += contents.count() - children.size();
    std::vector<std::string> names;
    for (const Child& child : children) names.push_back(child.name);
    names = shorten_apart(names, 80);
    for (std::size_t i = 0; i < children.size(); ++i) {
      const Child& child = children[i];
      if (rows_ >= lines_) {
        ++left_out_;
        continue;
      }
      ++rows_;
      const bool leaf = is_leaf(p_, child.value);
      table_.row({std::string(2 * level, ' ') + escape_name(names[i]), type_column(p_, child.value),
                  leaf ? value_text(p_, child.name, child.value) : ""});
      if (!leaf && (depth_ == 0 || level + 1 < depth_)) walk(child.value, level + 1);
    }
  }

  const Pickle& p_;
  std::size_t depth_, lines_, indent_, width_;
  std::size_t rows_ = 0;
  std::uint64_t left_out_ = 0;
  Table table_{"lll"};
};

std::string fields_table(const TorchObject& object, std::size_t most, std::size_t indent, std::size_t width) {
  const Pickle& p = *object.pickle;
  Table table("lll");
  const std::vector<PickledField> fields = pickled_fields(object);
  for (std::size_t i = 0; i < fields.size() && i < most; ++i)
    table.row({escape_name(fields[i].name), python_type(p, fields[i].value),
               value_text(p, fields[i].name, fields[i].value)});
  std::string text = table.text(indent, width);
  if (fields.size() > most)
    text += fmt::format("{}… and {} more (--metadata lists all)\n", std::string(indent, ' '),
                        fields.size() - most);
  return text;
}

// --- optimizer.pt ---

struct Moment {
  std::uint64_t tensors = 0, elements = 0, bytes = 0;
};

// The tensors that an optimizer keeps for each parameter, by name ("exp_avg") and dtype: 8-bit optimizers
// keep fp32 for small parameters.
using Moments = std::map<std::pair<std::string, std::string>, Moment>;
Moments moments_of(const Weights& weights) {
  Moments moments;
  constexpr std::string_view kState = "state.";
  for (const Tensor& tensor : weights.tensors) {
    if (!tensor.name.starts_with(kState)) continue;
    Moment& moment = moments[{tensor.name.substr(tensor.name.rfind('.') + 1),
                              std::string(element_type_text(weights, tensor))}];
    ++moment.tensors;
    moment.elements += tensor.element_count();
    moment.bytes += stored_bytes(weights, tensor);
  }
  return moments;
}

// The optimizer that keeps such tensors (torch.optim, transformers.optimization, bitsandbytes.optim).
std::string_view optimizer_name(const Moments& moments, bool decoupled) {
  const auto keeps = [&moments](std::string_view name) {
    return std::any_of(moments.begin(), moments.end(),
                       [name](const auto& entry) { return entry.first.first == name; });
  };
  if (keeps("absmax1") || keeps("qmap1")) return "8-bit optimizer of bitsandbytes";
  if (keeps("state1")) return "optimizer of bitsandbytes";
  if (keeps("exp_avg_sq_row")) return "Adafactor";
  if (keeps("exp_inf")) return "Adamax";
  if (keeps("mu_product")) return "NAdam";
  if (keeps("exp_avg_sq")) return decoupled ? "AdamW" : "Adam or AdamW";
  if (keeps("exp_avg")) return "Lion";
  if (keeps("momentum_buffer")) return "SGD with momentum";
  if (keeps("square_avg")) return "RMSprop or Adadelta";
  if (keeps("sum")) return "Adagrad";
  return "";
}

std::string optimizer_text(const Input& input, const TorchObject& object, std::size_t width) {
  const Pickle& p = *object.pickle;
  const Moments moments = moments_of(input.weights);
  std::string text;
  const PickleId groups = pickle_find(p, p.root(), "param_groups");
  bool decoupled = false;  // AdamW says so since torch 2.6
  for (const PickleId group : groups == kNoNode ? std::span<const PickleId>() : p.items(groups)) {
    const PickleId flag = pickle_find(p, group, "decoupled_weight_decay");
    decoupled = decoupled || (flag != kNoNode && p.kind(flag) == PickleKind::kBool && p.truth(flag));
  }
  if (const std::string_view name = optimizer_name(moments, decoupled); !name.empty())
    text += fmt::format("  {}, by the tensors it keeps\n", name);
  Table settings("ll");
  std::size_t number = 0;
  for (const PickleId group : groups == kNoNode ? std::span<const PickleId>() : p.items(groups)) {
    std::vector<std::string> parts;
    std::size_t parameters = 0;
    const std::span<const PickleId> pairs = pickle_mapping(p, group);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const std::string key = pickle_key_text(p, pairs[i]);
      if (key == "params") {
        parameters = p.items(pairs[i + 1]).size();
      } else if (p.kind(pairs[i + 1]) != PickleKind::kNone) {
        parts.push_back(escape_name(key) + " " + value_text(p, key, pairs[i + 1]));
      }
    }
    settings.row({fmt::format("group {}: {}", number++, plural(parameters, "parameter")), join(parts, ", ")});
    if (number == 16) break;
  }
  text += "\n" + settings.text(2, width);
  Table table("llrrr");
  table.row({"kept for each", "dtype", "tensors", "values", "bytes"});
  for (const auto& [kind, moment] : moments)
    table.row({escape_name(kind.first), escape_name(kind.second), group_digits(moment.tensors),
               group_digits(moment.elements), format_size(moment.bytes)});
  if (!moments.empty()) text += "\n" + table.text(2, width);
  return text;
}

// --- rng_state.pth ---

std::string rng_text(const TorchObject& object, std::size_t width) {
  const Pickle& p = *object.pickle;
  Table table("ll");
  for (const PickledField& field : pickled_fields(object)) {
    const bool several = p.kind(field.value) == PickleKind::kList;
    std::string what = python_value(p, field.value, kValueBytes);
    const bool saved = p.kind(field.value) != PickleKind::kNone;
    if (field.name == "python" && saved) what = "Mersenne Twister of Python's random";
    if (field.name == "numpy" && saved) what = "NumPy's global generator";
    if (several) what = plural(p.items(field.value).size(), "device");
    table.row({escape_name(field.name), std::move(what)});
  }
  return "  saved generators:\n" + table.text(4, width);
}

// Shared nodes can make a small pickle endless as text: `left` is how many bytes may still be written.
void write_value(JsonWriter& json, const Pickle& p, std::string_view name, PickleId id, int depth,
                 std::size_t& left) {
  constexpr std::size_t kLeast = 8;  // bytes, charged for every value, even a number
  left -= std::min(left, kLeast);
  if (is_secret(p, name, id)) {
    json.value("***");
    return;
  }
  switch (p.kind(id)) {
    case PickleKind::kNone:
      json.null();
      return;
    case PickleKind::kBool:
      json.value(p.truth(id));
      return;
    case PickleKind::kInt:
      json.value(p.integer(id));
      return;
    case PickleKind::kFloat:
      json.value(p.real(id));
      return;
    case PickleKind::kList:
    case PickleKind::kTuple: {
      const std::span<const PickleId> items = p.items(id);
      if (depth > kJsonDepth || items.size() > kJsonItems || left < items.size() * kLeast) break;
      json.begin_array();
      for (const PickleId item : items) write_value(json, p, "", item, depth + 1, left);
      json.end_array();
      return;
    }
    default:
      break;
  }
  const std::string text = plain_value(p, id, std::min(left, kLongValue));
  left -= std::min(left, text.size());
  json.value(text);
}

}  // namespace

const TorchObject* shown_object(const Input& input) {
  if (input.folder || input.weights.files.size() != 1) return nullptr;
  const TorchObject* const object = input.weights.files.front().object.get();
  if (object == nullptr || !object->pickle || object->pickle->root() == kNoNode) return nullptr;
  return pickled_kind(*object) == PickledKind::kStateDict ? nullptr : object;
}

std::string object_tree_text(const TorchObject& object, std::size_t depth, std::size_t width) {
  return TreePrinter(*object.pickle, depth, kTreeLines, 0, width).text();
}

std::string object_overview_text(const Input& input, const TorchObject& object, std::size_t width) {
  switch (pickled_kind(object)) {
    case PickledKind::kOptimizer:
      return optimizer_text(input, object, width);
    case PickledKind::kRng:
      return rng_text(object, width);
    case PickledKind::kTrainingArguments:
      return "\n" + fields_table(object, kOverviewFields, 2, width);
    default:
      break;
  }
  return "\n" + TreePrinter(*object.pickle, 2, kOverviewLines, 2, width).text();
}

std::string object_fields_text(const TorchObject& object) {
  constexpr std::size_t kFew = 1000, kLong = 4096, kShort = 256;
  std::string text;
  const std::vector<PickledField> fields = pickled_fields(object);
  for (const PickledField& field : fields)
    text +=
        fmt::format("{}\t{}\t{}\n", escape_name(field.name), python_type(*object.pickle, field.value),
                    is_secret(*object.pickle, field.name, field.value)
                        ? "'***'"
                        : python_value(*object.pickle, field.value, fields.size() > kFew ? kShort : kLong));
  if (fields.size() == kMaxPickledFields) text += "…\n";
  return text;
}

std::string object_field_text(const TorchObject& object, std::string_view name) {
  for (const PickledField& field : pickled_fields(object)) {
    if (field.name != name) continue;
    if (is_secret(*object.pickle, name, field.value)) return "***";
    return plain_value(*object.pickle, field.value, kLongValue);
  }
  throw Error(ErrorKind::kAnswerNo, "has no entry '" + escape_name(name) + "'");
}

void write_object(JsonWriter& json, const Input& input) {
  const TorchObject* const object =
      input.weights.files.size() == 1 ? input.weights.files.front().object.get() : nullptr;
  if (object == nullptr || !object->pickle || object->pickle->root() == kNoNode) return;
  json.key("object").begin_object();
  json.member("kind", pickled_kind_name(pickled_kind(*object)))
      .member("container", container_name(object->container))
      .member("class", root_class(*object))
      .member("state_dict", object->state_dict_key);
  if (!object->is_state_dict || !object->state_dict_key.empty()) {
    std::size_t left = kJsonBytes;
    json.key("fields").begin_array();
    for (const PickledField& field : pickled_fields(*object)) {
      json.begin_object()
          .member("name", field.name)
          .member("type", python_type(*object->pickle, field.value))
          .key("value");
      write_value(json, *object->pickle, field.name, field.value, 0, left);
      json.end_object();
    }
    json.end_array();
  }
  json.end_object();
}

}  // namespace mu
