// SPDX-License-Identifier: Apache-2.0
#include "model/adapter_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::array<std::string_view, 3> kAnywhere = {"_fsdp_wrapped_module", "_orig_mod",
                                                       "_checkpoint_wrapped_module"};
constexpr std::array<std::string_view, 5> kLeading = {"module", "_forward_module", "state_dict",
                                                      "model_state", "0"};

using Segments = std::vector<std::string_view>;

std::string dotted(const Segments& segments, std::size_t first, std::size_t last) {
  std::string text;
  for (std::size_t i = first; i < last; ++i) text += (i > first ? "." : "") + std::string(segments[i]);
  return text;
}

// The name in segments, without what wrappers added and without "base_model.model".
Segments module_segments(std::string_view name) {
  Segments segments = split(name, '.');
  std::erase_if(segments, [](std::string_view segment) {
    return std::find(kAnywhere.begin(), kAnywhere.end(), segment) != kAnywhere.end();
  });
  const auto leads = [&](std::string_view a, std::string_view b) {
    return segments.size() > 2 && segments[0] == a && segments[1] == b;
  };
  const auto drop = [&](std::ptrdiff_t count) { segments.erase(segments.begin(), segments.begin() + count); };
  while (segments.size() > 1 && std::find(kLeading.begin(), kLeading.end(), segments[0]) != kLeading.end()) {
    const bool numbered = segments[0] == "0";
    if (numbered && segments[1] != "auto_model") break;
    drop(numbered ? 2 : 1);
  }
  if (leads("model", "base_model")) drop(1);
  if (leads("base_model", "model")) drop(2);
  return segments;
}

bool is_factor(std::string_view segment) {
  return segment.starts_with("lora_") && segment.size() > 5;
}

// "weight" and the like end a name; they are not the name of an adapter.
bool is_parameter(std::string_view segment) {
  return segment == "weight" || segment == "bias";
}

// What follows a factor's segment: the adapter's name, a parameter, both, or nothing.
void parse_factor(const Segments& segments, std::size_t at, AdapterName& name) {
  const std::string factor(segments[at]);
  const std::size_t rest = segments.size() - at - 1;
  std::string parameter;
  if (rest >= 1 && is_parameter(segments.back())) parameter = segments.back();
  if (rest >= 1 && !(rest == 1 && !parameter.empty())) name.adapter = segments[at + 1];
  // The format dates from when this was a bare parameter.
  if (factor == "lora_magnitude_vector") parameter.clear();
  name.piece = AdapterPiece::kFactor;
  name.module = dotted(segments, 0, at);
  name.leaf = parameter.empty() ? factor : factor + "." + parameter;
}

}  // namespace

AdapterName parse_adapter_name(std::string_view text) {
  const Segments segments = module_segments(text);
  AdapterName name;
  const auto find = [&](auto matches) {
    return static_cast<std::size_t>(std::find_if(segments.begin(), segments.end(), matches) -
                                    segments.begin());
  };
  const auto find_word = [&](std::string_view word) {
    return find([word](std::string_view segment) { return segment == word; });
  };
  const std::size_t end = segments.size();
  const std::size_t factor = find(is_factor), saved = find_word("modules_to_save"),
                    tokens = find_word("trainable_tokens_delta");
  if (factor < end && end - factor <= 3) {
    parse_factor(segments, factor, name);
  } else if (saved + 2 < end) {
    name.piece = AdapterPiece::kSaved;
    name.adapter = segments[saved + 1];
    name.module = dotted(segments, 0, saved);
    name.leaf = dotted(segments, saved + 2, end);
  } else if (tokens < end && end - tokens <= 2 && tokens > 0 && segments[tokens - 1] == "token_adapter") {
    name.piece = AdapterPiece::kTokens;
    if (end - tokens == 2) name.adapter = segments[tokens + 1];
    name.module = dotted(segments, 0, tokens - 1);
    name.leaf = "token_adapter.trainable_tokens_delta";
  } else {
    const std::size_t layer = find_word("base_layer");
    name.of_layer = layer < end;
    const bool bias = !segments.empty() && segments.back() == "bias" && find_word("original_module") == end;
    name.piece = bias ? AdapterPiece::kBias : AdapterPiece::kBase;
    Segments plain = segments;
    std::erase_if(plain, [](std::string_view segment) {
      return segment == "base_layer" || segment == "original_module";
    });
    name.module = dotted(plain, 0, plain.empty() ? 0 : plain.size() - 1);
    name.leaf = plain.empty() ? "" : std::string(plain.back());
    name.name = "base_model.model." + dotted(segments, 0, end);
    return name;
  }
  name.name = "base_model.model." + name.module + (name.module.empty() ? "" : ".") + name.leaf;
  return name;
}

