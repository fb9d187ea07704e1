// SPDX-License-Identifier: Apache-2.0
#include "card/tables.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "base/glob.h"
#include "base/text.h"

namespace mu {
namespace {

std::vector<std::string_view> lines_of(std::string_view table) {
  std::vector<std::string_view> lines;
  for (const std::string_view line : split(table, '\n')) {
    if (!line.empty() && line.front() != '#') lines.push_back(line);
  }
  return lines;
}

std::string_view column(std::string_view line, std::size_t index) {
  for (; index > 0; --index) {
    const std::size_t tab = line.find('\t');
    if (tab == std::string_view::npos) return {};
    line.remove_prefix(tab + 1);
  }
  return line.substr(0, line.find('\t'));
}

const std::vector<Trainer>& trainers() {
  static const std::vector<Trainer> table = [] {
    std::vector<Trainer> list;
    for (const std::string_view line : lines_of(card_data::trainers))
      list.push_back({column(line, 0), column(line, 1), column(line, 2), column(line, 3), column(line, 4),
                      column(line, 5), column(line, 6), column(line, 7)});
    return list;
  }();
  return table;
}

}  // namespace

std::optional<std::string_view> license_name(std::string_view id) {
  for (const std::string_view line : lines_of(card_data::licenses)) {
    if (column(line, 0) == id) return column(line, 1);
  }
  return std::nullopt;
}

std::optional<std::string_view> family_license(std::string_view base_model) {
  const std::string name = lower_ascii(base_model.substr(base_model.rfind('/') + 1));
  for (const std::string_view line : lines_of(card_data::base_licenses)) {
    if (glob_matches(column(line, 0), name)) return column(line, 1);
  }
  return std::nullopt;
}

bool is_language(std::string_view code) {
  for (const std::string_view line : lines_of(card_data::languages)) {
    for (const std::string_view word : split(line, ' ')) {
      if (word == code) return true;
      const bool group = word.size() > 3 && word[2] == ':';
      if (group && code.size() == 3 && code.substr(0, 2) == word.substr(0, 2) &&
          word.find(code[2], 3) != std::string_view::npos)
        return true;
    }
  }
  return false;
}

bool is_pipeline_tag(std::string_view tag) {
  const std::vector<std::string_view> lines = lines_of(card_data::pipeline_tags);
  return std::find(lines.begin(), lines.end(), tag) != lines.end();
}

std::string_view diffusers_task(std::string_view pipeline_class) {
  for (const std::string_view line : lines_of(card_data::diffusers_tasks)) {
    const std::vector<std::string_view> classes = split(column(line, 1), ' ');
    if (std::find(classes.begin(), classes.end(), pipeline_class) != classes.end()) return column(line, 0);
  }
  return "";
}

bool is_template_hint(std::string_view hash) {
  const std::vector<std::string_view> lines = lines_of(card_data::template_hints);
  return std::find(lines.begin(), lines.end(), hash) != lines.end();
}

std::optional<std::string> suggest_license(std::string_view text) {
  std::string id = lower_ascii(trim(text));
  std::replace(id.begin(), id.end(), ' ', '-');
  for (const std::string_view suffix : {"-only", "-or-later"}) {
    if (id.ends_with(suffix)) id.resize(id.size() - suffix.size());
  }
  if (id == "apache" || id == "apache2" || id == "apache-2" || id == "apache2.0") id = "apache-2.0";
  if (id == "busl-1.1" || id == "proprietary" || id == "custom") id = "other";
  if (!license_name(id)) return std::nullopt;
  return id;
}

std::optional<std::string> suggest_language(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 22> kNames = {
      {{"english", "en"}, {"chinese", "zh"},    {"german", "de"},  {"french", "fr"},   {"spanish", "es"},
       {"italian", "it"}, {"portuguese", "pt"}, {"russian", "ru"}, {"japanese", "ja"}, {"korean", "ko"},
       {"arabic", "ar"},  {"dutch", "nl"},      {"polish", "pl"},  {"turkish", "tr"},  {"hindi", "hi"},
       {"jp", "ja"},      {"cn", "zh"},         {"ua", "uk"},      {"cz", "cs"},       {"ger", "de"},
       {"fre", "fr"},     {"chi", "zh"}}};
  const std::string code = lower_ascii(trim(text));
  for (const auto& [name, iso] : kNames) {
    if (code == name) return std::string(iso);
  }
  std::string stem = code.substr(0, code.find_first_of("-_"));
  if (!is_language(stem)) return std::nullopt;
  return stem;
}

std::optional<std::string_view> doubted_language(std::string_view code) {
  if (code == "kr") return "ko";
  if (code == "se") return "sv";
  return std::nullopt;
}

const Trainer* trainer_by_tag(std::string_view tag) {
  for (const Trainer& trainer : trainers()) {
    if (trainer.tag == tag) return &trainer;
  }
  return nullptr;
}

const Trainer* trainer_by_config(std::string_view config) {
  for (const Trainer& trainer : trainers()) {
    if (trainer.config == config) return &trainer;
  }
  return nullptr;
}

std::string trainer_tags() {
  std::vector<std::string> tags;
  for (const Trainer& trainer : trainers()) tags.emplace_back(trainer.tag);
  return join(tags, ", ");
}

std::string_view Hyperparameter::default_of(std::string_view config) const {
  if (config.empty()) return fallback;
  for (const std::string_view exception : split(exceptions, ' ')) {
    const std::size_t equals = exception.find('=');
    if (equals != std::string_view::npos && exception.substr(0, equals) == config)
      return exception.substr(equals + 1);
  }
  return trl_fallback;
}

const std::vector<Hyperparameter>& hyperparameters() {
  static const std::vector<Hyperparameter> table = [] {
    std::vector<Hyperparameter> list;
    for (const std::string_view line : lines_of(card_data::hyperparameters)) {
      const std::string_view own = column(line, 2);
      list.push_back(
          {column(line, 0), column(line, 1), own.empty() ? column(line, 1) : own, column(line, 3)});
    }
    return list;
  }();
  return table;
}

bool is_relation(std::string_view word) {
  constexpr std::array<std::string_view, 4> kRelations = {"adapter", "merge", "quantized", "finetune"};
  return std::find(kRelations.begin(), kRelations.end(), word) != kRelations.end();
}

bool is_plain_name(std::string_view text) {
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") ==
         std::string_view::npos;
}

bool is_https(std::string_view url) {
  return url.starts_with("https://") && url.find_first_of(" \n\t<>\"'") == std::string_view::npos;
}

bool is_local_path(std::string_view text) {
  if (text.empty()) return false;
  const bool drive = text.size() > 2 && std::isalpha(static_cast<unsigned char>(text[0])) != 0 &&
                     text[1] == ':' && (text[2] == '\\' || text[2] == '/');
  return drive || text.front() == '/' || text.front() == '~' || text.starts_with("./") ||
         text.starts_with("../") || text.starts_with("\\\\") || text.starts_with("file:");
}

bool is_data_file(std::string_view text) {
  const std::string lower = lower_ascii(text);
  constexpr std::array<std::string_view, 13> kEnds = {".json",    ".jsonl", ".ndjson", ".csv", ".tsv",
                                                      ".parquet", ".arrow", ".txt",    ".zip", ".gz",
                                                      ".zst",     ".tar",   ".xlsx"};
  return std::any_of(kEnds.begin(), kEnds.end(), [&](std::string_view end) { return lower.ends_with(end); });
}

}  // namespace mu
