// SPDX-License-Identifier: Apache-2.0
// The metadata describe each tensor by its shape and by chunks, boxes that tile it; a table leads from (name,
// first index of the chunk) to a stretch of a file. That stretch is a complete torch.save of the piece: its
// own zip directory and pickle say where in it the numbers lie and with which strides. So a full tensor is a
// list of boxes, and reading it is the work of gather.h.
#include "weights/ranks/dcp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/sizes.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/ranks/dcp_metadata.h"
#include "weights/ranks/megatron.h"
#include "weights/ranks/rank_file.h"
#include "weights/ranks/tiling.h"
#include "weights/torch/file.h"
#include "weights/torch/tensors.h"

namespace mu {
namespace {

// --- where in the tree the model is ---

bool is_model_root(std::string_view part) {
  return part == "model" || part == "state_dict" || part == "model_state_dict" || part == "module";
}

bool is_other_root(std::string_view part) {
  constexpr std::array kRoots =
      std::to_array<std::string_view>({"optimizer", "optim", "optimizers", "lr_scheduler", "scheduler",
                                       "train_state", "dataloader", "rng", "ema"});
  return std::find(kRoots.begin(), kRoots.end(), part) != kRoots.end();
}

struct Chosen {
  std::vector<std::pair<std::string, const DcpEntry*>> tensors;  // names below the root
  std::vector<std::string> root;                                 // path of the model; empty: the top
  std::string why_not{};                                         // why this is not the model
};

std::string key_text(std::span<const std::string> path) {
  return join({path.begin(), path.end()}, ".");
}

bool lies_below(const std::vector<std::string>& path, const std::vector<std::string>& root) {
  return path.size() > root.size() && std::equal(root.begin(), root.end(), path.begin());
}

// What lies at the top, with sizes: "model (21 tensors, 156.3 KB)".
std::string roots_text(const std::vector<DcpEntry>& entries) {
  constexpr std::size_t kShown = 8;
  std::map<std::string_view, std::pair<std::uint64_t, std::uint64_t>> sums;
  for (const DcpEntry& entry : entries) {
    auto& [count, bytes] = sums[entry.path.front()];
    ++count;
    bytes += element_count(entry.shape).value_or(0) * entry.type.bytes;
  }
  std::vector<std::string> roots;
  for (const auto& [name, sum] : sums) {
    if (roots.size() == kShown) {
      roots.push_back(fmt::format("… and {} more", sums.size() - kShown));
      break;
    }
    roots.push_back(
        fmt::format("{} ({}, {})", escape_name(name), plural(sum.first, "tensor"), format_size(sum.second)));
  }
  return join(roots, ", ");
}

// The shortest prefix of a path that ends in a model's name and has tensors below.
std::optional<std::vector<std::string>> find_model_root(const std::vector<DcpEntry>& entries) {
  std::optional<std::vector<std::string>> root;
  for (const DcpEntry& entry : entries) {
    for (std::size_t i = 0; i + 1 < entry.path.size() && (!root || i + 1 < root->size()); ++i) {
      if (!is_model_root(entry.path[i])) continue;
      root = {entry.path.begin(), entry.path.begin() + static_cast<std::ptrdiff_t>(i) + 1};
      break;
    }
  }
  return root;
}

// The root that the user named, with dots between the components of its path.
std::vector<std::string> root_of_key(const std::vector<DcpEntry>& entries, std::string_view key) {
  for (const DcpEntry& entry : entries) {
    for (std::size_t i = 1; i < entry.path.size(); ++i) {
      if (key_text(std::span(entry.path).first(i)) == key)
        return {entry.path.begin(), entry.path.begin() + static_cast<std::ptrdiff_t>(i)};
    }
  }
  throw rule_error(
      "DC-KEY", fmt::format("no tensors lie below '{}'; it holds {}", escape_name(key), roots_text(entries)));
}

Chosen choose_model(const std::vector<DcpEntry>& entries, const DcpOptions& options) {
  Chosen chosen;
  std::optional<std::vector<std::string>> root;
  if (!options.key.empty()) root = root_of_key(entries, options.key);
  if (!root && !options.everything) root = find_model_root(entries);
  if (root) {
    chosen.root = *root;
    for (const DcpEntry& entry : entries) {
      if (lies_below(entry.path, *root))
        chosen.tensors.emplace_back(key_text(std::span(entry.path).subspan(root->size())), &entry);
    }
    return chosen;
  }
  bool others = false;
  for (const DcpEntry& entry : entries) {
    if (is_other_root(entry.path[0])) continue;
    if (entry.path.size() == 1) chosen.tensors.emplace_back(entry.path[0], &entry);
    others = others || entry.path.size() > 1;
  }
  if (!chosen.tensors.empty() && !others && !options.everything) return chosen;
  // It is listed as a whole, but never packed.
  if (others || !chosen.tensors.empty()) {
    chosen.why_not = fmt::format("it is unclear which of these is the model: {} [DC-KEY]; name it with --key",
                                 roots_text(entries));
  } else {
    chosen.why_not =
        "this is the optimizer's side of the checkpoint: the weights lie in pytorch_model_fsdp_0 [DC-OPT]";
  }
  chosen.tensors.clear();
  for (const DcpEntry& entry : entries) chosen.tensors.emplace_back(key_text(entry.path), &entry);
  return chosen;
}

// --- pieces ---

std::uint64_t volume(const std::vector<std::uint64_t>& sizes) {
  return element_count(sizes).value_or(0);  // within the tensor's own count
}

constexpr const char* kCopyTogether =
    "multi-node runs leave each node's files on its own disk: copy them together";

class Assembler {
 public:
  Assembler(Weights& weights, std::string folder, const DcpMetadata& metadata)
      : weights_(weights), folder_(std::move(folder)), metadata_(metadata) {}

