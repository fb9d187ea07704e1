// SPDX-License-Identifier: Apache-2.0
// How the rules of a class become pairs of names. A rule names tensors or modules, with "#" for a number; what a
// name has behind the match is put behind the source. A source may be the target of another rule, so chains
// are followed to their end. Only names that are stored count as sources. Whether a pair is really one tensor
// is decided by place in the file or by bytes, never by name alone.

#include "model/tied.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <tuple>

#include "base/text.h"
#include "weights/computed.h"
#include "weights/contents.h"
#include "weights/layout.h"

namespace mu {
namespace {

struct Match {
  std::string_view rest;    // behind the module: ".weight"
  std::string_view number;  // that "#" stands for
};

std::string_view take_component(std::string_view& name) {
  const std::size_t dot = name.find('.');
  const std::string_view component = name.substr(0, dot);
  name = dot == std::string_view::npos ? std::string_view() : name.substr(dot + 1);
  return component;
}

// A name that the pattern is, or that lies below it.
std::optional<Match> match(std::string_view pattern, std::string_view name) {
  Match match;
  const std::string_view whole = name;
  while (!pattern.empty()) {
    if (name.empty()) return std::nullopt;
    const std::string_view wanted = take_component(pattern), is = take_component(name);
    if (wanted == "#" && is_digits(is))
      match.number = is;
    else if (wanted != is)
      return std::nullopt;
  }
  if (!name.empty()) match.rest = whole.substr(whole.size() - name.size() - 1);
  return match;
}

bool has_number(std::string_view pattern) {
  return pattern.find_first_of("#~") != std::string_view::npos;
}

std::uint64_t number_of(std::string_view digits) {
  std::uint64_t number = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), number);
  return number;
}

// The source of a rule with its number filled in; `numbers` are those of all targets, in order of
// value and digits.
std::string filled(std::string_view source, std::string_view number,
                   const std::vector<std::string>& numbers) {
  std::string out;
  while (!source.empty()) {
    const std::string_view component = take_component(source);
    if (!out.empty()) out += '.';
    if (component == "#") {
      out += number;
    } else if (component.starts_with("#+")) {
      out += fmt::format("{}", number_of(number) + number_of(component.substr(2)));
    } else if (component.starts_with('~')) {
      const auto found = std::lower_bound(numbers.begin(), numbers.end(), number,
                                          [](std::string_view a, std::string_view b) {
                                            return std::pair(number_of(a), a) < std::pair(number_of(b), b);
                                          });
      const auto at = static_cast<std::size_t>(found - numbers.begin());
      const std::uint64_t turn = number_of(component.substr(1));
      if (turn == 0 || at >= numbers.size()) return {};
      out += numbers[static_cast<std::size_t>(at % turn)];
    } else {
      out += component;
    }
  }
  return out;
}

// Tensors that are one and the same in their file: place, dtype, shape and strides agree. A view of a part of
// a storage is a tensor of its own.
std::vector<std::vector<const Tensor*>> same_storage(const Weights& weights) {
  const auto boxes = [](const Tensor& tensor) {
    return tensor.layout ? tensor.layout->boxes : std::vector<Box>();
  };
  // Beside the boxes; what is made of other tensors is like itself alone.
  const auto member = [](const Tensor& tensor) -> const void* {
    if (!tensor.layout) return nullptr;
    const bool is_made = tensor.layout->compute || !tensor.layout->tensors.empty();
    return is_made ? static_cast<const void*>(tensor.layout.get()) : tensor.layout->inflated.get();
  };
  const auto place = [&](const Tensor& tensor) {
    return std::tuple(tensor.source, reinterpret_cast<std::uintptr_t>(member(tensor)), tensor.offset,
                      tensor.dtype, tensor.shape, boxes(tensor));
  };
  std::vector<const Tensor*> order;
  for (const Tensor& tensor : weights.tensors) {
    // In a safetensors file no two tensors overlap.
    if (tensor.size > 0 && !weights.files[tensor.source].is_safetensors) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [&](const Tensor* a, const Tensor* b) {
    const auto left = std::tuple(a->source, a->offset, a->size),
               right = std::tuple(b->source, b->offset, b->size);
    return left != right ? left < right : std::pair(place(*a), a->name) < std::pair(place(*b), b->name);
  });
  std::vector<std::vector<const Tensor*>> groups;
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first + 1;
    while (last < order.size() && order[last]->offset == order[first]->offset &&
           place(*order[last]) == place(*order[first]))
      ++last;
    if (last - first > 1)
      groups.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(first),
                          order.begin() + static_cast<std::ptrdiff_t>(last));
    first = last;
  }
  return groups;
}

