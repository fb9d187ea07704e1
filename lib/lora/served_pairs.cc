// SPDX-License-Identifier: Apache-2.0
#include "lora/served_pairs.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "lora/server.h"
#include "tensor/format.h"

namespace mu {
namespace {

constexpr std::string_view kWeight = ".weight";
constexpr std::size_t kShown = 5;

std::string matrix_text(const LoraModule& module) {
  return fmt::format("{} x {}", module.b->shape[0], module.a->shape[1]);
}

class PairFinder {
 public:
  PairFinder(const AdapterContent& adapter, const LoraConfig& config, const AdapterInBase& found,
             const ServedBase& base)
      : adapter_(adapter), config_(config), found_(found), base_(base) {}

  PairsInBase run() {
    for (std::size_t i = 0; i < adapter_.modules.size(); ++i) {
      if (adapter_.modules[i].is_target) add(adapter_.modules[i], found_.modules[i]);
    }
    if (!missing_.empty()) fail_missing();
    return std::move(pairs_);
  }

 private:
  void add(const LoraModule& module, const PlaceInBase& place) {
    if (const ServedBase::Part part = part_of(module, place); part.stack != nullptr)
      return add_part(module, part);
    if (place.is_missing()) {
      missing_.push_back(&place);
      return;
    }
    const ServedTensor* const stored = base_.tensor(place.name);
    const bool is_layer = place.parameter.ends_with(kWeight);
    const bool is_made = is_layer && stored != nullptr && stored->is_made;
    // The shape of a part of a tensor is for its class to say.
    if (!place.fits && !is_made)
      throw malformed(fmt::format("{}: its delta is {}, but '{}' in the base is {}", escape_name(module.name),
                                  matrix_text(module), escape_name(place.name), shape_text(place.shape)));
    if (!is_layer) return add_stack(module, place);
    ServedTensor tensor = stored == nullptr ? base_.absent(place.name) : *stored;
    if (is_made) tensor.memory = place.parameter;
    pairs_.layers.push_back({std::move(tensor), factors_of(module, module.name, module.rank), &module});
  }

  [[nodiscard]] ServedBase::Part part_of(const LoraModule& module, const PlaceInBase& place) const {
    if (!place.parameter.ends_with(kWeight)) return {};
    std::string published = found_.names(module.name + std::string(kWeight));
    if (!published.ends_with(kWeight)) return base_.part(module.name);
    published.resize(published.size() - kWeight.size());
    return base_.part(published);
  }

  [[nodiscard]] FactorPair factors_of(const LoraModule& module, const std::string& path,
                                      std::uint64_t rank) const {
    return {*module.a, *module.b, rank, config_.alpha_of(path)};
  }

  StackPairs& pairs_of(const ExpertStack& stack) {
    std::vector<StackPairs>& all = pairs_.containers[stack.container()];
    if (all.empty()) {
      for (const ExpertStack* const one : base_.stacks_in(stack.container()))
        all.push_back({.stack = one, .whole = {}, .parts = {}});
    }
    return *std::find_if(all.begin(), all.end(), [&](const StackPairs& one) { return one.stack == &stack; });
  }

  // Factors of experts are taken apart or joined, which magnitudes and biases are not.
  static void require_plain(const LoraModule& module) {
    if (module.magnitude != nullptr)
      throw not_served(escape_name(module.name) + ": DoRA of experts has no other form");
    if (module.bias != nullptr)
      throw not_served(escape_name(module.name) + ": a bias of experts has no other form");
  }

  void add_part(const LoraModule& module, const ServedBase::Part& part) {
    require_plain(module);
    const ExpertStack& stack = *part.stack;
    const std::uint64_t out = stack.out / stack.leaves.size();
    if (module.b->shape[0] != out || module.a->shape[1] != stack.in)
      throw malformed(fmt::format("{}: its delta is {}, but the matrices of these experts are {} x {}",
                                  escape_name(module.name), matrix_text(module), out, stack.in));
    pairs_of(stack).parts.emplace(std::pair(part.expert, part.leaf),
                                  factors_of(module, module.name, module.rank));
  }

  void add_stack(const LoraModule& module, const PlaceInBase& place) {
    require_plain(module);
    const ExpertStack* stack = base_.stack(place.name);
    if (stack == nullptr) stack = base_.stack(place.tensors.front()->name);
    const std::uint64_t rows = module.a->shape[0];
    if (stack == nullptr || stack->experts == 0 || rows % stack->experts != 0)
      throw malformed(fmt::format("{}: its factors are not those of the experts of '{}' in the base",
                                  escape_name(module.name), escape_name(place.name)));
    if (config_.target_parameters.empty() && stack->out == stack->in && !has_other_wrapper(module))
      throw malformed(fmt::format("{}: neither target_parameters nor shapes tell which parameter it is for",
                                  escape_name(module.name)))
          .hint("name it in target_parameters of adapter_config.json");
    const std::uint64_t rank = rows / stack->experts;
    if (static_cast<double>(rank) != config_.rank_of(place.parameter))
      throw malformed(fmt::format("{}: has rank {}, but adapter_config.json says {}",
                                  escape_name(module.name), rank, config_.rank_of(place.parameter)));
    pairs_of(*stack).whole = factors_of(module, place.parameter, rank);
  }

  // Whether the container has factors for two parameters: then the order of the wrappers tells them apart.
  [[nodiscard]] bool has_other_wrapper(const LoraModule& module) const {
    constexpr std::string_view kLayer = ".base_layer";
    const std::string other = module.name.ends_with(kLayer)
                                  ? module.name.substr(0, module.name.size() - kLayer.size())
                                  : module.name + std::string(kLayer);
    return std::any_of(adapter_.modules.begin(), adapter_.modules.end(),
                       [&](const LoraModule& one) { return one.name == other; });
  }

  [[noreturn]] void fail_missing() const {
    std::string names;
    for (std::size_t i = 0; i < std::min(kShown, missing_.size()); ++i) {
      const PlaceInBase& place = *missing_[i];
      std::vector<std::string> others;
      for (const std::string& candidate : place.candidates) others.push_back(escape_name(candidate));
      names += (i > 0 ? "; " : "") + escape_name(place.parameter);
      if (!others.empty()) names += fmt::format(" (the base has {})", join(others, ", "));
    }
    if (missing_.size() > kShown) names += fmt::format(" and {} more", missing_.size() - kShown);
    const std::size_t all =
        static_cast<std::size_t>(std::count_if(adapter_.modules.begin(), adapter_.modules.end(),
                                               [](const LoraModule& module) { return module.is_target; }));
    throw malformed(fmt::format("the base lacks {} of {} of the adapter{}: {}", missing_.size(),
                                plural(all, "module"),
                                found_.is_ambiguous ? ", which more than one model in it fits" : "", names))
        .hint(config_.base_model.empty() ? "is it the base this adapter was trained on?"
                                         : "the adapter was trained on " + escape_name(config_.base_model));
  }

  const AdapterContent& adapter_;
  const LoraConfig& config_;
  const AdapterInBase& found_;
  const ServedBase& base_;
  PairsInBase pairs_;
  std::vector<const PlaceInBase*> missing_;
};

}  // namespace

PairsInBase find_pairs(const AdapterContent& adapter, const LoraConfig& config, const AdapterInBase& found,
                       const ServedBase& base) {
  return PairFinder(adapter, config, found, base).run();
}

}  // namespace mu
