// SPDX-License-Identifier: Apache-2.0
#include "lora/classifier.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {

extern const std::string_view kHeadsTable;  // data/heads.txt

namespace {

constexpr std::uint64_t kMaxConfig = 16U << 20;  // bytes: real ones have some KB; bounds memory
constexpr std::uint64_t kMaxLabels = 100'000;    // real ones have some thousands; bounds the config

std::vector<std::string> list_of(std::string_view text) {
  std::vector<std::string> names;
  if (text == "-") return names;
  for (const std::string_view name : split(text, ',')) names.emplace_back(name);
  return names;
}

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string_view top_of(std::string_view name) {
  return name.substr(0, name.find('.'));
}

// The column of a task in the table.
std::optional<std::size_t> column_of(std::string_view task_type) {
  if (task_type == "SEQ_CLS") return 2;
  if (task_type == "TOKEN_CLS") return 3;
  if (task_type == "QUESTION_ANS") return 4;
  return std::nullopt;
}

std::string quoted(std::string_view text) {
  std::string json;
  append_json_string_ascii(json, text);
  return json;
}

// The config of the trained model, which some trainers leave in the folder of the adapter.
JsonValue trained_config(const Adapter& adapter) {
  const std::string path = join_path(adapter.name, "config.json");
  if (!exists(path)) return {};
  return in_file(path, [&] { return parse_json(read_whole_file(path, kMaxConfig)).root; });
}

// The names of that many labels, in order; empty if the config does not have them.
std::vector<std::string> label_names(const JsonValue& config, std::uint64_t count) {
  const JsonValue* const map = config.find("id2label");
  std::vector<std::string> names;
  if (map == nullptr || map->members().size() != count) return names;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string* const name = map->find_string(std::to_string(i));
    if (name == nullptr) return {};
    names.push_back(*name);
  }
  return names;
}

class Classifier {
 public:
  Classifier(MergeBase& base, const Adapter& adapter)
      : base_(base),
        adapter_(adapter),
        config_(base.input().config->root),
        task_(adapter.config.task_type),
        table_(head_classes_of(base.model_type(), task_)) {}

  void make() {
    const std::vector<std::string>& now = base_.input().config->architectures;
    if (config_.find("auto_map") != nullptr || table_.of_task.name.empty()) {
      base_.note(fmt::format(
          "the adapter's task is {}, but which class of model_type '{}' that is, is not known: set "
          "architectures and labels in config.json",
          escape_name(task_), escape_name(base_.model_type())));
      return;
    }
    if (now != std::vector{table_.of_task.name}) {
      set("architectures", "[\n    " + quoted(table_.of_task.name) + "\n  ]");
      base_.note(fmt::format("the merged model is a {}", table_.of_task.name));
      remove_heads();
    }
    note_missing();
    if (task_ != "QUESTION_ANS") set_labels();
  }

 private:
  void set(std::string key, std::string json) {
    base_.result.config.push_back({{std::move(key)}, std::move(json)});
  }

  // The heads of the class that the base was saved as.
  void remove_heads() {
    std::set<std::string> gone;
    for (const Tensor& tensor : base_.weights().tensors) {
      const std::string_view top = top_of(tensor.name);
      if (contains(table_.language, top) && !contains(table_.of_task.heads, top)) gone.insert(tensor.name);
    }
    if (gone.empty()) return;
    base_.remove(gone);
    base_.note(fmt::format("left out, as that class does not have {}: {}{}", gone.size() == 1 ? "it" : "them",
                           escape_name(*gone.begin()),
                           gone.size() == 1 ? "" : fmt::format(" and {} more", gone.size() - 1)));
  }

  void note_missing() {
    for (const std::string& head : table_.of_task.heads) {
      const std::vector<Tensor>& tensors = base_.weights().tensors;
      const bool there = std::any_of(tensors.begin(), tensors.end(),
                                     [&](const Tensor& tensor) { return top_of(tensor.name) == head; });
      if (!there)
        base_.note(
            fmt::format("neither base nor adapter holds '{}': loaders begin it with random values", head));
    }
  }

