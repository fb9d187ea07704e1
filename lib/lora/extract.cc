// SPDX-License-Identifier: Apache-2.0
// The input is opened and its names become those that PEFT saves; tensors of the base and of other adapters go. Values
// are looked at once: tensors of this machine at once, those of others while they are written, since each of their bytes
// comes once. The config that lies beside them is edited; where there is none, one is made of the tensors.
#include "lora/extract.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <mutex>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json_write.h"
#include "base/text.h"
#include "fetch/read_ahead.h"
#include "lora/made_config.h"
#include "lora/serve.h"
#include "model/adapter_forms.h"
#include "model/adapter_names.h"
#include "model/placeholders.h"
#include "model/prepare.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "tensor/stats.h"
#include "weights/computed.h"
#include "weights/layout.h"
#include "weights/leaves.h"
#include "weights/open/open.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxConfig = 16U << 20;  // bytes: real ones have some KB; bounds memory

// The folder of a named adapter, which PEFT keeps below the folder of the default one.
std::string place_of(const std::string& path, const std::string& adapter) {
  if (adapter.empty() || adapter == "default" || !is_folder(path)) return path;
  const std::string below = join_path(path, adapter);
  const bool has_weights =
      exists(join_path(below, "adapter_model.safetensors")) || exists(join_path(below, "adapter_model.bin"));
  return has_weights ? below : path;
}

// adapter_config.json beside the weights, or in the folder of the named adapter.
std::string find_config(const Input& input, const std::string& adapter) {
  const std::string folder = input.folder ? input.folder->path : parent_of(input.name);
  for (const std::string& at : {adapter.empty() ? folder : join_path(folder, adapter), folder}) {
    const std::string path = join_path(at, "adapter_config.json");
    // The folder may list fewer files than there are: those that belong to the input.
    if (at == folder && input.folder && !input.folder->has("adapter_config.json")) continue;
    if (exists(path)) return path;
  }
  return {};
}

// Throws kMalformed if a tensor holds values that are not finite. `read` fills a buffer from a byte of it.
void require_finite(const Tensor& tensor, const std::string& file,
                    const std::function<void(std::uint64_t at, std::span<std::byte> out)>& read) {
  std::vector<std::byte> buffer;
  TensorStats stats;
  for (std::uint64_t at = 0; at < tensor.size; at += kStatsPiece) {
    check_interrupt();
    buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kStatsPiece, tensor.size - at)));
    read(at, buffer);
    merge_stats(stats, piece_stats(tensor.dtype, buffer));
  }
  const std::uint64_t infinite = stats.positive_infinity + stats.negative_infinity;
  if (stats.nan + infinite > 0)
    throw malformed(fmt::format("'{}' holds {} NaN and {} infinite values", escape_name(tensor.name),
                                stats.nan, infinite))
        .in_file(escape_name(file));
}

// The same tensor, which is looked at when it is read first.
Tensor checked_when_read(const Tensor& tensor, const std::string& file) {
  struct Check {
    std::mutex mutex;
    bool is_done = false;
  };
  return computed(tensor.name, tensor.dtype, tensor.shape, {tensor},
                  [check = std::make_shared<Check>(), file](const Sources& sources, std::uint64_t at,
                                                            std::span<std::byte> out) {
                    {
                      const std::lock_guard<std::mutex> lock(check->mutex);
                      if (!check->is_done)
                        require_finite(sources[0], file, [&](std::uint64_t from, std::span<std::byte> piece) {
                          sources.read(0, from, piece);
                        });
                      check->is_done = true;
                    }
                    sources.read(0, at, out);
                  });
}

// Reads tensors that lie on other machines, unless they are large, and compares the SHA-256 of whole files.
void keep_in_memory(Weights& weights, unsigned connections) {
  constexpr std::uint64_t kMost = 64U << 20;  // bytes
  std::vector<FarRange> far;
  for (const Tensor& tensor : weights.tensors) add_far_leaves(weights, tensor, far);
  if (far.empty() || weights.total_bytes() > kMost) return;
  FetchOptions options;
  options.connections = connections;
  ReadAhead ahead(with_whole_files(joined_in_order(far)), options);
  for (Tensor& tensor : weights.tensors) {
    check_interrupt();
    auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(tensor.size));
    weights.read(tensor, 0, *bytes);
    auto layout = std::make_shared<Layout>();
    layout->compute = [bytes](const Sources&, std::uint64_t at, std::span<std::byte> out) {
      std::copy_n(bytes->begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
    };
    tensor.layout = std::move(layout);
  }
  ahead.finish();
}

// Of tensors on other machines each byte is read once: when they are written.
void require_finite(Weights& weights) {
  for (Tensor& tensor : weights.tensors) {
    if (!is_floating(tensor.dtype)) continue;
    const std::string& file = weights.files[tensor.source].name;
    std::vector<FarRange> far;
    add_far_leaves(weights, tensor, far);
    if (!far.empty())
      tensor = checked_when_read(tensor, file);
    else
      require_finite(tensor, file,
                     [&](std::uint64_t at, std::span<std::byte> out) { weights.read(tensor, at, out); });
  }
}

// The tied head of an embedding has trained rows too, the same; they are not saved.
void drop_tied_rows(Weights& weights, const LoraConfig& config) {
  constexpr std::array<std::string_view, 4> kHeads = {"lm_head", "embed_out", "output_projection", "decoder"};
  if (config.trainable_tokens.empty()) return;
  const bool only_input = config.trainable_tokens.contains("");
  std::erase_if(weights.tensors, [&](const Tensor& tensor) {
    const AdapterName name = parse_adapter_name(tensor.name);
    if (name.piece != AdapterPiece::kTokens) return false;
    const bool is_head = std::find(kHeads.begin(), kHeads.end(),
                                   name.module.substr(name.module.rfind('.') + 1)) != kHeads.end();
    return config.tokens_of(name.module) == nullptr || (only_input && is_head);
  });
}