bool holds_only_adapter(const Weights& weights) {
  return !weights.tensors.empty() &&
         std::all_of(weights.tensors.begin(), weights.tensors.end(), [](const Tensor& tensor) {
           const AdapterPiece piece = parse_adapter_name(tensor.name).piece;
           return piece != AdapterPiece::kBase && piece != AdapterPiece::kBias;
         });
}

namespace {

// Which of `adapters` is kept; empty where names carry none. `bare`: some names carry no adapter's name.
std::string choose_adapter(const std::string& wanted, const std::vector<std::string>& adapters, bool bare) {
  const std::string list = join(adapters, ", ");
  if (wanted.empty()) {
    if (adapters.size() > 1)
      throw malformed("it holds several adapters: " + escape_name(list)).hint("choose one with --adapter");
    return adapters.empty() ? "" : adapters.front();
  }
  const bool known = std::find(adapters.begin(), adapters.end(), wanted) != adapters.end();
  if (!known && !(bare && adapters.empty() && wanted == "default"))
    throw malformed(adapters.empty() ? "its names carry no adapter's name"
                                     : fmt::format("it holds no adapter '{}'", escape_name(wanted)))
        .hint(adapters.empty() ? "leave --adapter out" : "there are: " + escape_name(list));
  return adapters.empty() ? "" : wanted;
}

}  // namespace

AdapterChoice keep_adapter(Weights& weights, const std::string& adapter, std::string_view bias) {
  std::vector<AdapterName> names;
  std::set<std::string> adapters, layers;
  bool bare = false, has_base = false;
  for (const Tensor& tensor : weights.tensors) {
    names.push_back(parse_adapter_name(tensor.name));
    const AdapterName& name = names.back();
    if (name.piece == AdapterPiece::kBase || name.piece == AdapterPiece::kBias) continue;
    if (name.piece == AdapterPiece::kFactor) layers.insert(name.module);
    if (name.adapter.empty())
      bare = true;
    else
      adapters.insert(name.adapter);
  }
  // A saved adapter has its whole modules under plain names; a full state dict has the layers' own weights.
  for (const AdapterName& name : names)
    has_base = has_base || (name.piece == AdapterPiece::kBase && layers.contains(name.module));
  AdapterChoice choice;
  choice.adapters.assign(adapters.begin(), adapters.end());
  if (layers.empty() && adapters.empty()) throw malformed("it holds no LoRA tensors");
  choice.adapter = choose_adapter(adapter, choice.adapters, bare);
  const auto keeps = [&](const AdapterName& name) {
    switch (name.piece) {
      case AdapterPiece::kFactor:
      case AdapterPiece::kSaved:
      case AdapterPiece::kTokens:
        return name.adapter == choice.adapter;
      case AdapterPiece::kBias:
        if (!has_base && choice.adapter.empty()) return true;
        return bias == "all" || (bias == "lora_only" && layers.contains(name.module));
      case AdapterPiece::kBase:
        return !has_base && choice.adapter.empty();
    }
    return false;
  };
  std::vector<Tensor> kept;
  std::unordered_map<std::string, std::string> origin;  // by new name
  for (std::size_t i = 0; i < names.size(); ++i) {
    Tensor& tensor = weights.tensors[i];
    if (!keeps(names[i])) {
      const bool base = names[i].piece == AdapterPiece::kBase || names[i].piece == AdapterPiece::kBias;
      choice.base_tensors += base ? 1 : 0;
      if (base) choice.base_names.push_back(names[i].module);
      continue;
    }
    const auto [other, fresh] = origin.try_emplace(names[i].name, tensor.name);
    if (!fresh)
      throw malformed(fmt::format("'{}' and '{}' become one name, '{}'", escape_name(other->second),
                                  escape_name(tensor.name), escape_name(names[i].name)))
          .in_file(escape_name(weights.files[tensor.source].name));
    tensor.name = names[i].name;
    kept.push_back(std::move(tensor));
  }
  weights.tensors = std::move(kept);
  return choice;
}

}  // namespace mu
