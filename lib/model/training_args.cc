// SPDX-License-Identifier: Apache-2.0
#include "model/training_args.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "model/secrets.h"

namespace mu {

TrainingArguments TrainingArguments::read(const std::string& path) {
  return read(InputFile(path));
}

TrainingArguments TrainingArguments::read(InputFile file) {
  const std::string path = file.path();
  if (file.size() > kMaxBytes)
    throw malformed(fmt::format("has {} bytes; at most {} are read of such a file", file.size(), kMaxBytes))
        .in_file(escape_name(path));
  Weights weights;
  add_torch_file(weights, std::move(file));
  TrainingArguments arguments;
  arguments.object_ = weights.files.front().object;
  if (!arguments.object_ || pickled_kind(*arguments.object_) != PickledKind::kTrainingArguments) {
    const bool broken =
        arguments.object_ && arguments.object_->pickle && arguments.object_->pickle->fault().has_value();
    throw malformed(broken ? arguments.object_->pickle->fault()->message : "holds no training arguments")
        .in_file(escape_name(path));
  }
  arguments.class_name = root_class(*arguments.object_);
  arguments.fields_ = pickled_fields(*arguments.object_);
  return arguments;
}

std::vector<std::string> TrainingArguments::names() const {
  std::vector<std::string> names;
  for (const PickledField& field : fields_) {
    if (!field.name.starts_with('_')) names.emplace_back(field.name);
  }
  return names;
}

PickleId TrainingArguments::find(std::string_view name) const {
  const auto found = std::find_if(fields_.begin(), fields_.end(),
                                  [name](const PickledField& field) { return field.name == name; });
  return found == fields_.end() ? kNoNode : found->value;
}

std::optional<std::string> TrainingArguments::text(std::string_view name) const {
  const PickleId id = find(name);
  if (id == kNoNode) return std::nullopt;
  const Pickle& pickle = *object_->pickle;
  const PickleId value = enum_value(pickle, id);
  if (pickle.kind(value) != PickleKind::kText) return std::nullopt;
  if (is_secret(pickle, name, value)) return "***";
  return mask_secrets(pickle.text(value));
}

std::optional<double> TrainingArguments::number(std::string_view name) const {
  const PickleId id = find(name);
  if (id == kNoNode) return std::nullopt;
  const Pickle& pickle = *object_->pickle;
  const PickleId value = enum_value(pickle, id);
  if (is_secret(pickle, name, value)) return std::nullopt;
  if (pickle.kind(value) == PickleKind::kInt) return static_cast<double>(pickle.integer(value));
  if (pickle.kind(value) == PickleKind::kFloat) return pickle.real(value);
  return std::nullopt;
}

std::optional<bool> TrainingArguments::flag(std::string_view name) const {
  const PickleId id = find(name);
  if (id == kNoNode || object_->pickle->kind(id) != PickleKind::kBool) return std::nullopt;
  return object_->pickle->truth(id);
}

std::optional<std::uint64_t> TrainingArguments::processes() const {
  const PickleId id = find("distributed_state");
  const Pickle& pickle = *object_->pickle;
  if (id == kNoNode || pickle.kind(id) != PickleKind::kCall || pickle.call(id).state == kNoNode)
    return std::nullopt;
  const PickleId count = pickle_find(pickle, pickle.call(id).state, "num_processes");
  if (count == kNoNode || pickle.kind(count) != PickleKind::kInt || pickle.integer(count) < 1)
    return std::nullopt;
  return static_cast<std::uint64_t>(pickle.integer(count));
}

}  // namespace mu