// What the user should know about the base that the config names.
void note_base(Extraction& result) {
  if (!result.config.initialisation.empty())
    result.notes.push_back(
        fmt::format("the run began with {}, which changes the base: with the published base this adapter "
                    "gives other results",
                    escape_name(result.config.initialisation)));
  const std::string& base = result.config.base_model;
  if (base.starts_with('/') || base.starts_with('.') || base.starts_with('~') ||
      base.find('\\') != std::string::npos)
    result.notes.push_back(fmt::format(
        "the config names the base by the path {}: --base-id OWNER/NAME sets an id that others can find",
        escape_name(base)));
}

// Parses the text of the config; text and tensors of MLX become PEFT's first.
LoraConfig read_config(std::string& text, Input& input, std::vector<std::string>& notes) {
  if (is_mlx_config(text)) {
    text = adopt_mlx_adapter(text, input.weights);
    notes.push_back("MLX's form of the adapter becomes PEFT's");
  }
  return parse_lora_config(text);
}

// The text of a config with what the options say; --alpha only where it has `alpha` 0.
std::string edited_config(std::string text, double alpha, const ExtractOptions& options,
                          const std::string& path) {
  if (options.alpha && alpha != 0 && *options.alpha != alpha)
    throw usage(fmt::format("--alpha is {}, but {} in {}", *options.alpha, alpha, escape_name(path)));
  std::vector<ConfigEdit> edits;
  if (options.alpha && alpha == 0) edits.push_back({{"lora_alpha"}, fmt::format("{}", *options.alpha)});
  if (!options.base_id.empty()) {
    std::string base;
    append_json_string_ascii(base, options.base_id);
    edits.push_back({{"base_model_name_or_path"}, std::move(base)});
  }
  return with_config_edits(std::move(text), edits);
}

}  // namespace

Extraction extract_adapter(const std::string& path, const ExtractOptions& options) {
  Extraction result;
  const std::string place = place_of(path, options.adapter);
  FolderOptions folder_options;
  if (place == path) folder_options.adapter = options.adapter;
  folder_options.beside = true;
  result.input = open_input(place, StreamData::kSpool, folder_options);
  Input& input = result.input;
  result.notes = prepare_model(input, {.selects = true, .leading_wrappers = false}).notes;
  const std::string config_path = find_config(input, place == path ? options.adapter : "");
  std::string text = config_path.empty() ? "" : read_whole_file(config_path, kMaxConfig);
  LoraConfig config;
  std::vector<std::string> base_modules;
  refuse_pipeline_adapter(input.weights);
  in_file(config_path, [&] {
    if (!text.empty()) config = read_config(text, input, result.notes);
  });
  in_file(input.name, [&] {
    // The ranks of a LoRA run lose their base when they are opened.
    const bool bare = place != path || (input.weights.from_ranks && input.is_adapter());
    if (!holds_factors(input.weights.tensors) && config.modules_to_save.empty())
      throw malformed("holds no LoRA tensors").hint("--base and --tuned find an adapter between two models");
    AdapterChoice choice = keep_adapter(input.weights, bare ? "" : options.adapter, config.bias);
    if (choice.base_tensors > 0)
      result.notes.push_back(
          fmt::format("{} of the base model left out", plural(choice.base_tensors, "tensor")));
    base_modules = std::move(choice.base_names);
  });
  require_no_placeholders(Placeholders(input.weights.tensors), input.name);
  drop_tied_rows(input.weights, config);
  if (options.is_looked_at) keep_in_memory(input.weights, options.connections);
  require_finite(input.weights);
  const AdapterContent content =
      in_file(input.name, [&] { return sort_adapter(input.weights.tensors, config); });
  result.modules = content.modules;
  if (text.empty()) {
    if (!options.alpha)
      throw malformed("no adapter_config.json beside it, and the weights don't show lora_alpha")
          .in_file(escape_name(path))
          .hint("give the alpha of the training with --alpha");
    result.config = make_config(result.modules, content.replaced, base_modules, *options.alpha);
    result.config.base_model = options.base_id;
    result.config_text = lora_config_text(result.config);
    result.made_config = true;
    if (input.weights.from_ranks) input.weights.from_ranks->lacks_alpha = false;
    result.notes.push_back(
        "adapter_config.json is generated, with the target modules and ranks of the tensors");
  } else {
    result.config_text = edited_config(std::move(text), config.alpha, options, config_path);
    result.config = parse_lora_config(result.config_text);
    in_file(config_path, [&] { require_effect(result.config); });
  }
  note_base(result);
  input.choice.is_adapter = true;
  input.choice.stem = "adapter_model";
  return result;
}

void serve_extraction(Extraction& extraction, Server server, const Input& base) {
  Weights& weights = extraction.input.weights;
  ServedAdapter served = in_file(extraction.input.name, [&] {
    return serve_adapter(server, sort_adapter(weights.tensors, extraction.config), extraction.config, weights,
                         base);
  });
  weights.tensors = std::move(served.tensors);
  extraction.config_text = std::move(served.config_text);
  extraction.config = parse_lora_config(extraction.config_text);
  extraction.modules = sort_adapter(weights.tensors, extraction.config).modules;
  for (std::size_t i = 0; i < extraction.modules.size(); ++i) extraction.modules[i].rank = served.ranks[i];
  extraction.form = std::move(served.form);
}

}  // namespace mu
