// SPDX-License-Identifier: Apache-2.0
// A name says what it is in two ways. Some endings belong to one library and need no neighbour (".qweight",
// ".SCB"). All others are words: the last part of the name is cut at its underscores, and what is left without
// the words of scales (scale, zero, absmax …) and the words that everybody adds (weight, input, inv …) is the
// module's own part. "x.w_scale", "x.scale_weight" and "x.weight" all come down to x; "e.up_scale" and
// "e.up_blocks" to e.up. A name with a word of scales is a scale if a tensor of few bits comes down to the
// same, or to the path of the module that the name is in; so logit_scale and layer_scale_parameter stay what
// they are.
#include "model/quantised.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/text.h"

namespace mu {
namespace {

struct Ending {
  std::string_view text;
  QuantRole role;
  QuantFamily family;
};

constexpr std::array<Ending, 30> kEndings = {{
    {".qweight", QuantRole::kWeight, QuantFamily::kGptq},
    {".qzeros", QuantRole::kScale, QuantFamily::kGptq},
    {".scales", QuantRole::kScale, QuantFamily::kGptq},
    {".g_idx", QuantRole::kScale, QuantFamily::kGptq},
    {".SCB", QuantRole::kScale, QuantFamily::kBitsandbytes},
    {".weight_format", QuantRole::kMarker, QuantFamily::kBitsandbytes},
    {".absmax", QuantRole::kScale, QuantFamily::kBitsandbytes},
    {".quant_map", QuantRole::kScale, QuantFamily::kBitsandbytes},
    {".nested_absmax", QuantRole::kScale, QuantFamily::kBitsandbytes},
    {".nested_quant_map", QuantRole::kScale, QuantFamily::kBitsandbytes},
    {".quant_state.bitsandbytes__nf4", QuantRole::kScale, QuantFamily::kBitsandbytes},
    {".quant_state.bitsandbytes__fp4", QuantRole::kScale, QuantFamily::kBitsandbytes},
    {".weight_packed", QuantRole::kWeight, QuantFamily::kPacked},
    {".weight_shape", QuantRole::kScale, QuantFamily::kPacked},
    {".weight_g_idx", QuantRole::kScale, QuantFamily::kPacked},
    {".weight_global_scale", QuantRole::kScale, QuantFamily::kScaled},
    {".weight_zero_point", QuantRole::kScale, QuantFamily::kScaled},
    {".weight_scale", QuantRole::kScale, QuantFamily::kScaled},
    {".weight_scale_inv", QuantRole::kScale, QuantFamily::kScaled},
    {".weight_scale_2", QuantRole::kScale, QuantFamily::kScaled},
    {".input_scale", QuantRole::kScale, QuantFamily::kScaled},
    {".input_global_scale", QuantRole::kScale, QuantFamily::kScaled},
    {".zero_point", QuantRole::kScale, QuantFamily::kScaled},
    {"._weight_qdata", QuantRole::kWeight, QuantFamily::kTorchao},
    {"._weight_scale", QuantRole::kScale, QuantFamily::kTorchao},
    {"._weight_zero_point", QuantRole::kScale, QuantFamily::kTorchao},
    {".scale_weight", QuantRole::kScale, QuantFamily::kComfy},
    {".scale_input", QuantRole::kScale, QuantFamily::kComfy},
    {".comfy_quant", QuantRole::kMarker, QuantFamily::kComfy},
    {".scaled_fp8", QuantRole::kMarker, QuantFamily::kComfy},
}};

// Words in names of scales and other companions, in lower case; besides those, whatever has "scale" or "zero" in
// it.
constexpr std::array<std::string_view, 17> kScaleWords = {
    "scb",       "absmax", "amax",   "zp",        "shift", "offset", "biases", "meta", "codebook",
    "codebooks", "lut",    "tables", "centroids", "su",    "sv",     "suh",    "svh"};
// Words that say nothing about which module is meant.
constexpr std::array<std::string_view, 35> kCommonWords = {
    "",       "weight",  "weights", "w",      "q",     "qweight", "in",      "input",  "out",
    "output", "act",     "acts",    "k",      "v",     "inv",     "inverse", "1",      "2",
    "3",      "global",  "point",   "points", "qdata", "data",    "quant",   "packed", "activation",
    "static", "channel", "tensor",  "blocks", "group", "codes",   "indices", "trellis"};

template <std::size_t N>
bool is_one_of(std::string_view word, const std::array<std::string_view, N>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool is_scale_word(std::string_view word) {
  return word.find("scale") != std::string_view::npos || word.find("zero") != std::string_view::npos ||
         is_one_of(word, kScaleWords);
}

const Ending* ending_of(std::string_view name) {
  if (name.ends_with(".weight") || name.ends_with(".bias"))
    return nullptr;  // most names: no ending is one of these
  if (name == "scaled_fp8") return &kEndings.back();
  const auto* const found = std::find_if(kEndings.begin(), kEndings.end(),
                                         [name](const Ending& e) { return name.ends_with(e.text); });
  return found == kEndings.end() ? nullptr : found;
}

// A type that holds quantised values: few bits, or several of them packed in one integer.
bool is_small(Dtype dtype) {
  if (is_integer(dtype)) return bits(dtype) <= 32;
  return is_float8(dtype) || (is_floating(dtype) && bits(dtype) < 8);
}

struct Reduced {
  std::string module;
  std::size_t parent = 0;  // length of the part of it that is the path of a module for sure
  bool scale = false;      // a word of scales was among the words
};

// The module that a name comes down to.
Reduced reduce(std::string_view name) {
  // bitsandbytes writes what kind it is behind another dot.
  if (const std::size_t state = name.rfind(".quant_state."); state != std::string_view::npos)
    name = name.substr(0, state + std::string_view(".quant").size());
  const std::size_t dot = name.rfind('.');
  std::string_view parent = dot == std::string_view::npos ? "" : name.substr(0, dot);
  constexpr std::string_view kWeight = ".weight";
  if (parent.ends_with(kWeight)) parent.remove_suffix(kWeight.size());
  Reduced out{std::string(parent), parent.size(), false};
  std::string own;
  const std::string_view leaf = dot == std::string_view::npos ? name : name.substr(dot + 1);
  for (const std::string_view word : split(leaf, '_')) {
    const std::string lower = lower_ascii(word);
    if (is_scale_word(lower)) {
      out.scale = true;
    } else if (!is_one_of(lower, kCommonWords)) {
      own += (own.empty() ? "" : "_") + std::string(word);
    }
  }
  if (!own.empty()) out.module += "." + own;
  return out;
}

QuantFamily family_of(const Tensor& weight) {
  return weight.name.ends_with("_blocks") ? QuantFamily::kBlocks : QuantFamily::kScaled;
}

// First what each name and type say alone, then what they are beside one another.
class PartFinder {
 public:
  explicit PartFinder(const std::vector<Tensor>& tensors) : tensors_(tensors), parts_(tensors.size()) {
    guesses_.reserve(tensors.size());
    for (const Tensor& tensor : tensors) {
      const Ending* const ending = ending_of(tensor.name);
      std::string_view own = tensor.name;
      // bitsandbytes packs values into any type (bnb_4bit_quant_storage), and names what is beside them after them.
      if (ending != nullptr && ending->family == QuantFamily::kBitsandbytes && ending->text != ".SCB" &&
          ending->role == QuantRole::kScale) {
        own.remove_suffix(ending->text.size());
        packed_.insert(own);
      }
      guesses_.push_back({ending, reduce(own)});
    }
  }

  std::vector<QuantPart> find() {
    for (std::size_t i = 0; i < tensors_.size(); ++i) add_weight(i);
    for (std::size_t i = 0; i < tensors_.size(); ++i) judge_companion(i);
    for (std::size_t i = 0; i < tensors_.size(); ++i) judge_weight(i);
    return std::move(parts_);
  }

 private:
  struct Guess {
    const Ending* ending;
    Reduced reduced;
  };
  struct Module {
    const Tensor* weight = nullptr;
    QuantFamily family = QuantFamily::kNone;
    bool scaled = false;
  };

  [[nodiscard]] bool may_be_weight(std::size_t i) const {
    const Guess& guess = guesses_[i];
    if (guess.ending != nullptr) return guess.ending->role == QuantRole::kWeight;
    if (packed_.contains(tensors_[i].name)) return true;
    return is_small(tensors_[i].dtype) && !guess.reduced.scale;
  }

  void add_weight(std::size_t i) {
    if (!may_be_weight(i)) return;
    const Ending* const ending = guesses_[i].ending;
    Module& module = modules_[guesses_[i].reduced.module];
    if (module.weight != nullptr && ending == nullptr) return;
    module.weight = &tensors_[i];
    module.family = ending != nullptr ? ending->family : family_of(tensors_[i]);
  }

  // What a companion belongs to, or null: the module that its name comes down to, or one with fewer words
  // ("x.dequant_scale" and "x.weight"). One of the same fp8 type is a weight that happens to be called so.
  Module* module_of(std::size_t i) {
    constexpr int kMostWords = 16;  // more than any library adds, so that a long name costs little
    Reduced& reduced = guesses_[i].reduced;
    auto found = modules_.find(reduced.module);
    for (int n = 0; n < kMostWords && found == modules_.end() && reduced.module.size() > reduced.parent;
         ++n) {
      const std::size_t word = reduced.module.find_last_of("._");
      reduced.module.resize(word == std::string::npos ? reduced.parent : std::max(word, reduced.parent));
      found = modules_.find(reduced.module);
    }
    if (found == modules_.end()) return nullptr;
    const Dtype dtype = found->second.weight->dtype;
    return is_float8(dtype) && tensors_[i].dtype == dtype ? nullptr : &found->second;
  }

  void judge_companion(std::size_t i) {
    if (may_be_weight(i)) return;
    const auto& [ending, reduced] = guesses_[i];
    const bool certain = ending != nullptr || tensors_[i].dtype == Dtype::kF8E8M0;
    if (!certain && !reduced.scale) return;
    Module* const module = module_of(i);
    if (!certain && module == nullptr) return;
    QuantPart& part = parts_[i];
    part = {QuantRole::kScale, QuantFamily::kScaled, reduced.module, module != nullptr};
    if (module != nullptr) part.family = module->family;
    if (ending != nullptr) part.role = ending->role;
    // X.weight is stored as its companion says; ".scales" beside it is MLX's.
    if (ending != nullptr && (module == nullptr || module->family == QuantFamily::kScaled))
      part.family =
          module != nullptr && ending->family == QuantFamily::kGptq ? QuantFamily::kScaled : ending->family;
    if (module == nullptr || part.role != QuantRole::kScale) return;
    module->scaled = true;
    module->family = part.family;
  }

  void judge_weight(std::size_t i) {
    if (!may_be_weight(i)) return;
    const Module& module = modules_.at(guesses_[i].reduced.module);
    const bool certain = guesses_[i].ending != nullptr || tensors_[i].dtype == Dtype::kF4;
    if (module.weight == &tensors_[i] && (module.scaled || certain))
      parts_[i] = {QuantRole::kWeight, module.family, guesses_[i].reduced.module, module.scaled};
  }

  const std::vector<Tensor>& tensors_;
  std::unordered_set<std::string_view> packed_;  // names of weights that a companion names
  std::vector<Guess> guesses_;
  std::vector<QuantPart> parts_;
  std::unordered_map<std::string, Module> modules_;
};

}  // namespace

std::vector<QuantPart> quant_parts(const std::vector<Tensor>& tensors) {
  // Most models have neither a small type nor such a name, and every view of st-inspect asks.
  const bool any = std::any_of(tensors.begin(), tensors.end(), [](const Tensor& tensor) {
    return is_small(tensor.dtype) || tensor.dtype == Dtype::kF8E8M0 || ending_of(tensor.name) != nullptr;
  });
  return any ? PartFinder(tensors).find() : std::vector<QuantPart>(tensors.size());
}

namespace {

bool any_true(const JsonValue& object, std::initializer_list<std::string_view> keys) {
  return std::any_of(keys.begin(), keys.end(), [&](std::string_view key) { return object.find_true(key); });
}

// compressed-tensors: some group has weights, and the format keeps them in few bits.
bool compresses_weights(const JsonValue& settings) {
  const std::string* const format = settings.find_string("format");
  if (format != nullptr && *format != "mixed-precision" && !format->ends_with("quantized")) return false;
  const JsonValue* const groups = settings.find("config_groups");
  if (groups == nullptr) return false;
  return std::any_of(groups->members().begin(), groups->members().end(), [](const JsonValue::Member& group) {
    const JsonValue* const weights = group.value.find("weights");
    return weights != nullptr && weights->is_object();
  });
}

bool stores_scales(const std::string& method, const JsonValue& settings) {
  constexpr std::array<std::string_view, 6> kAlways = {"fp8", "mxfp4", "gptq", "awq", "torchao", "mlx"};
  if (method == "bitsandbytes")
    return any_true(settings, {"load_in_4bit", "load_in_8bit", "_load_in_4bit", "_load_in_8bit"});
  if (method == "compressed-tensors") return compresses_weights(settings);
  if (method == "modelopt") return settings.find_string("quant_algo") != nullptr;
  return is_one_of(method, kAlways);
}

std::optional<QuantSettings> settings_at(std::string_view key, const JsonValue& value) {
  if (!value.is_object()) return std::nullopt;
  const bool mlx = key == "quantization" && value.find("bits") != nullptr;
  if (key != "quantization_config" && key != "compression_config" && !mlx) return std::nullopt;
  const std::string* const method = value.find_string("quant_method");
  QuantSettings settings{"config.json", std::string(key), "", false, value};
  if (method != nullptr) {
    settings.method = *method;
  } else if (mlx) {
    settings.method = "mlx";
  } else if (value.find("config_groups") != nullptr) {
    settings.method = "compressed-tensors";
  } else if (any_true(value, {"load_in_4bit", "load_in_8bit"})) {
    settings.method = "bitsandbytes";
  }
  settings.stores_scales = stores_scales(settings.method, value);
  return settings;
}

}  // namespace

std::optional<QuantSettings> quant_settings(const JsonValue& config) {
  for (const JsonValue::Member& member : config.members()) {
    if (std::optional<QuantSettings> settings = settings_at(member.key, member.value)) return settings;
  }
  for (const JsonValue::Member& member : config.members()) {
    if (!member.value.is_object()) continue;
    if (std::optional<QuantSettings> settings = quant_settings(member.value)) {
      settings->place = member.key + "." + settings->place;
      return settings;
    }
  }
  return std::nullopt;
}

std::optional<QuantSettings> modelopt_settings(const JsonValue& document) {
  const JsonValue* const settings = document.find("quantization");
  if (settings == nullptr || !settings->is_object()) return std::nullopt;
  return QuantSettings{"hf_quant_config.json", "quantization", "modelopt",
                       settings->find_string("quant_algo") != nullptr, *settings};
}

std::optional<QuantSettings> older_quant_settings(std::string_view file, const std::string& text) {
  JsonValue document = parse_json(text).root;
  if (document.find("bits") == nullptr && document.find("w_bit") == nullptr) return std::nullopt;
  const std::string* const method = document.find_string("quant_method");
  std::string name = method != nullptr ? *method : document.find("zero_point") != nullptr ? "awq" : "gptq";
  return QuantSettings{std::string(file), "quantization", std::move(name), true, std::move(document), text};
}

bool is_quantisation_file(std::string_view name) {
  // AutoGPTQ, AutoAWQ, ModelOpt, AutoRound, llm-compressor.
  constexpr std::array<std::string_view, 5> kNames = {"quantize_config.json", "quant_config.json",
                                                      "hf_quant_config.json", "quantization_config.json",
                                                      "recipe.yaml"};
  return is_one_of(name, kNames);
}

}  // namespace mu
