// SPDX-License-Identifier: Apache-2.0
#include "model/components.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/links.h"
#include "os/far.h"
#include "os/file.h"
#include "os/folder.h"
#include "weights/index.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxFile = 64U << 20;  // bytes of a file of names
constexpr std::size_t kMaxComponents = 1000;
constexpr int kMaxDepth = 8;  // of routers in routers
constexpr std::string_view kModules = "modules.json";
constexpr std::string_view kRouter = "router_config.json";
constexpr std::string_view kPipeline = "model_index.json";

class Reader {
 public:
  explicit Reader(const Folder& folder) : folder_(folder) {}

  ComponentNames run() {
    if (folder_.has(kModules)) {
      read_modules();
    } else if (folder_.has(kPipeline)) {
      read_pipeline();
    }
    return std::move(names_);
  }

 private:
  JsonValue read(const std::string& file) {
    return parse_json(read_whole_file(folder_.path_of(file), kMaxFile)).root;
  }

  void read_modules() {
    const std::string file(kModules);
    in_file(folder_.path_of(file), [&] {
      const JsonValue root = read(file);
      if (!root.is_array()) throw malformed("is not a list of modules");
      names_.file = file;
      names_.has_top = false;
      for (const JsonValue& item : root.items()) {
        const std::string* const path = item.find_string("path");
        const std::string* const type = item.find_string("type");
        if (path == nullptr || type == nullptr) throw malformed("has a module without path and type");
        if (std::string code = module_file(*type); !code.empty()) names_.code.push_back(std::move(code));
        add(*path, *type, file, 0);
      }
    });
  }

  // The values that stand for folders are lists of a library and a class.
  void read_pipeline() {
    const std::string file(kPipeline);
    in_file(folder_.path_of(file), [&] {
      const JsonValue root = read(file);
      if (!root.is_object()) throw malformed("is not a JSON object");
      names_.file = file;
      names_.has_top = false;
      for (const JsonValue::Member& member : root.members()) {
        const std::vector<JsonValue>& items = member.value.items();
        const std::string* const library = items.size() < 2 ? nullptr : items[0].as_string();
        const std::string* const type = items.size() < 2 ? nullptr : items[1].as_string();
        if (library == nullptr || type == nullptr) continue;
        if (member.key == "_class_name") {
          names_.code.push_back(*library + ".py");
        } else if (!member.key.starts_with('_')) {
          add(member.key, *library + "." + *type, file, 0);
          if (type->starts_with("Multi")) add_numbered(member.key, *library + "." + *type, file);
        }
      }
    });
  }

  // A MultiControlNetModel called controlnet lies in controlnet, controlnet_1, controlnet_2 and so on.
  void add_numbered(const std::string& path, const std::string& type, const std::string& file) {
    for (int i = 1; is_folder(folder_.path_of(fmt::format("{}_{}", path, i))); ++i)
      add(fmt::format("{}_{}", path, i), type, file, 0);
  }

  void add(std::string path, const std::string& type, const std::string& file, int depth) {
    while (path.starts_with("./")) path.erase(0, 2);
    while (path.ends_with('/') && path.size() > 1) path.pop_back();
    if (path == ".") path.clear();
    if (!path.empty()) {
      require_inside(path);
      if (!seen_.insert(path).second) return;
      names_.folders.push_back({path, type, file});
      if (names_.folders.size() > kMaxComponents) throw malformed("names too many folders");
    }
    const bool routes = type.ends_with(".Router") || type.ends_with(".Asym");
    if (routes) {
      if (depth >= kMaxDepth) throw malformed("routers are nested too deeply");
      read_router(path, depth);
    } else if (path.empty()) {
      names_.has_top = true;
      names_.top_type = type;
    }
  }

  void require_inside(const std::string& path) const {
    if (const std::optional<std::string_view> why = unsafe_name(path))
      throw malformed(fmt::format("the folder '{}' is not followed: {}", escape_name(path), *why));
    const std::string place = folder_.path_of(path);
    if (is_far_name(folder_.path) || !exists(place)) return;
    if (leads_out(resolved_path(folder_.path), place))
      throw malformed(
          fmt::format("the folder '{}' is a link that leads out of the model's folder", escape_name(path)));
  }

  // Older routers (Asym) keep their modules in config.json.
  void read_router(const std::string& path, int depth) {
    const std::string prefix = path.empty() ? "" : path + "/";
    std::string file = prefix + std::string(kRouter);
    if (!exists(folder_.path_of(file))) file = prefix + "config.json";
    if (!exists(folder_.path_of(file))) return;
    in_file(folder_.path_of(file), [&] {
      const JsonValue root = read(file);
      const JsonValue* const types = root.find("types");
      if (types == nullptr || !types->is_object()) throw malformed("has no types of modules");
      for (const JsonValue::Member& member : types->members()) {
        const std::string* const type = member.value.as_string();
        if (type == nullptr) throw malformed("has a module whose type is not a string");
        if (member.key.empty()) throw malformed("has a module without a name");
        if (std::string code = module_file(*type); !code.empty()) names_.code.push_back(std::move(code));
        add(prefix + member.key, *type, file, depth + 1);
      }
    });
  }

  const Folder& folder_;
  ComponentNames names_;
  std::set<std::string> seen_;
};

}  // namespace

std::string module_file(std::string_view type) {
  const std::size_t dot = type.find('.');
  if (dot == std::string_view::npos || type.find('.', dot + 1) != std::string_view::npos) return {};
  return std::string(type.substr(0, dot)) + ".py";
}

ComponentNames read_component_names(const Folder& folder) {
  return Reader(folder).run();
}

bool may_be_absent(const ComponentName& component) {
  return component.type.ends_with(".Normalize");
}

std::string component_stem(const WeightsChoice& choice) {
  std::string_view name = choice.names.front();
  if (const std::optional<ShardName> shard = parse_shard_name(name)) return std::string(shard->stem);
  constexpr std::string_view kJson = ".json", kIndex = ".index";
  std::string variant;
  if (choice.is_index) {  // NAME.safetensors.index.fp16.json, NAME.bin.index.json
    name.remove_suffix(kJson.size());
    const std::size_t index = name.rfind(kIndex);
    if (index == std::string_view::npos) return choice.stem;
    variant = name.substr(index + kIndex.size());
    name = name.substr(0, index);
  }
  std::string stem(name.substr(0, name.rfind('.')));
  constexpr std::string_view kTorch = "pytorch_model";
  if (stem.starts_with(kTorch)) stem.replace(0, kTorch.size(), std::string("model"));
  return stem + variant;
}

}  // namespace mu
