// SPDX-License-Identifier: Apache-2.0
// Each rule is tried on all that the adapter changes, and the first that misses least is taken. The rule for text
// adapters has as many variants as there are places where the first module could be; it needs shapes as well, since
// towers for images have layers of the same names. The last rules, for files that lack a first component or have one
// more, are judged without experts and output heads, which have other ways to be elsewhere.
#include "model/adapter_in_base.h"

#include <algorithm>
#include <compare>
#include <memory>
#include <optional>
#include <set>

#include "base/text.h"
#include "model/base_tensors.h"
#include "model/families.h"

namespace mu {
namespace {

using Way = NamesInBase::Way;
using Shape = std::vector<std::uint64_t>;

constexpr std::string_view kModel = "model.";
constexpr std::size_t kCandidates = 3;
constexpr std::size_t kNamed = 100;  // missing modules that get candidates: nobody reads more

bool is_head(std::string_view parameter) {
  return parameter == "lm_head.weight" || parameter.ends_with(".lm_head.weight");
}

std::string first_component(const std::string& name) {
  return name.substr(0, name.find('.')) + ".";
}

std::string_view without_layers(std::string_view module) {
  constexpr std::string_view kLayer = ".base_layer";
  while (module.ends_with(kLayer)) module.remove_suffix(kLayer.size());
  return module;
}

// How many components two names share at their ends.
std::size_t common_end(std::string_view a, std::string_view b) {
  const std::vector<std::string_view> left = split(a, '.'), right = split(b, '.');
  std::size_t count = 0;
  while (count < std::min(left.size(), right.size()) &&
         left[left.size() - 1 - count] == right[right.size() - 1 - count])
    ++count;
  return count;
}

class Finder {
 public:
  Finder(const AdapterContent& adapter, const LoraConfig& config, const Input& base)
      : adapter_(adapter), config_(config), base_(base) {
    const std::string type = base.config ? base.config->model_type : "";
    is_conv1d_ = is_conv1d_family(type) || (type.empty() && config.fan_in_fan_out);
  }

  AdapterInBase run() {
    AdapterInBase found;
    Missing least = missing_under({}, {});
    const auto consider = [&](const NamesInBase& names) {
      if (least == Missing{0, 0}) return;
      const Missing missing = missing_under(names, least);
      if (missing >= least) return;
      least = missing;
      found.names = names;
    };
    if (const std::shared_ptr<const TensorNames> table = table_of_base()) {
      consider({Way::kPublished, table});
      consider({Way::kMemory, table});
    }
    if (least.modules > 0) {
      for (const NamesInBase& names : text_ways(found.is_ambiguous)) consider(names);
    }
    if (least.modules > 0 && !found.is_ambiguous) {
      for (const NamesInBase& names : component_ways()) found.names = names;
    }
    fill(found);
    return found;
  }

 private:
  // Tensors that the adapter holds whole tell rules apart only where its modules don't: a base may lack them.
  struct Missing {
    std::size_t modules = 0, wholes = 0;
    auto operator<=>(const Missing&) const = default;
  };

  // The parameter that a module changes, by the rule.
  [[nodiscard]] PlaceInBase place_of(const LoraModule& module, const NamesInBase& names) const {
    PlaceInBase place = look(names, module.name + ".weight");
    const std::string path = stack_path(module);
    if (!path.empty() && (place.is_missing() || place.shape.size() == 3))
      place = look(names, path);
    else if (place.is_missing() && without_layers(module.name).ends_with("experts"))
      guess_stack(module, names, place);
    place.fits = place.shape.empty() || fits(module, place);
    return place;
  }

  [[nodiscard]] std::string stack_path(const LoraModule& module) const {
    return config_.target_parameters.empty() ? "" : target_parameter_of(module.name, config_);
  }

  [[nodiscard]] PlaceInBase look(const NamesInBase& names, std::string parameter) const {
    BaseTensors::Found found = base_.find(names, parameter);
    return {.parameter = std::move(parameter),
            .name = std::move(found.name),
            .tensors = std::move(found.tensors),
            .shape = std::move(found.shape),
            .candidates = {}};
  }