// Whether a tensor is one run of bytes on another machine.
bool is_far_run(const Weights& weights, const Tensor& tensor) {
  const WeightsFile& file = weights.files[tensor.source];
  return !tensor.layout && file.file && file.file->far() != nullptr;
}

// The first bytes, the last, and some in the middle.
bool equal_samples(const Weights& weights, const Tensor& a, const Tensor& b) {
  constexpr std::uint64_t kSample = 4096;  // bytes
  if (a.dtype != b.dtype || a.shape != b.shape || a.size != b.size) return false;
  const std::uint64_t size = std::min(kSample, a.size), last = a.size - size;
  std::vector<std::byte> left(static_cast<std::size_t>(size)), right(left.size());
  for (const std::uint64_t at : {std::uint64_t{0}, last / 2, last}) {
    weights.read(a, at, left);
    weights.read(b, at, right);
    if (left != right) return false;
  }
  return true;
}

}  // namespace

TieDiffers::TieDiffers(std::string name)
    : Error(malformed(fmt::format("'{}' does not hold what the config ties it to", escape_name(name)))),
      dropped(std::move(name)) {}

Tensor compared_as_read(const Tensor& kept, const Tensor& dropped) {
  Tensor tensor =
      computed(kept.name, kept.dtype, kept.shape, {kept, dropped},
               [name = dropped.name](const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                 thread_local std::vector<std::byte> other;
                 other.resize(out.size());
                 sources.read(0, at, out);
                 sources.read(1, at, other);
                 if (!std::equal(out.begin(), out.end(), other.begin())) throw TieDiffers(name);
               });
  tensor.source = kept.source;
  return tensor;
}

Ties::Ties(const std::optional<ModelConfig>& config, const Weights& weights) {
  TieRules rules;
  rules.why = "there is no config.json";
  if (config) rules = tie_rules_of(*config);
  std::vector<std::string> names;
  if (!rules.rules.empty() || !rules.heads.empty()) {
    for (const Tensor& tensor : weights.tensors) names.push_back(tensor.name);
  }
  *this = Ties(std::move(rules), std::move(names));
}

Ties::Ties(TieRules rules, std::vector<std::string> names)
    : rules_(std::move(rules)), names_(std::move(names)), stored_(names_.begin(), names_.end()) {
  for (const TieRule& rule : rules_.rules) {
    for (const TieNames& pair : rule.names) {
      if (pair.source.find('~') == std::string::npos) continue;
      std::set<std::pair<std::uint64_t, std::string>> numbers;
      for (const std::string& name : names_) {
        if (const std::optional<Match> found = match(pair.target, name))
          numbers.emplace(number_of(found->number), found->number);
      }
      std::vector<std::string>& order = numbers_[pair.target];
      for (const auto& [value, digits] : numbers) order.push_back(digits);
    }
  }
}

std::vector<TiedName> Ties::pairs() const {
  std::vector<TiedName> pairs;
  if (!any_on()) return pairs;
  for (const std::string& name : names_) {
    if (std::string kept = kept_name_of(name); !kept.empty()) pairs.push_back({name, std::move(kept), false});
  }
  return pairs;
}

// By the first rule that has a stored source for it.
std::string Ties::source_of(std::string_view name) const {
  const std::vector<std::string> none;
  for (const TieRule& rule : rules_.rules) {
    if (!rule.on) continue;
    for (const TieNames& names : rule.names) {
      const std::optional<Match> found = match(names.target, name);
      if (!found) continue;
      const auto numbers = numbers_.find(names.target);
      std::string source =
          filled(names.source, found->number, numbers == numbers_.end() ? none : numbers->second);
      if (source.empty()) continue;
      source += found->rest;
      if (source != name && stored_.contains(source)) return source;
    }
  }
  return {};
}

std::string Ties::kept_name_of(std::string_view name) const {
  constexpr int kLongest = 8;  // names in a chain
  std::string kept = source_of(name);
  for (int i = 0; i < kLongest; ++i) {
    std::string next = kept.empty() ? "" : source_of(kept);
    if (next.empty()) return kept;
    kept = std::move(next);
  }
  return {};  // a circle
}

std::vector<std::string> Ties::names_tied_to(std::string_view name) const {
  std::vector<std::string> targets;
  for (const TieRule& rule : rules_.rules) {
    if (!rule.on) continue;
    for (const TieNames& names : rule.names) {
      const std::optional<Match> found = match(names.source, name);
      if (!found || has_number(names.target)) continue;
      targets.push_back(names.target + std::string(found->rest));
      break;
    }
  }
  return targets;
}

