// SPDX-License-Identifier: Apache-2.0
// A name is cut into segments at its dots. What wrappers put before "base_model.model" goes; then the segment
// that PEFT gave its layers is looked for from the end, so that modules may be called like it. A name without one
// is of the base model. Files that hold a module in several spellings keep the trained one.
#include "model/adapter_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "model/wrappers.h"

namespace mu {
namespace {

constexpr std::array<std::string_view, 5> kLeading = {"module", "_forward_module", "state_dict",
                                                      "model_state", "0"};
// The children that PEFT gives a layer: those of LoRA, and of its variants, so that these are named.
constexpr std::array<std::string_view, 9> kFactors = {"lora_A",
                                                      "lora_B",
                                                      "lora_embedding_A",
                                                      "lora_embedding_B",
                                                      "lora_magnitude_vector",
                                                      "lora_diag",
                                                      "lora_arrow",
                                                      "lora_monteclora_sampler",
                                                      "lora_E"};

using Segments = std::vector<std::string_view>;

bool is_one_of(std::string_view word, std::span<const std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string dotted(const Segments& segments, std::size_t first, std::size_t last) {
  std::string text;
  for (std::size_t i = first; i < last; ++i) text += (i > first ? "." : "") + std::string(segments[i]);
  return text;
}

// The name in segments, without what wrappers added and without "base_model.model".
Segments module_segments(std::string_view name) {
  Segments segments = split(name, '.');
  std::erase_if(segments, [](std::string_view segment) { return is_one_of(segment, kWrapperModules); });
  const auto drop = [&](std::size_t count) {
    segments.erase(segments.begin(), segments.begin() + static_cast<std::ptrdiff_t>(count));
  };
  for (std::size_t i = 0; i + 2 < segments.size(); ++i) {
    if (segments[i] != "base_model" || segments[i + 1] != "model") continue;
    drop(i + 2);
    return segments;
  }
  while (segments.size() > 1 && is_one_of(segments[0], kLeading)) {
    const bool numbered = segments[0] == "0";
    if (numbered && segments[1] != "auto_model") break;
    drop(numbered ? 2 : 1);
  }
  return segments;
}

// "weight" and the like end a name; they are not the name of an adapter.
bool is_parameter(std::string_view segment) {
  return segment == "weight" || segment == "bias";
}

std::size_t find_word(const Segments& segments, std::string_view word) {
  return static_cast<std::size_t>(std::find(segments.begin(), segments.end(), word) - segments.begin());
}

// Where the segment of a factor is, or the end: at most the adapter's name and a parameter follow it. A module
// may have such a name too, so the last one counts.
std::size_t find_factor(const Segments& segments) {
  const std::size_t end = segments.size();
  for (std::size_t at = end; at > 0 && end - at < 3; --at) {
    const bool fits = end - at < 2 || is_parameter(segments.back());
    if (fits && is_one_of(segments[at - 1], kFactors)) return at - 1;
  }
  return end;
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

// "modules_to_save" and what follows it: "NAME.weight", "NAME.dense.bias", and "weight" as PEFT saves it.
bool parse_saved(const Segments& segments, AdapterName& name) {
  const std::size_t at = find_word(segments, "modules_to_save"), end = segments.size();
  const bool bare = at + 2 == end && is_parameter(segments.back());
  if (!bare && at + 2 >= end) return false;
  if (!bare) name.adapter = segments[at + 1];
  name.piece = AdapterPiece::kSaved;
  name.module = dotted(segments, 0, at);
  name.leaf = dotted(segments, at + (bare ? 1 : 2), end);
  return true;
}

bool parse_tokens(const Segments& segments, AdapterName& name) {
  const std::size_t at = find_word(segments, "trainable_tokens_delta"), end = segments.size();
  if (at >= end || end - at > 2 || at == 0 || segments[at - 1] != "token_adapter") return false;
  if (end - at == 2) name.adapter = segments[at + 1];
  name.piece = AdapterPiece::kTokens;
  name.module = dotted(segments, 0, at - 1);
  name.leaf = "token_adapter.trainable_tokens_delta";
  return true;
}

void parse_base(const Segments& segments, AdapterName& name) {
  const std::size_t end = segments.size();
  name.of_layer = find_word(segments, "base_layer") < end;
  const bool frozen = find_word(segments, "original_module") < end;
  const bool bias = !segments.empty() && segments.back() == "bias";
  name.piece = frozen ? AdapterPiece::kFrozen : bias ? AdapterPiece::kBias : AdapterPiece::kBase;
  Segments plain = segments;
  if (name.of_layer || frozen) {
    std::erase_if(plain, [](std::string_view segment) {
      return segment == "base_layer" || segment == "original_module" || segment == "token_adapter";
    });
  }
  name.module = dotted(plain, 0, plain.empty() ? 0 : plain.size() - 1);
  name.leaf = plain.empty() ? "" : std::string(plain.back());
  name.name = "base_model.model." + dotted(segments, 0, end);
}

bool is_of_base(AdapterPiece piece) {
  return piece == AdapterPiece::kBase || piece == AdapterPiece::kBias || piece == AdapterPiece::kFrozen;
}

}  // namespace

AdapterName parse_adapter_name(std::string_view text) {
  const Segments segments = module_segments(text);
  AdapterName name;
  const std::size_t factor = find_factor(segments);
  if (factor < segments.size()) {
    parse_factor(segments, factor, name);
  } else if (!parse_saved(segments, name) && !parse_tokens(segments, name)) {
    parse_base(segments, name);
    return name;
  }
  name.name = "base_model.model." + name.module + (name.module.empty() ? "" : ".") + name.leaf;
  return name;
}

bool holds_factors(const std::vector<Tensor>& tensors) {
  return std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) {
    const AdapterPiece piece = parse_adapter_name(tensor.name).piece;
    return piece == AdapterPiece::kFactor || piece == AdapterPiece::kTokens;
  });
}

bool holds_only_adapter(const Weights& weights) {
  return !weights.tensors.empty() &&
         std::all_of(weights.tensors.begin(), weights.tensors.end(),
                     [](const Tensor& tensor) { return !is_of_base(parse_adapter_name(tensor.name).piece); });
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

std::vector<AdapterName> parse_names(const Weights& weights) {
  std::vector<AdapterName> names;
  bool bare = false;
  for (const Tensor& tensor : weights.tensors) {
    names.push_back(parse_adapter_name(tensor.name));
    bare = bare || (names.back().piece == AdapterPiece::kFactor && names.back().adapter.empty());
  }
  // A saved adapter whose whole modules still carry the adapter's name.
  for (AdapterName& name : names) {
    if (bare && name.piece == AdapterPiece::kSaved) name.adapter.clear();
  }
  return names;
}

// A saved adapter has its whole modules under plain names, and of its layers only embeddings with their own
// weight; a full state dict has the weights of all layers.
bool has_weights_of_base(const std::vector<AdapterName>& names, std::set<std::string> layers) {
  for (const AdapterName& name : names) {
    if (name.piece == AdapterPiece::kBase) layers.erase(name.module);
  }
  return layers.empty();
}

// Moves the tensors at these places, under their new names, into the list of tensors. A module that was
// trained whole comes before its copy under a plain name.
void take_tensors(Weights& weights, const std::vector<AdapterName>& names,
                  const std::vector<std::size_t>& places) {
  std::unordered_map<std::string, std::size_t> chosen;  // by new name
  for (const std::size_t i : places) {
    const auto [other, fresh] = chosen.try_emplace(names[i].name, i);
    if (fresh) continue;
    const bool is_saved = names[i].piece == AdapterPiece::kSaved;
    if (is_saved == (names[other->second].piece == AdapterPiece::kSaved))
      throw malformed(fmt::format("'{}' and '{}' become one name, '{}'",
                                  escape_name(weights.tensors[other->second].name),
                                  escape_name(weights.tensors[i].name), escape_name(names[i].name)))
          .in_file(escape_name(weights.files[weights.tensors[i].source].name));
    if (is_saved) other->second = i;
  }
  std::vector<Tensor> kept;
  for (const std::size_t i : places) {
    if (chosen.at(names[i].name) != i) continue;
    kept.push_back(std::move(weights.tensors[i]));
    kept.back().name = names[i].name;
  }
  weights.tensors = std::move(kept);
}

}  // namespace

AdapterChoice keep_adapter(Weights& weights, const std::string& adapter, std::string_view bias) {
  const std::vector<AdapterName> names = parse_names(weights);
  std::set<std::string> adapters, layers;
  bool bare = false;
  for (const AdapterName& name : names) {
    if (is_of_base(name.piece)) continue;
    if (name.piece != AdapterPiece::kSaved) layers.insert(name.module);
    if (name.adapter.empty())
      bare = true;
    else
      adapters.insert(name.adapter);
  }
  AdapterChoice choice;
  choice.adapters.assign(adapters.begin(), adapters.end());
  if (layers.empty() && adapters.empty()) throw malformed("it holds no LoRA tensors");
  choice.adapter = choose_adapter(adapter, choice.adapters, bare);
  const bool is_saved = choice.adapter.empty() && !has_weights_of_base(names, layers);
  const auto keeps = [&](const AdapterName& name) {
    switch (name.piece) {
      case AdapterPiece::kFactor:
      case AdapterPiece::kSaved:
      case AdapterPiece::kTokens:
        return name.adapter == choice.adapter;
      case AdapterPiece::kBias:
        return is_saved || bias == "all" || (bias == "lora_only" && layers.contains(name.module));
      case AdapterPiece::kBase:
        return is_saved;
      case AdapterPiece::kFrozen:
        return false;
    }
    return false;
  };
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (keeps(names[i])) {
      places.push_back(i);
    } else if (is_of_base(names[i].piece)) {
      ++choice.base_tensors;
      choice.base_names.push_back(names[i].module);
    }
  }
  take_tensors(weights, names, places);
  return choice;
}

void settle_spellings(Weights& weights) {
  const std::vector<AdapterName> names = parse_names(weights);
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (!names[i].adapter.empty()) return;
    if (names[i].piece != AdapterPiece::kFrozen) places.push_back(i);
  }
  take_tensors(weights, names, places);
}

}  // namespace mu