  void set_labels() {
    const Tensor* const labels = base_.find(table_.of_task.labels);
    if (labels == nullptr || labels->shape.empty()) return;
    const std::uint64_t count = labels->shape[0];
    if (count == 0 || count > kMaxLabels)
      throw malformed(fmt::format("{} has {} rows", escape_name(labels->name), count))
          .in_file(escape_name(adapter_.name));
    const JsonValue trained = trained_config(adapter_);
    copy_settings(trained);
    std::vector<std::string> names = label_names(trained, count);
    if (names.empty() && !label_names(config_, count).empty()) return;  // those of the base fit
    if (names.empty()) {
      for (std::uint64_t i = 0; i < count; ++i) names.push_back("LABEL_" + std::to_string(i));
      base_.note(
          fmt::format("{} {}: set id2label and label2id in config.json, the adapter does not name them",
                      plural(count, "label"), count == 1 ? "is called LABEL_0" : "are called LABEL_0 …"));
    }
    std::string ids = "{", numbers = "{";
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::string comma = i + 1 < count ? "," : "";
      ids += fmt::format("\n    \"{}\": {}{}", i, quoted(names[i]), comma);
      numbers += fmt::format("\n    {}: {}{}", quoted(names[i]), i, comma);
    }
    set("id2label", ids + "\n  }");
    set("label2id", numbers + "\n  }");
    if (config_.find("num_labels") != nullptr) set("num_labels", std::to_string(count));
  }

  void copy_settings(const JsonValue& trained) {
    if (const std::string* const type = trained.find_string("problem_type"))
      set("problem_type", quoted(*type));
    if (config_.find_u64("pad_token_id")) return;
    const std::optional<std::uint64_t> pad = trained.find_u64("pad_token_id");
    if (pad)
      set("pad_token_id", std::to_string(*pad));
    else if (table_.of_task.heads == std::vector<std::string>{"score"} && task_ == "SEQ_CLS")
      base_.note(
          "config.json has no pad_token_id, which this class needs for batches: set that of the training");
  }

  MergeBase& base_;
  const Adapter& adapter_;
  const JsonValue& config_;
  std::string task_;
  HeadClasses table_;
};

}  // namespace

HeadClasses head_classes_of(std::string_view model_type, std::string_view task_type) {
  HeadClasses found;
  const std::optional<std::size_t> column = column_of(task_type);
  if (!column) return found;
  for (const std::string_view line : split(kHeadsTable, '\n')) {
    const std::vector<std::string_view> columns = split(line, '\t');
    if (columns.size() <= *column || columns[0] != model_type) continue;
    found.language = list_of(columns[1]);
    const std::vector<std::string_view> words = split(columns[*column], ' ');
    if (words.size() != 3) break;
    found.of_task = {std::string(words[0]), list_of(words[1]), words[2] == "-" ? "" : std::string(words[2])};
    break;
  }
  return found;
}

bool is_classifier_task(std::string_view task_type) {
  return column_of(task_type).has_value();
}

bool is_label_head(std::string_view model_type, std::string_view task_type, std::string_view tensor) {
  return contains(head_classes_of(model_type, task_type).of_task.heads, top_of(tensor));
}

void make_classifier(MergeBase& base, const std::vector<AdapterUse>& uses) {
  const Adapter* with_head = nullptr;
  for (const AdapterUse& use : uses) {
    const std::string& task = use.adapter->config.task_type;
    if (!is_classifier_task(task)) continue;
    if (with_head != nullptr && with_head->config.task_type != task)
      throw refused(fmt::format("is for the task {}, but {} is for {}", escape_name(task),
                                escape_name(with_head->name), escape_name(with_head->config.task_type)))
          .in_file(escape_name(use.adapter->name));
    with_head = use.adapter.get();
  }
  if (with_head != nullptr && base.input().config) Classifier(base, *with_head).make();
}

}  // namespace mu
