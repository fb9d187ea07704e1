// SPDX-License-Identifier: Apache-2.0
// Three things are read from the nodes of a pickle. The kind of a file follows from its root: from the class,
// or from the keys that an optimizer, a scheduler or a scaler has (pickled_kind). The entries of the root are
// its fields. And any value can be written as text, as Python's repr would write it, with secrets masked.
//
// Trees may be cyclic and refer to one value many times, so that their text can be endless: writing stops at
// a depth of 20 and as soon as the text is longer than asked for, and no list is walked further than that.
#include "model/pickled.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <unordered_map>

#include "base/text.h"
#include "model/secrets.h"

namespace mu {
namespace {

// The tuple, list or plain value that a constructor of plain data was given; kNoNode for other calls.
PickleId only_argument(const Pickle& p, PickleId id) {
  if (p.kind(id) != PickleKind::kCall) return kNoNode;
  const std::span<const PickleId> args = p.items(p.call(id).args);
  return args.size() == 1 ? args[0] : kNoNode;
}

bool is_scalar(PickleKind kind) {
  return kind <= PickleKind::kBytes;
}

std::string class_of(const Pickle& p, PickleId id) {
  const std::string name = pickle_name(p, id);
  return name.substr(name.rfind('.') + 1);
}

// The member of an enum: Class(value), or getattr(Class, 'NAME').
struct EnumMember {
  std::string type;
  PickleId value = kNoNode;
};
EnumMember enum_member(const Pickle& p, PickleId id) {
  if (p.kind(id) != PickleKind::kCall) return {};
  const PickleCall& call = p.call(id);
  if (call.kind != CallKind::kReduce || call.state != kNoNode || call.dict != kNoNode) return {};
  const std::span<const PickleId> args = p.items(call.args);
  const std::string callee = class_of(p, id);
  if (callee == "getattr" && args.size() == 2 && p.kind(args[0]) == PickleKind::kGlobal &&
      p.kind(args[1]) == PickleKind::kText)
    return {std::string(p.global(args[0]).name), args[1]};
  const bool is_class = !callee.empty() && std::isupper(static_cast<unsigned char>(callee.front())) != 0;
  if (is_class && args.size() == 1 && is_scalar(p.kind(args[0])) && !pickle_name(p, id).starts_with("torch."))
    return {callee, args[0]};
  return {};
}

std::string float_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string quote(std::string_view text) {
  return "'" + escape_name(mask_secrets(text)) + "'";
}
// At most `limit` bytes, and as many more as it takes to see the whole of a token that begins there.
std::string_view start_of(std::string_view text, std::size_t limit) {
  constexpr std::size_t kLongestToken = 256;
  return text.substr(0, limit + kLongestToken);
}

// Cut between characters.
std::string cut(std::string text, std::size_t limit) {
  if (text.size() <= limit) return text;
  std::size_t end = limit;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "…";
}

// Shape of a tensor or array node, as far as its arguments show.
std::string shape_of(const Pickle& p, std::span<const PickleId> args, std::size_t index) {
  if (index >= args.size()) return "[…]";
  PickleId shape = args[index];
  if (const PickleId inner = only_argument(p, shape); inner != kNoNode) shape = inner;
  constexpr std::size_t kMaxShown = 16;
  std::vector<std::string> parts;
  for (const PickleId n : p.items(shape)) {
    if (parts.size() == kMaxShown) {
      parts.emplace_back("…");
      break;
    }
    parts.push_back(p.kind(n) == PickleKind::kInt ? std::to_string(p.integer(n)) : "?");
  }
  return "[" + join(parts, ", ") + "]";
}

class ValueWriter {
 public:
  ValueWriter(const Pickle& pickle, std::size_t limit) : p_(pickle), limit_(limit) {}

  std::string text(PickleId id) {
    write(id, 0);
    return cut(std::move(out_), limit_);
  }

 private:
  bool full() const { return out_.size() > limit_; }

  void list(std::span<const PickleId> items, char open, char close, int depth) {
    out_ += open;
    for (std::size_t i = 0; i < items.size() && !full(); ++i) {
      if (i > 0) out_ += ", ";
      write(items[i], depth + 1);
    }
    if (open == '(' && items.size() == 1) out_ += ',';
    out_ += close;
  }

  void mapping(std::span<const PickleId> pairs, int depth) {
    out_ += '{';
    for (std::size_t i = 0; i < pairs.size() && !full(); i += 2) {
      if (i > 0) out_ += ", ";
      write(pairs[i], depth + 1);
      out_ += ": ";
      if (is_secret(p_, p_.text(pairs[i]), pairs[i + 1])) {
        out_ += "'***'";
      } else {
        write(pairs[i + 1], depth + 1);
      }
    }
    out_ += '}';
  }

