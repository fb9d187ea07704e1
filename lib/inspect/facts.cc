// SPDX-License-Identifier: Apache-2.0
#include "inspect/facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>

#include "base/sizes.h"
#include "base/text.h"
#include "inspect/rank_pieces.h"
#include "model/dequantise.h"
#include "model/pickled.h"
#include "model/placeholders.h"
#include "model/tied.h"
#include "os/far.h"
#include "os/folder.h"
#include "weights/layout.h"

namespace mu {
namespace {

std::string kind_of(const Input& input) {
  if (!input.folder && input.weights.files.size() == 1 && !input.weights.index) {
    const WeightsFile& file = input.weights.files.front();
    if (file.object) {
      const PickledKind kind = pickled_kind(*file.object);
      return kind == PickledKind::kStateDict ? "weights file" : std::string(pickled_kind_name(kind));
    }
  }
  if (!input.folder)
    return input.weights.index || input.weights.files.size() > 1 ? "sharded weights" : "weights file";
  const bool checkpoint = input.state.has_value() || input.folder->has("optimizer.pt");
  if (input.is_adapter()) return checkpoint ? "adapter checkpoint" : "adapter";
  return checkpoint ? "checkpoint" : "model";
}

std::string describe_model(const Input& input) {
  if (!input.config) return "";
  const ModelConfig& config = *input.config;
  std::string text =
      config.architectures.empty() ? "" : " of " + escape_name(join(config.architectures, ", "));
  if (!config.model_type.empty()) text += " (" + escape_name(config.model_type) + ")";
  return text;
}

std::string describe_adapter(const Input& input) {
  if (!input.adapter || !input.is_adapter()) return "";
  const AdapterConfig& adapter = *input.adapter;
  std::string text = adapter.peft_type.empty() ? "" : ", " + escape_name(adapter.peft_type);
  if (adapter.rank) text += fmt::format(" r {}", *adapter.rank);
  if (adapter.alpha) text += fmt::format(", alpha {}", *adapter.alpha);
  if (!adapter.base_model.empty()) text += ", base " + escape_name(adapter.base_model);
  if (!adapter.target_modules.empty()) text += ", on " + escape_name(join(adapter.target_modules, ", "));
  return text;
}

std::string describe_state(const Input& input) {
  if (!input.state) return "";
  const TrainerState& state = *input.state;
  std::string text;
  if (state.global_step) text += fmt::format(", step {}", *state.global_step);
  if (state.max_steps && *state.max_steps > 0) text += fmt::format(" of {}", *state.max_steps);
  if (state.epoch) text += fmt::format(", epoch {:.4g}", *state.epoch);
  if (state.best_metric) {
    text += fmt::format(", best metric {:.6g}", *state.best_metric);
    const std::string_view best = base_name(state.best_model_checkpoint);
    const std::string_view here = base_name(input.folder->path);
    if (!best.empty()) text += best == here ? " (here)" : " (in " + escape_name(best) + ")";
  }
  return text;
}

std::vector<DtypeTotal> dtype_totals(const std::vector<Tensor>& tensors) {
  std::array<DtypeTotal, kDtypes> totals{};
  std::map<std::string_view, DtypeTotal> foreign;
  for (const Tensor& tensor : tensors) {
    DtypeTotal& total = tensor.dtype == Dtype::kForeign ? foreign[type_text(tensor)]
                                                        : totals[static_cast<std::size_t>(tensor.dtype)];
    if (total.tensors++ == 0) {
      total.dtype = tensor.dtype;
      total.text = type_text(tensor);
    }
    total.elements += tensor.element_count();
    total.bytes += tensor.size;
  }
  std::vector<DtypeTotal> used;
  std::copy_if(totals.begin(), totals.end(), std::back_inserter(used),
               [](const DtypeTotal& t) { return t.tensors > 0; });
  for (const auto& [type, total] : foreign) used.push_back(total);
  std::stable_sort(used.begin(), used.end(),
                   [](const DtypeTotal& a, const DtypeTotal& b) { return a.bytes > b.bytes; });
  return used;
}

// Types that were added late to the format: older readers refuse the whole file.
bool is_recent(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF4:
    case Dtype::kF6E2M3:
    case Dtype::kF6E3M2:
    case Dtype::kF8E8M0:
    case Dtype::kC64:
    case Dtype::kF8E4M3Fnuz:
    case Dtype::kF8E5M2Fnuz:
      return true;
    default:
      return false;
  }
}

void note_tied(const Input& input, std::vector<std::string>& notes) {
  const Ties ties(input.config, input.weights);
  const bool says = input.config && input.config->tie_word_embeddings.value_or(false);
  if (says || ties.any_on()) {
    notes.push_back("embeddings are tied: the output head is the input embedding (tie_word_embeddings)");
    for (const TiedName& pair : ties.pairs()) {
      notes.push_back(fmt::format("{} is stored beside {} although the config ties them",
                                  escape_name(pair.dropped), escape_name(pair.kept)));
    }
  }
  const Metadata metadata = input.weights.merged_metadata();
  if (metadata.size() <= metadata.count("format")) return;
  const TensorsByName names = tensors_by_name(input.weights);
  const auto tied = std::count_if(metadata.begin(), metadata.end(), [&names](const auto& entry) {
    return !names.contains(entry.first) && names.contains(entry.second);
  });
  if (tied > 0)
    notes.push_back(fmt::format("metadata names {} that share a stored tensor",
                                plural(static_cast<std::uint64_t>(tied), "name")));
  if (metadata.contains("DCP_SHARDING_INFO"))
    notes.push_back("holds pieces of tensors (torch distributed checkpoint): consolidate before loading");
}

// Notes what a torch file holds besides the tensors of its state dict.
void note_objects(const Input& input, std::vector<std::string>& notes) {
  std::uint64_t unreferenced = 0;
  for (const WeightsFile& file : input.weights.files) {
    if (!file.read_only.empty()) notes.emplace_back(file.read_only);
    if (!file.object) continue;
    // Ranks pad their pieces to the size of the largest.
    if (file.object->pieces.empty()) unreferenced += file.object->unreferenced_bytes;
    if (!file.object->left_out.empty()) {
      std::vector<std::string> names = file.object->left_out;
      constexpr std::size_t kShown = 5;
      const std::size_t count = names.size();
      names.resize(std::min(count, kShown));
      notes.push_back("not tensors: " + join(names, ", ") + (count > kShown ? ", …" : ""));
    }
    if (file.object->is_state_dict && !file.object->state_dict_key.empty())
      notes.push_back("the weights are under '" + escape_name(file.object->state_dict_key) + "'");
    if (pickled_kind(*file.object) == PickledKind::kModule)
      notes.emplace_back("a whole module was pickled: save its state_dict() to share it");
  }
  if (unreferenced > 0)
    notes.push_back(fmt::format("{} of the storages do not belong to any tensor", format_size(unreferenced)));
}

void note_quantised(const Input& input, InputFacts& facts) {
  if (!facts.quantised) {
    if (input.quantization && input.folder && !input.is_adapter())
      facts.notes.push_back(fmt::format("{} has a {}, but no tensor is quantised", input.quantization->file,
                                        escape_name(input.quantization->place)));
    return;
  }
  facts.notes.emplace_back("quantised: parameters are counted as stored");
  if (is_far_name(input.name) || !has_data(input.weights)) return;  // trying reads small tensors
  if (!input.has_weights) return;  // folders below it have configs of their own, which st-pack reads
  if (const std::string objection = plain_objection(input); !objection.empty())
    facts.notes.push_back("st-pack --dequantize refuses: " + objection);
}

// The container, unless it is safetensors.
std::string describe_container(const Input& input) {
  if (input.weights.files.empty()) return "";
  const WeightsFile& file = input.weights.files.front();
  if (file.object) {
    const std::string type = root_class(*file.object);
    const std::string rank = rank_text(input);
    return fmt::format(", {}{}{}", container_name(file.object->container),
                       type.empty() || type == "collections.OrderedDict" ? "" : ", " + escape_name(type),
                       rank.empty() ? "" : ", " + rank);
  }
  const std::string_view name = file.name;
  if (input.weights.from_ranks) return "";
  if (!file.read_only.empty()) return ", GGUF";
  return name.ends_with(".npz") || name.ends_with(".npy") ? ", NumPy" : "";
}

std::string describe_origin(const Input& input) {
  return input.weights.from_ranks ? ", " + input.weights.from_ranks->origin : "";
}

}  // namespace

