// SPDX-License-Identifier: Apache-2.0
#include "model/pickled.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <unordered_map>

#include "base/text.h"

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

// Shape of a tensor or array node, as far as its arguments show.
std::string shape_of(const Pickle& p, std::span<const PickleId> args, std::size_t index) {
  if (index >= args.size()) return "[…]";
  PickleId shape = args[index];
  if (const PickleId inner = only_argument(p, shape); inner != kNoNode) shape = inner;
  std::vector<std::string> parts;
  for (const PickleId n : p.items(shape))
    parts.push_back(p.kind(n) == PickleKind::kInt ? std::to_string(p.integer(n)) : "?");
  return "[" + join(parts, ", ") + "]";
}

class ValueWriter {
 public:
  ValueWriter(const Pickle& pickle, std::size_t limit) : p_(pickle), limit_(limit) {}

  std::string text(PickleId id) {
    write(id, 0);
    if (out_.size() > limit_) {
      std::size_t end = limit_;
      while (end > 0 && (static_cast<unsigned char>(out_[end]) & 0xC0) == 0x80) --end;
      out_.resize(end);
      out_ += "…";
    }
    return out_;
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
      const bool named = p_.kind(pairs[i]) == PickleKind::kText;
      if (named && is_secret(p_.text(pairs[i]), p_.text(pairs[i + 1]))) {
        out_ += "'***'";
      } else {
        write(pairs[i + 1], depth + 1);
      }
    }
    out_ += '}';
  }

  void write(PickleId id, int depth) {
    // Cycles and shared parts make some trees endless as text.
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
        out_ += quote(p_.text(id).substr(0, limit_ + 1));
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
      for (const PickleId part : args) parts.emplace_back(p_.text(part));
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

std::string lower(std::string_view text) {
  std::string out;
  for (const char c : text) out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
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
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
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
  switch (p.kind(id)) {
    case PickleKind::kNone:
      return "None";
    case PickleKind::kBool:
      return "bool";
    case PickleKind::kInt:
    case PickleKind::kBigInt:
      return "int";
    case PickleKind::kFloat:
      return "float";
    case PickleKind::kText:
      return "str";
    case PickleKind::kBytes:
      return "bytes";
    case PickleKind::kTuple:
      return "tuple";
    case PickleKind::kList:
      return "list";
    case PickleKind::kDict:
      return "dict";
    case PickleKind::kSet:
      return "set";
    case PickleKind::kGlobal:
      return "class";
    case PickleKind::kPersistent:
      return "storage";
    case PickleKind::kBuffer:
      return "buffer";
    case PickleKind::kCall:
      break;
  }
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

std::string plain_value(const Pickle& pickle, PickleId id) {
  id = enum_value(pickle, id);
  if (pickle.kind(id) == PickleKind::kText) return mask_secrets(pickle.text(id));
  return python_value(pickle, id, 1U << 20);
}

bool is_secret(std::string_view name, std::string_view value) {
  if (value.empty()) return false;
  const std::string key = lower(name);
  // Whole names: eos_token and pad_token are no secrets.
  constexpr std::array kNames = std::to_array<std::string_view>(
      {"token", "hub_token", "push_to_hub_token", "hf_token", "auth_token", "use_auth_token", "access_token",
       "api_token", "api_key", "apikey", "password", "passwd", "secret", "secret_key", "private_key",
       "access_key", "client_secret", "credentials"});
  constexpr std::array kEndings =
      std::to_array<std::string_view>({"_api_key", "_password", "_secret", "_access_token", "_auth_token",
                                       "_secret_key", "_hub_token", "_private_key"});
  return std::find(kNames.begin(), kNames.end(), key) != kNames.end() ||
         std::any_of(kEndings.begin(), kEndings.end(),
                     [&key](std::string_view ending) { return key.ends_with(ending); });
}

std::string mask_secrets(std::string_view text) {
  // Prefixes under which services hand out tokens, and how many characters follow at least.
  struct Form {
    std::string_view prefix;
    std::size_t least;
  };
  constexpr std::array kForms = std::to_array<Form>({{"hf_", 20},
                                                     {"api_org_", 20},
                                                     {"ghp_", 20},
                                                     {"gho_", 20},
                                                     {"ghs_", 20},
                                                     {"github_pat_", 20},
                                                     {"glpat-", 16},
                                                     {"sk-", 20},
                                                     {"xoxb-", 20},
                                                     {"AKIA", 16},
                                                     {"wandb_v1_", 20}});
  const auto is_part = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
  };
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const std::string_view rest = text.substr(i);
    const auto form =
        std::find_if(kForms.begin(), kForms.end(), [&](const Form& f) { return rest.starts_with(f.prefix); });
    if (form != kForms.end() && (i == 0 || !is_part(text[i - 1]))) {
      std::size_t end = form->prefix.size();
      while (end < rest.size() && is_part(rest[end])) ++end;
      if (end >= form->prefix.size() + form->least) {
        out += "***";
        i += end;
        continue;
      }
    }
    out += text[i++];
  }
  return out;
}

}  // namespace mu