  // A tensor as the metadata describe it, for lists; its values can't be read.
  void describe(const std::string& name, const DcpEntry& entry) {
    Tensor tensor{name, entry.type.dtype, entry.shape, 0, 0, volume(entry.shape) * entry.type.bytes};
    Layout layout;
    layout.shape = entry.shape;
    if (tensor.dtype == Dtype::kForeign) {
      layout.type = entry.type.name;
      layout.element_bytes = entry.type.bytes;
    }
    tensor.layout = std::make_shared<Layout>(std::move(layout));
    tensor.shape = written_shape(tensor.dtype, std::move(tensor.shape));
    weights_.tensors.push_back(std::move(tensor));
  }

  void add(const std::string& name, const DcpEntry& entry) {
    std::vector<Box> boxes;
    for (const DcpChunk& chunk : entry.chunks) boxes.push_back({0, 0, chunk.offsets, chunk.sizes, {}});
    check_tiling(entry.key, entry.shape, boxes);
    describe(name, entry);
    Tensor& tensor = weights_.tensors.back();
    Layout layout = *tensor.layout;
    for (const DcpChunk& chunk : entry.chunks) {
      if (volume(chunk.sizes) == 0) continue;
      layout.boxes.push_back(read_chunk(entry, chunk));
    }
    std::sort(layout.boxes.begin(), layout.boxes.end(),
              [](const Box& a, const Box& b) { return a.begin < b.begin; });
    if (!layout.boxes.empty()) {
      tensor.source = layout.boxes.front().source;
      tensor.offset = layout.boxes.front().offset;
    }
    tensor.layout = std::make_shared<Layout>(std::move(layout));
  }

  // Throws when files that hold pieces are missing, or end before a piece does. All of the save is judged, the
  // optimizer's pieces behind the model's too: where they were cut, the save was not whole.
  void require_files(const std::vector<std::pair<std::string, const DcpEntry*>>& tensors) {
    require_present(tensors);
    for (const auto& [chunk, place] : metadata_.places) {
      const bool fresh = !opened_.contains(place.file);
      if (fresh && !exists(join_path(folder_, place.file)))
        throw rule_error("DC-FILE", fmt::format("{} is missing: '{}' is stored there",
                                                escape_name(place.file), escape_name(chunk.first)))
            .hint(kCopyTogether);
      require_end(opened(place.file), place, chunk.first);
    }
  }

 private:
  void require_present(const std::vector<std::pair<std::string, const DcpEntry*>>& tensors) const {
    std::set<std::string> missing;
    std::size_t affected = 0;
    for (const auto& [name, entry] : tensors) {
      bool whole = true;
      for (const DcpChunk& chunk : entry->chunks) {
        const auto place = metadata_.places.find({entry->key, chunk.offsets});
        if (place == metadata_.places.end() || exists(join_path(folder_, place->second.file))) continue;
        missing.insert(place->second.file);
        whole = false;
      }
      affected += whole ? 0 : 1;
    }
    if (missing.empty()) return;
    const std::size_t count = missing.size();
    std::vector<std::string> names(missing.begin(), missing.end());
    names.resize(std::min<std::size_t>(count, 3));
    throw rule_error("DC-FILE", fmt::format("{}{} missing: {} of {} tensors are not whole, such as '{}'",
                                            escape_name(join(names, ", ")),
                                            count > 3   ? fmt::format(" and {} more are", count - 3)
                                            : count > 1 ? " are"
                                                        : " is",
                                            affected, tensors.size(), escape_name(first_incomplete(tensors))))
        .hint(kCopyTogether);
  }

