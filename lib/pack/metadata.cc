// SPDX-License-Identifier: Apache-2.0
#include "pack/metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::string_view kNameList = "tensor_names";

// The strings of a list as JSON text; nothing when it is something else.
std::optional<std::vector<std::string>> names_of(const std::string& text) {
  std::vector<std::string> names;
  try {
    const JsonDocument document = parse_json(text);
    if (!document.root.is_array()) return std::nullopt;
    for (const JsonValue& item : document.root.items()) {
      if (item.as_string() == nullptr) return std::nullopt;
      names.push_back(*item.as_string());
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;
    return std::nullopt;  // metadata are free texts
  }
  return names;
}

// Names of several lists in their order, each once.
class NameList {
 public:
  void add(std::vector<std::string> names) {
    for (std::string& name : names) {
      const auto [held, fresh] = seen_.insert(std::move(name));
      if (fresh) order_.push_back(&*held);
    }
  }
  // As json.dumps writes it.
  [[nodiscard]] std::string text() const {
    std::string json = "[";
    for (const std::string* name : order_) {
      if (json.size() > 1) json += ", ";
      append_json_string_ascii(json, *name);
    }
    return json + "]";
  }

 private:
  std::set<std::string> seen_;
  std::vector<const std::string*> order_;
};

// Metadata while it is put together.
class Union {
 public:
  explicit Union(const MetadataChanges& changes) : changes_(changes) {}

  void add(const std::string& key, const std::string& value, const std::string& file) {
    const auto [held, fresh] = values_.try_emplace(key, value);
    if (fresh) {
      origin_[key] = file;
      return;
    }
    if (held->second == value || key == "format" || is_settled(key)) return;
    if (key == kNameList && join_names(held->second, value)) return;
    throw refused(
        fmt::format("the metadata key '{}' has another value in {}", escape_name(key), escape_name(file)))
        .in_file(escape_name(origin_[key]))
        .hint(
            fmt::format("--metadata '{0}=VALUE' chooses one, --metadata '{0}=' drops it", escape_name(key)));
  }
  [[nodiscard]] Metadata take() {
    if (names_) values_[std::string(kNameList)] = names_->text();
    return std::move(values_);
  }

 private:
  // False when one of the texts is not a list.
  bool join_names(const std::string& first, const std::string& second) {
    std::optional<std::vector<std::string>> more = names_of(second);
    if (!more) return false;
    if (!names_) {
      std::optional<std::vector<std::string>> names = names_of(first);
      if (!names) return false;
      names_.emplace().add(std::move(*names));
    }
    names_->add(std::move(*more));
    return true;
  }
  [[nodiscard]] bool is_settled(const std::string& key) const {
    return std::any_of(changes_.begin(), changes_.end(),
                       [&key](const auto& change) { return change.first == key; });
  }

  const MetadataChanges& changes_;
  Metadata values_;
  std::optional<NameList> names_;              // when there are several lists
  std::map<std::string, std::string> origin_;  // the file that had the key first
};

}  // namespace

Metadata output_metadata(const Weights& weights, const std::vector<TiedName>& dropped,
                         const std::vector<Rename>& rename, const MetadataChanges& changes) {
  Union all(changes);
  for (const WeightsFile& file : weights.files) {
    if (!file.metadata) continue;
    for (const auto& [key, value] : *file.metadata) all.add(key, value, file.name);
  }
  if (weights.index) {
    for (const JsonValue::Member& member : weights.index->metadata.members()) {
      const std::string* const text = member.value.as_string();
      if (text != nullptr && member.key != "total_size") all.add(member.key, *text, weights.index->path);
    }
  }
  Metadata metadata = all.take();
  // Records names that shared a storage, as safetensors.torch.save_model does.
  for (const TiedName& pair : dropped) {
    if (pair.same_storage) metadata.emplace(rename_all(rename, pair.dropped), rename_all(rename, pair.kept));
  }
  for (const auto& [key, value] : changes) {
    if (value) {
      metadata[key] = *value;
    } else {
      metadata.erase(key);
    }
  }
  metadata.emplace("format", "pt");
  return metadata;
}

}  // namespace mu
