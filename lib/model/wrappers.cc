// SPDX-License-Identifier: Apache-2.0
#include "model/wrappers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/text.h"

namespace mu {
namespace {

constexpr std::size_t kShown = 100;  // columns of a name in a note; hostile ones have megabytes

constexpr std::string_view kPeft = "base_model.model.";
constexpr std::array<std::string_view, 3> kLeading = {"_forward_module.", "module.", kPeft};

// How PEFT begins the names of its parameters and modules: PEFT_TYPE_TO_PREFIX_MAPPING of 0.21.2
// (tests/interop/test_names.py compares them).
constexpr auto kPeftPrefixes = std::to_array<std::string_view>({"adamss_",
                                                                "adaption_prompt_",
                                                                "beft_",
                                                                "boft_",
                                                                "c3a_",
                                                                "cartridge_",
                                                                "cpt_",
                                                                "deft_",
                                                                "delora_",
                                                                "fourierft_",
                                                                "frod_",
                                                                "glora_",
                                                                "gralora_",
                                                                "hada_",
                                                                "hira_",
                                                                "hra_",
                                                                "ia3_",
                                                                "lily_",
                                                                "ln_tuning_",
                                                                "lokr_",
                                                                "lora_",
                                                                "miss_",
                                                                "multitask_prompt_tuning_",
                                                                "oft_",
                                                                "osf_",
                                                                "p_tuning_",
                                                                "peanut_",
                                                                "poly_",
                                                                "prefix_tuning_",
                                                                "prompt_tuning_",
                                                                "psoft_",
                                                                "pvera_lambda_",
                                                                "randlora_",
                                                                "road_",
                                                                "shadow_",
                                                                "shira_",
                                                                "supertuning_",
                                                                "tinylora_",
                                                                "trainable_tokens_",
                                                                "unilora_",
                                                                "vblora_",
                                                                "vera_lambda_",
                                                                "waveft_",
                                                                "xlora_"});
constexpr std::array<std::string_view, 4> kPeftModules = {"modules_to_save", "original_module", "base_layer",
                                                          "token_adapter"};

// The name without a wrapper that begins it or follows a dot.
std::string without(std::string_view name, std::string_view wrapper) {
  std::string out;
  while (!name.empty()) {
    const bool begins_part = out.empty() || out.back() == '.';
    const std::size_t found = begins_part && name.starts_with(wrapper) ? 0 : name.find(wrapper, 1);
    out += name.substr(0, found);
    if (found == std::string_view::npos) break;
    name.remove_prefix(found);
    if (out.empty() || out.back() == '.') {
      name.remove_prefix(wrapper.size());
    } else {
      out += name.front();
      name.remove_prefix(1);
    }
  }
  return out;
}

bool begins(std::string_view name, std::string_view wrapper) {
  return name.size() > wrapper.size() && name.starts_with(wrapper);
}

// Whether a tensor is an adapter's, or a layer's below one: a part of its name is one that PEFT gives.
bool is_adapter_tensor(std::string_view name) {
  for (const std::string_view part : split(name, '.')) {
    const auto begins_part = [part](std::string_view prefix) { return begins(part, prefix); };
    if (std::any_of(kPeftPrefixes.begin(), kPeftPrefixes.end(), begins_part) ||
        std::find(kPeftModules.begin(), kPeftModules.end(), part) != kPeftModules.end())
      return true;
  }
  return false;
}

std::string quoted(std::string_view name) {
  return fmt::format("'{}'", shorten_middle(escape_name(name), kShown));
}

// Applies one rule after the other to a list of names, which is copied when the first one applies.
class Remover {
 public:
  Remover(const std::vector<Tensor>& tensors, const WrapperRules& rules) : tensors_(tensors), rules_(rules) {}

  WrapperRemoval run() {
    for (const std::string_view module : kWrapperModules) remove_anywhere(std::string(module) + ".");
    if (rules_.leading) {
      while (std::any_of(kLeading.begin(), kLeading.end(),
                         [this](std::string_view wrapper) { return remove_leading(wrapper); })) {
      }
    }
    if (cut_ > 0) {
      const std::string leading =
          (result_.names.empty() ? tensors_[0].name : result_.names[0]).substr(0, cut_);
      result_.removed.push_back({shorten_middle(leading, kShown), tensors_.size()});
      std::vector<std::string> names;
      names.reserve(tensors_.size());
      for (std::size_t i = 0; i < tensors_.size(); ++i) names.emplace_back(name(i));
      result_.names = std::move(names);
    }
    return std::move(result_);
  }