  static void require_end(const InputFile& file, const DcpPlace& place, const std::string& key) {
    if (place.offset <= file.size() && place.length <= file.size() - place.offset) return;
    throw rule_error("DC-FILE", fmt::format("the file has {} bytes, the piece ends at {}", file.size(),
                                            place.offset + place.length))
        .in_file(escape_name(file.path()))
        .at(fmt::format("byte {}, tensor '{}'", place.offset, escape_name(key)))
        .hint("the save did not finish, or the file was cut");
  }

  std::string first_incomplete(const std::vector<std::pair<std::string, const DcpEntry*>>& tensors) const {
    for (const auto& [name, entry] : tensors) {
      for (const DcpChunk& chunk : entry->chunks) {
        const auto place = metadata_.places.find({entry->key, chunk.offsets});
        if (place != metadata_.places.end() && !exists(join_path(folder_, place->second.file))) return name;
      }
    }
    return "";
  }

  const InputFile& opened(const std::string& file) {
    constexpr std::size_t kMaxOpen = 64;
    const auto found = opened_.find(file);
    if (found != opened_.end()) return found->second;
    InputFile input(join_path(folder_, file));
    if (opened_.size() >= kMaxOpen) input.park();
    return opened_.emplace(file, std::move(input)).first->second;
  }

  std::uint32_t source_of(const std::string& file) {
    const auto found = sources_.find(file);
    if (found != sources_.end()) return found->second;
    opened(file);
    const auto source = static_cast<std::uint32_t>(weights_.files.size());
    add_rank_file(weights_, std::move(opened_.extract(file).mapped()));
    sources_.emplace(file, source);
    return source;
  }

  Box read_chunk(const DcpEntry& entry, const DcpChunk& chunk) {
    const auto found = metadata_.places.find({entry.key, chunk.offsets});
    if (found == metadata_.places.end())
      throw rule_error("DC-CHUNK", fmt::format("tensor '{}': the chunk at {} is stored nowhere",
                                               escape_name(entry.key), tuple_text(chunk.offsets)));
    const DcpPlace& place = found->second;
    const std::uint32_t source = source_of(place.file);
    const InputFile& file = *weights_.files[source].file;
    const auto context = [&](Error& error) {
      error.in_file(escape_name(file.path()))
          .at(fmt::format("byte {}, tensor '{}'", place.offset, escape_name(entry.key)));
      return error;
    };
    try {
      return piece(entry, chunk, file, place, source);
    } catch (Error& error) {
      throw context(error);
    }
  }

  // The piece as its own zip describes it.
  static Box piece(const DcpEntry& entry, const DcpChunk& chunk, const InputFile& file, const DcpPlace& place,
                   std::uint32_t source) {
    std::array<char, 9> start{};
    if (place.length >= start.size()) file.read_at(place.offset, std::as_writable_bytes(std::span(start)));
    if (start[0] != 'P' || start[1] != 'K') {
      if (start[8] == '{' && place.offset == 0)
        throw rule_error("DC-ITEM", "the file is safetensors inside, which is not read")
            .hint("save it with HuggingFaceStorageWriter, or in torch's own format");
      throw rule_error("DC-ITEM", "the piece is not a torch file: another save wrote over it");
    }
    Findings findings;
    TorchArchive part = open_torch_archive(file, place.offset, place.length, findings);
    require_harmless(*part.object->pickle);
    Tensor tensor = read_torch_tensor(*part.object->pickle, part.storages, source, entry.key,
                                      part.object->pickle->root());
    const bool same_type =
        tensor.dtype == entry.type.dtype &&
        (tensor.dtype != Dtype::kForeign || (tensor.layout && tensor.layout->type == entry.type.name));
    if (tensor.shape != written_shape(entry.type.dtype, chunk.sizes) || !same_type)
      throw rule_error(
          "DC-ITEM",
          fmt::format("the piece is {} {}, the metadata say {} {}", type_text(tensor),
                      tuple_text(tensor.shape),
                      entry.type.dtype == Dtype::kForeign ? entry.type.name : short_name(entry.type.dtype),
                      tuple_text(chunk.sizes)))
          .hint("the file belongs to another save");
    Box box{source, tensor.offset, chunk.offsets, chunk.sizes, row_major_strides(chunk.sizes)};
    if (tensor.layout) {
      const Layout& layout = *tensor.layout;
      if (layout.swap_bytes || layout.conjugate || layout.negate || layout.inflated ||
          layout.boxes.size() != 1)
        throw rule_error("DC-ITEM", "the piece is stored in a way that is not read");
      box.strides = layout.boxes.front().strides;
    }
    return box;
  }

