// SPDX-License-Identifier: Apache-2.0
#include "model/plain_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace mu {
namespace {

using Path = std::vector<std::string>;

// Every object of the config that says how its weights are quantised.
void find_settings(const JsonValue& object, Path path, std::vector<Path>& found) {
  for (const JsonValue::Member& member : object.members()) {
    constexpr std::size_t kMost = 64;  // places in one config; real ones have two at most
    if (!member.value.is_object() || found.size() >= kMost) continue;
    path.push_back(member.key);
    if (member.key == "quantization_config" || member.key == "compression_config")
      found.push_back(path);
    else
      find_settings(member.value, path, found);
    path.pop_back();
  }
}

const JsonValue* find_path(const JsonValue& root, const Path& path) {
  const JsonValue* place = &root;
  for (const std::string& key : path) place = place == nullptr ? nullptr : place->find(key);
  return place;
}

// Where the dtype of the quantised model may stand: at the top, in text_config, or beside quantization_config. Towers
// that stayed plain may have their own.
std::vector<Path> places_of_dtype(const JsonValue& root) {
  std::vector<Path> settings, places = {{}, {"text_config"}};
  find_settings(root, {}, settings);
  for (Path& path : settings) {
    path.pop_back();
    if (std::find(places.begin(), places.end(), path) == places.end()) places.push_back(std::move(path));
  }
  return places;
}

}  // namespace

Dtype stated_plain_dtype(const Input& input) {
  const ModelConfig* const config = input.class_config();
  if (config == nullptr) return Dtype::kBF16;
  for (const Path& place : places_of_dtype(config->root)) {
    const JsonValue* const object = find_path(config->root, place);
    for (const char* const key : {"dtype", "torch_dtype"}) {
      const std::string* const text = object == nullptr ? nullptr : object->find_string(key);
      const std::optional<Dtype> dtype = text == nullptr ? std::nullopt : parse_user_dtype(*text);
      if (dtype == Dtype::kBF16 || dtype == Dtype::kF16 || dtype == Dtype::kF32) return *dtype;
    }
  }
  return Dtype::kBF16;
}

std::vector<ConfigEdit> plain_config_edits(const JsonValue& root, Dtype dtype) {
  std::vector<Path> settings;
  find_settings(root, {}, settings);
  std::vector<ConfigEdit> edits;
  for (Path& path : settings) edits.push_back({std::move(path), std::nullopt});
  const std::string value = fmt::format("\"{}\"", torch_name(dtype));
  bool is_stated = false;
  for (const Path& object : places_of_dtype(root)) {
    for (const char* const key : {"dtype", "torch_dtype"}) {
      Path path = object;
      path.emplace_back(key);
      const JsonValue* const stated = find_path(root, path);
      if (stated == nullptr || stated->is_object()) continue;
      is_stated = true;
      const std::string* const text = stated->as_string();
      if (text == nullptr || *text != torch_name(dtype)) edits.push_back({std::move(path), value});
    }
  }
  // diffusers' classes take no argument of that name.
  if (!is_stated && root.find("_class_name") == nullptr) edits.push_back({{"dtype"}, value});
  return edits;
}

LeftAlone::LeftAlone(const JsonValue& settings) {
  for (const std::string_view key : {"modules_to_not_convert", "ignore", "llm_int8_skip_modules"}) {
    for (std::string& name : texts_of(settings.find(key))) names_.insert(std::move(name));
  }
}

bool LeftAlone::contains(std::string_view module) const {
  constexpr std::size_t kMostParts = 64;  // of a path: real ones have a dozen
  std::vector<std::size_t> begins = {0}, ends;
  for (std::size_t i = 0; i < module.size() && begins.size() < kMostParts; ++i) {
    if (module[i] != '.') continue;
    ends.push_back(i);
    begins.push_back(i + 1);
  }
  ends.push_back(module.size());
  for (std::size_t first = 0; first < begins.size(); ++first) {
    for (std::size_t last = first; last < ends.size(); ++last) {
      if (names_.contains(std::string(module.substr(begins[first], ends[last] - begins[first])))) return true;
    }
  }
  return false;
}

}  // namespace mu