  // Without target_parameters: the only stack of the module that has the shape for these factors.
  void guess_stack(const LoraModule& module, const NamesInBase& names, PlaceInBase& place) const {
    std::vector<PlaceInBase> possible;
    for (const std::string_view parameter : kExpertParameters) {
      PlaceInBase one = look(names, std::string(without_layers(module.name)) + "." + std::string(parameter));
      if (one.shape.size() == 3 && fits(module, one)) possible.push_back(std::move(one));
    }
    if (possible.size() == 1) place = std::move(possible.front());
  }

  [[nodiscard]] bool fits(const LoraModule& module, const PlaceInBase& place) const {
    if (module.a == nullptr || module.b == nullptr) return true;  // no shapes to judge
    const Shape &a = module.a->shape, &b = module.b->shape, &w = place.shape;
    if (a.size() < 2 || a.size() != b.size()) return true;
    const std::uint64_t out = b[0], in = a[1];
    if (a.size() > 2)  // a convolution: the kernel is that of A
      return w.size() == a.size() && w[0] == out && std::equal(w.begin() + 1, w.end(), a.begin() + 1);
    if (w.size() == 3) {
      const bool has_experts = w[0] > 0 && a[0] % w[0] == 0;
      return has_experts && ((w[1] == out && w[2] == in) || (w[1] == in && w[2] == out));
    }
    const Shape plain = {out, in}, turned = {in, out};
    return w == (module.is_embedding ? turned : plain) || (is_conv1d_ && w == turned);
  }

  // With `enough` modules it stops counting, if these are not 0.
  [[nodiscard]] Missing missing_under(const NamesInBase& names, Missing enough) const {
    Missing missing;
    const auto is_enough = [&] { return enough.modules > 0 && missing.modules >= enough.modules; };
    for (const LoraModule& module : adapter_.modules) {
      if (is_enough()) return missing;
      missing.modules += module.is_target && place_of(module, names).is_missing() ? 1 : 0;
    }
    for (const ReplacedRows& rows : adapter_.rows)
      missing.modules += look(names, rows.module + ".weight").is_missing() ? 1 : 0;
    for (const ReplacedTensor& whole : adapter_.replaced)
      missing.wholes += look(names, whole.name).is_missing() ? 1 : 0;
    return missing;
  }

  [[nodiscard]] std::shared_ptr<const TensorNames> table_of_base() const {
    const std::optional<ModelConfig>& config = base_.input().config;
    return config ? TensorNames::of(*config) : nullptr;
  }

  // Whether all modules of the text model are there; an output head may be tied in the base.
  struct Suits {
    bool exist = true, fit = true;
  };
  [[nodiscard]] Suits suits(const NamesInBase& names) const {
    Suits suits;
    for (const LoraModule& module : adapter_.modules) {
      if (!module.is_target || is_head(module.name + ".weight")) continue;
      const PlaceInBase place = place_of(module, names);
      suits.exist = suits.exist && !place.is_missing();
      suits.fit = suits.fit && !place.is_missing() && place.fits;
      if (!suits.exist) break;
    }
    return suits;
  }

  // The language model of the base, if the adapter can be meant for nothing else; if its shapes fit nowhere, all that
  // it may be, to say what is wrong.
  [[nodiscard]] std::vector<NamesInBase> text_ways(bool& is_ambiguous) const {
    const std::optional<ModelConfig>& config = base_.input().config;
    if (!config || config->root.find("text_config") == nullptr) return {};
    const std::string inner = first_inner();
    if (inner.empty()) return {};
    std::vector<NamesInBase> language, possible, fitting;
    for (const std::string_view prefix : {"model.language_model.", "language_model.model.", "model."})
      language.emplace_back(Way::kText, nullptr, std::string(prefix));
    if (std::shared_ptr<const TensorNames> table = table_of_base())
      language.emplace_back(Way::kText, std::move(table), "model.language_model.");
    possible = language;
    for (const std::string_view name : base_.names_that_end_in(inner))
      possible.emplace_back(Way::kText, nullptr, std::string(name.substr(0, name.size() - inner.size())));
    std::set<std::string> places;
    bool is_language = false;
    for (std::size_t i = 0; i < possible.size(); ++i) {
      if (!suits(possible[i]).fit || !places.insert(possible[i](std::string(kModel) + inner)).second)
        continue;
      is_language = is_language || i < language.size();
      fitting.push_back(possible[i]);
    }
    is_ambiguous = fitting.size() > 1;
    if (!fitting.empty()) return is_ambiguous || !is_language ? std::vector<NamesInBase>{} : fitting;
    return language;
  }