  Weights& weights_;
  std::string folder_;
  const DcpMetadata& metadata_;
  std::map<std::string, InputFile> opened_;  // not yet among the files of the weights
  std::map<std::string, std::uint32_t> sources_;
};

std::size_t unused_places(const DcpMetadata& metadata) {
  std::size_t used = 0;
  for (const DcpEntry& entry : metadata.entries) {
    for (const DcpChunk& chunk : entry.chunks) used += metadata.places.count({entry.key, chunk.offsets});
  }
  return metadata.places.size() - std::min(used, metadata.places.size());
}

}  // namespace

bool is_dcp_folder(const std::string& path) {
  if (!is_folder(path)) return false;
  const std::vector<FolderEntry> entries = list_folder(path);
  return std::any_of(entries.begin(), entries.end(), [&](const FolderEntry& entry) {
    if (entry.name.ends_with(".distcp")) return true;
    if (entry.name != kDcpMetadata || entry.kind != FolderEntry::Kind::kFile || entry.stamp.size == 0)
      return false;
    std::byte first{};
    InputFile(join_path(path, kDcpMetadata)).read_at(0, std::span(&first, 1));
    return first == std::byte{0x80};  // a pickle
  });
}

Weights open_dcp(const std::string& path, const DcpOptions& options) {
  if (is_megatron_folder(path)) throw megatron_error(path);
  const DcpMetadata metadata = read_dcp_metadata(path);
  Weights weights;
  weights.from_ranks.emplace();
  in_file(path, [&] {
    const Chosen chosen = choose_model(metadata.entries, options);
    if (chosen.tensors.empty()) throw rule_error("DC-KEY", "it holds no tensors");
    // Whatever is listed, the same tensors are judged: those of the model.
    const Chosen judged = options.everything ? choose_model(metadata.entries, {options.key, false}) : chosen;
    std::set<const DcpEntry*> of_model;
    for (const auto& [name, entry] : judged.tensors) {
      of_model.insert(entry);
      if (name.find("_flat_param") != std::string::npos)
        throw rule_error("DC-FLAT", "flat parameters of FSDP: only the training program can cut them up")
            .hint("save with SHARDED_STATE_DICT or FULL_STATE_DICT");
    }
    Assembler assembler(weights, path, metadata);
    assembler.require_files(judged.tensors);
    for (const auto& [name, entry] : chosen.tensors) {
      if (of_model.contains(entry)) {
        assembler.add(name, *entry);
      } else {
        assembler.describe(name, *entry);
      }
    }
    if (!chosen.why_not.empty() && !options.everything) {
      weights.from_ranks->notes.push_back(chosen.why_not);
      for (WeightsFile& file : weights.files) file.read_only = chosen.why_not;
    }
    const auto dropped =
        std::count_if(metadata.values.begin(), metadata.values.end(), [&](const auto& value) {
          return chosen.why_not.empty() && !is_other_root(value.front()) && lies_below(value, chosen.root);
        });
    if (dropped > 0)
      weights.from_ranks->notes.push_back(fmt::format("left out, not tensors: {} of the model",
                                                      plural(static_cast<std::uint64_t>(dropped), "value")));
    if (const std::size_t unused = unused_places(metadata); unused > 0)
      weights.from_ranks->notes.push_back(
          fmt::format("{} belong to no tensor of the metadata", plural(unused, "stored piece")));
  });
  std::size_t pieces = 0;
  for (const Tensor& tensor : weights.tensors) pieces += tensor.layout->boxes.size();
  weights.from_ranks->origin = fmt::format("torch distributed checkpoint, {} in {}", plural(pieces, "piece"),
                                           plural(weights.files.size(), "file"));
  return weights;
}

}  // namespace mu