  void write(PickleId id, int depth) {
    // Cycles and repeated values make some trees endless as text.
    if (depth > 20 || full()) {
      out_ += "…";
      return;
    }
    switch (p_.kind(id)) {
      case PickleKind::kNone:
        out_ += "None";
        return;
      case PickleKind::kBool:
        out_ += p_.truth(id) ? "True" : "False";
        return;
      case PickleKind::kInt:
        out_ += std::to_string(p_.integer(id));
        return;
      case PickleKind::kBigInt:
        out_ += p_.text(id);
        return;
      case PickleKind::kFloat:
        out_ += float_text(p_.real(id));
        return;
      case PickleKind::kText:
        out_ += quote(start_of(p_.text(id), limit_));
        return;
      case PickleKind::kBytes:
        out_ += fmt::format("<{}>", plural(p_.text(id).size(), "byte"));
        return;
      case PickleKind::kTuple:
        return list(p_.items(id), '(', ')', depth);
      case PickleKind::kList:
        return list(p_.items(id), '[', ']', depth);
      case PickleKind::kSet:
        return list(p_.items(id), '{', '}', depth);
      case PickleKind::kDict:
        return mapping(p_.items(id), depth);
      case PickleKind::kGlobal:
        out_ += escape_name(pickle_name(p_, id));
        return;
      case PickleKind::kCall:
        return write_call(id, depth);
      case PickleKind::kPersistent:
        out_ += "<storage>";
        return;
      case PickleKind::kBuffer:
        out_ += "<buffer>";
        return;
    }
  }

  void write_call(PickleId id, int depth) {
    const PickleCall& call = p_.call(id);
    const std::span<const PickleId> args = p_.items(call.args);
    if (const EnumMember member = enum_member(p_, id); member.value != kNoNode)
      return write(member.value, depth + 1);
    const std::string name = pickle_name(p_, id);
    if (is_tensor_node(p_, id)) {
      const bool wrapped = name.ends_with("parameter") || name.ends_with("Parameter");
      if (wrapped && !args.empty()) return write(args[0], depth + 1);
      out_ += "tensor " + shape_of(p_, args, 2);
      return;
    }
    if (name == "torch.Size" || name == "torch.device" || name == "collections.OrderedDict" ||
        name == "builtins.set" || name == "builtins.frozenset" || name == "collections.defaultdict" ||
        name == "collections.Counter") {
      if (call.dict != kNoNode) return mapping(p_.items(call.dict), depth);
      if (const PickleId inner = only_argument(p_, id); inner != kNoNode) return write(inner, depth + 1);
      out_ += "{}";
      return;
    }
    if (name.ends_with("Path")) {
      std::vector<std::string> parts;
      std::size_t size = 0;
      for (const PickleId part : args) {
        if (size > limit_) break;
        parts.emplace_back(start_of(p_.text(part), limit_));
        size += parts.back().size();
      }
      out_ += quote(parts.empty()          ? ""
                    : parts.front() == "/" ? "/" + join({parts.begin() + 1, parts.end()}, "/")
                                           : join(parts, "/"));
      return;
    }
    if (name.ends_with("multiarray._reconstruct") && call.state != kNoNode) {
      const std::span<const PickleId> state = p_.items(call.state);
      out_ += "array " + shape_of(p_, state, 1);
      return;
    }
    if (name == "_codecs.encode" && !args.empty()) {
      out_ += "<bytes>";
      return;
    }
    out_ += escape_name(class_of(p_, id)) + "(";
    if (call.state != kNoNode && p_.kind(call.state) == PickleKind::kDict) {
      mapping(p_.items(call.state), depth);
    } else {
      for (std::size_t i = 0; i < args.size() && !full(); ++i) {
        if (i > 0) out_ += ", ";
        write(args[i], depth + 1);
      }
    }
    out_ += ')';
  }

  const Pickle& p_;
  std::size_t limit_;
  std::string out_;
};

bool has(const std::vector<PickledField>& fields, std::string_view name) {
  return std::any_of(fields.begin(), fields.end(),
                     [name](const PickledField& field) { return field.name == name; });
}

// Letters and digits mixed, as in no name that people give.
bool looks_random(std::string_view text) {
  constexpr std::size_t kShortest = 16;
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  return text.size() >= kShortest && std::any_of(text.begin(), text.end(), is_digit) &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                  std::string_view("_-.=+/").find(c) != std::string_view::npos;
         });
}

}  // namespace

PickledKind pickled_kind(const TorchObject& object) {
  if (object.container == TorchContainer::kScript) return PickledKind::kScript;
  if (object.is_state_dict)
    return object.state_dict_key.empty() ? PickledKind::kStateDict : PickledKind::kTrainingCheckpoint;
  const std::vector<PickledField> fields = pickled_fields(object);
  const std::string root = root_class(object);
  if (has(fields, "param_groups") && has(fields, "state")) return PickledKind::kOptimizer;
  if (has(fields, "last_epoch") || has(fields, "base_lrs")) return PickledKind::kScheduler;
  if (has(fields, "growth_factor") && has(fields, "scale")) return PickledKind::kScaler;
  if (has(fields, "python") && has(fields, "numpy")) return PickledKind::kRng;
  if (root.ends_with("TrainingArguments") || (!root.empty() && has(fields, "output_dir")))
    return PickledKind::kTrainingArguments;
  if (has(fields, "_modules") && has(fields, "_parameters")) return PickledKind::kModule;
  return PickledKind::kOther;
}