  // What follows "model." in the name of the first parameter that the adapter changes.
  [[nodiscard]] std::string first_inner() const {
    for (const LoraModule& module : adapter_.modules) {
      const std::string weight = module.name + ".weight", path = stack_path(module);
      const std::string& parameter = path.empty() ? weight : path;
      if (module.is_target && parameter.starts_with(kModel) && !is_head(weight))
        return parameter.substr(kModel.size());
    }
    return "";
  }

  [[nodiscard]] std::vector<NamesInBase> component_ways() const {
    std::vector<std::string> judged;
    for (const LoraModule& module : adapter_.modules) {
      if (module.is_target && module.name.find("experts") == std::string::npos)
        judged.push_back(module.name + ".weight");
    }
    for (const ReplacedRows& rows : adapter_.rows) judged.push_back(rows.module + ".weight");
    std::erase_if(judged, is_head);
    if (judged.empty()) return {};
    const auto all_under = [&](const NamesInBase& names) {
      return std::all_of(judged.begin(), judged.end(),
                         [&](const std::string& name) { return base_.find(names(name)) != nullptr; });
    };
    const NamesInBase without(Way::kWithout, nullptr, first_component(judged.front()));
    if (all_under(without)) return {without};
    std::set<std::string> tops;
    for (const std::string& name : judged) tops.insert(name.substr(0, name.find('.')));
    for (const std::string prefix : {"model.", "transformer.", "language_model."}) {
      if (!all_under({prefix, tops})) continue;
      // Some keep the output head with the rest.
      if (base_.find("lm_head.weight") == nullptr && base_.find(prefix + "lm_head.weight") != nullptr)
        tops.insert("lm_head");
      return {{prefix, tops}};
    }
    return {};
  }

  void fill(AdapterInBase& found) const {
    std::size_t named = 0;
    for (const LoraModule& module : adapter_.modules) {
      found.modules.push_back(place_of(module, found.names));
      PlaceInBase& place = found.modules.back();
      if (place.is_missing() && module.is_target && ++named <= kNamed)
        place.candidates = candidates(module, place);
    }
    for (const ReplacedRows& rows : adapter_.rows)
      found.rows.push_back(look(found.names, rows.module + ".weight"));
    for (const ReplacedTensor& whole : adapter_.replaced)
      found.replaced.push_back(look(found.names, whole.name));
    for (const ReplacedTensor& layer : adapter_.layers) found.layers.push_back(look(found.names, layer.name));
  }

  [[nodiscard]] std::vector<std::string> candidates(const LoraModule& module,
                                                    const PlaceInBase& place) const {
    const std::string_view path = place.parameter;
    const bool is_layer = path.ends_with(".weight");
    const std::size_t last = path.rfind(
        '.', is_layer ? path.size() - std::string_view(".weight").size() - 1 : std::string_view::npos);
    std::vector<std::string_view> names =
        base_.names_that_end_in(path.substr(last == std::string_view::npos ? 0 : last + 1));
    std::erase_if(names, [&](std::string_view name) {
      const PlaceInBase other = look({}, std::string(name));
      return !other.shape.empty() && !fits(module, other);
    });
    const auto more_alike = [&](std::string_view a, std::string_view b) {
      return common_end(a, path) > common_end(b, path);
    };
    std::stable_sort(names.begin(), names.end(), more_alike);
    names.resize(std::min(names.size(), kCandidates));
    return {names.begin(), names.end()};
  }

  const AdapterContent& adapter_;
  const LoraConfig& config_;
  BaseTensors base_;
  bool is_conv1d_ = false;
};

}  // namespace

AdapterInBase find_in_base(const AdapterContent& adapter, const LoraConfig& config, const Input& base) {
  return Finder(adapter, config, base).run();
}

}  // namespace mu