 private:
  [[nodiscard]] std::string_view name(std::size_t i) const {
    const std::string& whole = result_.names.empty() ? tensors_[i].name : result_.names[i];
    return std::string_view(whole).substr(cut_);
  }

  template <typename Matches>
  [[nodiscard]] std::uint64_t count(Matches matches) const {
    std::uint64_t found = 0;
    for (std::size_t i = 0; i < tensors_.size(); ++i) found += matches(name(i)) ? 1 : 0;
    return found;
  }

  void remove_anywhere(const std::string& wrapper) {
    const auto has = [&wrapper](std::string_view name) {
      return name.find(wrapper) != std::string_view::npos && without(name, wrapper) != name;
    };
    const std::uint64_t found = count(has);
    if (found == 0) return;
    std::vector<std::string> names;
    names.reserve(tensors_.size());
    for (std::size_t i = 0; i < tensors_.size(); ++i) names.push_back(without(name(i), wrapper));
    std::unordered_map<std::string_view, std::size_t> first;
    for (std::size_t i = 0; i < names.size(); ++i) {
      const auto [other, fresh] = first.try_emplace(names[i], i);
      const bool emptied = names[i].empty() && !name(i).empty();
      if (!emptied && (fresh || name(i) == name(other->second))) continue;
      result_.kept.push_back(
          emptied ? fmt::format("'{}' stays in {}: nothing else is in {}", wrapper, plural(found, "name"),
                                quoted(name(i)))
                  : fmt::format("'{}' stays in {}: without it, {} and {} would have one name", wrapper,
                                plural(found, "name"), quoted(name(other->second)), quoted(name(i))));
      return;
    }
    result_.names = std::move(names);
    result_.removed.push_back({wrapper, found});
  }

  // Names that differ still differ without what begins them all.
  bool remove_leading(std::string_view wrapper) {
    const std::uint64_t found = count([wrapper](std::string_view name) { return begins(name, wrapper); });
    if (found == 0) return false;
    if (const std::optional<std::string> reason = reason_to_keep(wrapper, found)) {
      const std::string all = found == tensors_.size() ? "" : group_digits(found) + " of ";
      if (!reason->empty())
        result_.kept.push_back(fmt::format("'{}' stays at the beginning of {}{}: {}", wrapper, all,
                                           plural(tensors_.size(), "name"), *reason));
      return false;
    }
    cut_ += wrapper.size();
    return true;
  }

  // Nothing if the wrapper can go; an empty text if it stays as it should.
  std::optional<std::string> reason_to_keep(std::string_view wrapper, std::uint64_t found) {
    if (wrapper == kPeft && rules_.of_adapter) return "";
    if (found < tensors_.size()) return "the others begin without it";
    if (!adapters_) adapters_ = count(is_adapter_tensor);  // what leads a name changes nothing about it
    const std::uint64_t adapters = *adapters_;
    if (adapters == 0 && !rules_.of_adapter) return std::nullopt;
    if (adapters == tensors_.size() && wrapper == kPeft) return "";
    std::size_t one = 0;
    while (one + 1 < tensors_.size() && !is_adapter_tensor(name(one))) ++one;
    return quoted(name(one)) + " is a tensor of an adapter";
  }

  const std::vector<Tensor>& tensors_;
  const WrapperRules& rules_;
  WrapperRemoval result_;
  std::size_t cut_ = 0;  // bytes removed from the beginning of every name
  std::optional<std::uint64_t> adapters_;
};

}  // namespace

WrapperRemoval plan_wrapper_removal(const std::vector<Tensor>& tensors, const WrapperRules& rules) {
  return Remover(tensors, rules).run();
}

RemovedWrappers remove_wrapper_names(Weights& weights, const WrapperRules& rules) {
  WrapperRemoval plan = plan_wrapper_removal(weights.tensors, rules);
  RemovedWrappers done;
  for (const WrapperRemoval::Removed& removed : plan.removed)
    done.notes.push_back(fmt::format("'{}' removed from {}", removed.wrapper, plural(removed.names, "name")));
  std::move(plan.kept.begin(), plan.kept.end(), std::back_inserter(done.notes));
  for (std::size_t i = 0; i < plan.names.size(); ++i) {
    std::string& name = weights.tensors[i].name;
    if (name == plan.names[i]) continue;
    done.listed.emplace(plan.names[i], std::move(name));
    name = std::move(plan.names[i]);
  }
  return done;
}

}  // namespace mu