std::optional<std::vector<TiedName>> Ties::names_to_untie() const {
  if (!rules_.can_untie) return std::nullopt;
  std::vector<TiedName> pairs;
  for (const TieRule& rule : rules_.rules) {
    if (!rule.on) continue;
    for (const TieNames& names : rule.names) {
      if (has_number(names.target)) return std::nullopt;
    }
    for (const std::string& stored : names_) {
      for (const TieNames& names : rule.names) {
        const std::optional<Match> found = match(names.source, stored);
        if (!found) continue;
        std::string target = names.target + std::string(found->rest);
        if (!stored_.contains(target)) pairs.push_back({std::move(target), stored, false});
        break;
      }
    }
  }
  std::sort(pairs.begin(), pairs.end(),
            [](const TiedName& a, const TiedName& b) { return a.dropped < b.dropped; });
  return pairs;
}

std::vector<std::string> Ties::missing() const {
  constexpr std::string_view kWeight = ".weight";
  // Below a module lie "weight", or what a quantiser makes of it; wrappers may stand before all names.
  const auto has_module = [this](std::string_view module) {
    return std::any_of(names_.begin(), names_.end(), [&](const std::string_view name) {
      const std::size_t at = name.find(module);
      return at != std::string_view::npos && (at == 0 || name[at - 1] == '.') &&
             name.substr(at + module.size()).starts_with('.');
    });
  };
  std::vector<std::string> missing;
  for (const TieRule& rule : rules_.rules) {
    const std::string& target = rule.names.front().target;
    if (rule.on || has_number(target) || !target.ends_with(kWeight)) continue;
    const bool there = std::any_of(rule.names.begin(), rule.names.end(), [&](const TieNames& names) {
      return has_module(std::string_view(names.target).substr(0, names.target.size() - kWeight.size()));
    });
    if (!there) missing.push_back(target);
  }
  if (!rules_.heads.empty() && std::none_of(rules_.heads.begin(), rules_.heads.end(), has_module))
    missing.push_back(rules_.heads.front());
  return missing;
}

bool Ties::any_on() const {
  return std::any_of(rules_.rules.begin(), rules_.rules.end(), [](const TieRule& rule) { return rule.on; });
}

std::string with_untied_embeddings(const ModelConfig& config) {
  std::vector<ConfigEdit> edits;
  for (const std::vector<std::string>& path : tie_rules_of(config).switches) edits.push_back({path, "false"});
  return with_config_edits(config.text, edits);
}

FoundTies find_tied(const std::optional<ModelConfig>& config, const Weights& weights,
                    const TieReading& reading) {
  FoundTies result;
  const Ties ties(config, weights);
  const TensorsByName names = tensors_by_name(weights);
  const std::vector<std::vector<const Tensor*>> groups = same_storage(weights);
  std::unordered_map<const Tensor*, std::size_t> group_of;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    for (const Tensor* tensor : groups[i]) group_of.emplace(tensor, i);
  }
  std::set<std::string_view> dropped;
  const std::vector<TiedName> pairs = ties.pairs();
  for (const TiedName& pair : pairs) {
    const Tensor *const a = names.at(pair.dropped), *const b = names.at(pair.kept);
    const auto left = group_of.find(a), right = group_of.find(b);
    const bool same = left != group_of.end() && right != group_of.end() && left->second == right->second;
    const bool assumes = reading.assumes && !same && !reading.except.contains(pair.dropped) &&
                         is_far_run(weights, *a) && is_far_run(weights, *b);
    if (same || (assumes ? equal_samples(weights, *a, *b) : equal_bytes(weights, *a, weights, *b))) {
      result.tied.push_back({pair.dropped, pair.kept, same, assumes});
      dropped.insert(pair.dropped);
    } else {
      result.notes.push_back(
          fmt::format("config.json ties '{}' to '{}', but their values differ: both are written, and loaders "
                      "keep them apart",
                      escape_name(pair.dropped), escape_name(pair.kept)));
    }
  }
  constexpr std::size_t kShown = 3;
  std::size_t untied = 0;
  for (const std::vector<const Tensor*>& group : groups) {
    std::vector<std::string> kept;
    for (const Tensor* tensor : group) {
      if (!dropped.contains(tensor->name)) kept.push_back("'" + escape_name(tensor->name) + "'");
    }
    if (kept.size() < 2 || ++untied > kShown) continue;
    const std::size_t count = kept.size();
    kept.resize(std::min(count, kShown));
    result.notes.push_back(fmt::format("{}{} share their storage, but {}: each is written", join(kept, ", "),
                                       count > kShown ? fmt::format(" and {} more", count - kShown) : "",
                                       ties.why()));
  }
  if (untied > kShown)
    result.notes.push_back(
        fmt::format("{} more storages are shared by names that nothing ties: each name is written",
                    group_digits(untied - kShown)));
  return result;
}

}  // namespace mu