std::string_view pickled_kind_name(PickledKind kind) {
  switch (kind) {
    case PickledKind::kStateDict:
      return "state dict";
    case PickledKind::kTrainingCheckpoint:
      return "training checkpoint";
    case PickledKind::kOptimizer:
      return "optimizer state";
    case PickledKind::kScheduler:
      return "scheduler state";
    case PickledKind::kScaler:
      return "gradient scaler state";
    case PickledKind::kRng:
      return "random number generator states";
    case PickledKind::kTrainingArguments:
      return "training arguments";
    case PickledKind::kModule:
      return "whole pickled module";
    case PickledKind::kScript:
      return "TorchScript archive";
    case PickledKind::kOther:
      return "pickled object";
  }
  return "";
}

std::vector<PickledField> pickled_fields(const TorchObject& object) {
  std::vector<PickledField> fields;
  if (!object.pickle || object.pickle->root() == kNoNode) return fields;
  const Pickle& p = *object.pickle;
  PickleId at = p.root();
  if (p.kind(at) == PickleKind::kCall && p.call(at).dict == kNoNode && p.call(at).state != kNoNode)
    at = p.call(at).state;
  const std::span<const PickleId> pairs = pickle_mapping(p, at);
  std::unordered_map<std::string, std::size_t> place;
  for (std::size_t i = 0; i < pairs.size() && fields.size() < kMaxPickledFields; i += 2) {
    std::string name = pickle_key_text(p, pairs[i]);
    const auto [found, fresh] = place.try_emplace(name, fields.size());
    if (fresh) {
      fields.push_back({std::move(name), pairs[i + 1]});
    } else {
      fields[found->second].value = pairs[i + 1];
    }
  }
  return fields;
}

std::string root_class(const TorchObject& object) {
  if (!object.pickle || object.pickle->root() == kNoNode) return {};
  const Pickle& p = *object.pickle;
  return p.kind(p.root()) == PickleKind::kCall ? pickle_name(p, p.root()) : std::string();
}

std::string python_type(const Pickle& p, PickleId id) {
  if (p.kind(id) != PickleKind::kCall) return std::string(pickle_type_name(p.kind(id)));
  if (const EnumMember member = enum_member(p, id); member.value != kNoNode) return escape_name(member.type);
  if (is_tensor_node(p, id)) return "Tensor";
  const std::string name = class_of(p, id);
  if (name == "_reconstruct") return "ndarray";
  return name.empty() ? "object" : escape_name(name);
}

std::string python_value(const Pickle& pickle, PickleId id, std::size_t limit) {
  return ValueWriter(pickle, limit).text(id);
}

PickleId enum_value(const Pickle& pickle, PickleId id) {
  const EnumMember member = enum_member(pickle, id);
  return member.value == kNoNode ? id : member.value;
}

std::string plain_value(const Pickle& pickle, PickleId id, std::size_t limit) {
  id = enum_value(pickle, id);
  if (pickle.kind(id) != PickleKind::kText) return python_value(pickle, id, limit);
  return cut(mask_secrets(start_of(pickle.text(id), limit)), limit);
}

bool is_secret(const Pickle& p, std::string_view name, PickleId value) {
  const PickleKind kind = p.kind(value);
  const bool is_text = kind == PickleKind::kText || kind == PickleKind::kBytes;
  if (kind == PickleKind::kNone || kind == PickleKind::kBool || (is_text && p.text(value).empty()))
    return false;
  constexpr std::size_t kLongest = 64;  // of the names below; keys may have any length
  const std::string key = lower_ascii(name.size() > kLongest ? name.substr(name.size() - kLongest) : name);
  // Whole names only: eos_token and pad_token are not secrets.
  constexpr std::array kNames = std::to_array<std::string_view>(
      {"token", "hub_token", "push_to_hub_token", "hf_token", "auth_token", "use_auth_token", "access_token",
       "api_token", "api_key", "apikey", "password", "passwd", "secret", "secret_key", "private_key",
       "access_key", "client_secret", "credentials"});
  constexpr std::array kEndings = std::to_array<std::string_view>(
      {"_api_key", "_password", "_secret", "_access_token", "_auth_token", "_secret_key", "_hub_token",
       "_private_key", "_access_key", "_secret_value", "_passwd", "_credentials"});
  // eos_token and its like have the look of markup or of a word.
  if (is_text && key.ends_with("_token") && looks_random(p.text(value))) return true;
  return std::find(kNames.begin(), kNames.end(), key) != kNames.end() ||
         std::any_of(kEndings.begin(), kEndings.end(),
                     [&key](std::string_view ending) { return key.ends_with(ending); });
}

}  // namespace mu