InputFacts gather_facts(const Input& input) {
  InputFacts facts;
  facts.kind = kind_of(input);
  facts.description = facts.kind + describe_container(input) + describe_model(input) +
                      describe_origin(input) + describe_adapter(input) + describe_state(input);
  facts.dtypes = dtype_totals(input.weights.tensors);
  facts.tensors = input.weights.tensors.size();
  for (const Tensor& tensor : input.weights.tensors)
    facts.stored_bytes += stored_bytes(input.weights, tensor);
  for (const DtypeTotal& total : facts.dtypes) {
    facts.elements += total.elements;
    facts.bytes += total.bytes;
    if (is_recent(total.dtype))
      facts.notes.push_back(
          fmt::format("{} is a recent dtype: older readers refuse the file", name(total.dtype)));
  }
  facts.quantised = sum_up_quantised(input);
  note_quantised(input, facts);
  note_tied(input, facts.notes);
  note_objects(input, facts.notes);
  if (const std::optional<FromRanks>& ranks = input.weights.from_ranks)
    facts.notes.insert(facts.notes.end(), ranks->notes.begin(), ranks->notes.end());
  if (const Placeholders placeholders(input.weights.tensors); placeholders.found())
    facts.notes.emplace_back(placeholders.text() + ": placeholders of ZeRO stage 3");
  return facts;
}

std::string quantisation_text(const QuantSummary& summary) {
  std::string text = escape_name(summary.method.empty() ? "by an unknown method" : summary.method);
  if (!summary.format.empty()) text += " " + escape_name(summary.format);
  if (const std::optional<double> bits = summary.effective_bits())
    text += fmt::format(", {:.2f} bits a weight", *bits);
  text += fmt::format(" ({} of {})", group_digits(summary.modules.size()),
                      summary.matrices == 1 ? "1 matrix" : group_digits(summary.matrices) + " matrices");
  if (summary.plain_bytes > 0)
    text += fmt::format("; plain in {}: {} parameters, {}", short_name(summary.target),
                        group_digits(summary.plain_parameters), format_size(summary.plain_bytes));
  return text;
}

std::optional<Level> level_reached(const Findings& findings) {
  std::optional<Level> reached;
  for (const Level level : {Level::kLoads, Level::kSpec, Level::kHub}) {
    if (findings.first_up_to(level) != nullptr) break;
    reached = level;
  }
  return reached;
}

}  // namespace mu
