// SPDX-License-Identifier: Apache-2.0
// The metadata describe each tensor by its shape and by chunks, boxes that tile it; a table leads from (name,
// first index of the chunk) to a stretch of a file. That stretch is a complete torch.save of the piece: its
// own zip directory and pickle say where in it the numbers lie and with which strides. So a full tensor is a
// list of boxes, and reading it is the work of gather.h.
#include "weights/dcp.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "base/checked.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/index.h"
#include "weights/tiling.h"
#include "weights/torch_tensors.h"

namespace mu {
namespace {

constexpr std::string_view kMetadata = ".metadata";

constexpr std::size_t kMaxOpen = 64;  // files of a set that keep their descriptor

Error broken(std::string_view rule, std::string message) {
  return malformed(fmt::format("{} [{}]", message, rule));
}

void require_harmless(const Pickle& p) {
  const PickleReport report = report_pickle(p);
  if (report.worst == Verdict::kDangerous)
    throw malformed(fmt::format("its pickle names '{}', which is dangerous to load",
                                escape_name(report.globals.front().name)));
}

using Shape = std::vector<std::uint64_t>;

// Attributes of a dataclass as pickle builds it: NEWOBJ and BUILD with a dict.
PickleId attribute(const Pickle& p, PickleId object, std::string_view name) {
  if (object == kNoNode || p.kind(object) != PickleKind::kCall || p.call(object).state == kNoNode)
    return kNoNode;
  return pickle_find(p, p.call(object).state, name);
}

std::optional<Shape> shape_of(const Pickle& p, PickleId id) {
  if (id == kNoNode) return std::nullopt;
  if (p.kind(id) == PickleKind::kCall && pickle_name(p, id) == "torch.Size" &&
      p.items(p.call(id).args).size() == 1)
    id = p.items(p.call(id).args)[0];
  if (p.kind(id) != PickleKind::kTuple && p.kind(id) != PickleKind::kList) return std::nullopt;
  Shape shape;
  for (const PickleId item : p.items(id)) {
    if (p.kind(item) != PickleKind::kInt || p.integer(item) < 0) return std::nullopt;
    shape.push_back(static_cast<std::uint64_t>(p.integer(item)));
  }
  return shape.size() <= 64 ? std::optional(shape) : std::nullopt;
}

struct Chunk {
  Shape offsets, sizes;

  auto operator<=>(const Chunk&) const = default;
};

struct Place {
  std::string file;
  std::uint64_t offset = 0, length = 0;
};

struct Entry {
  std::string key;                // flattened
  std::vector<std::string> path;  // as the state dict was nested
  TorchType type{};
  Shape shape;
  std::vector<Chunk> chunks;
};

// What .metadata says, of one file or of one a rank.
class MetadataReader {
 public:
  std::vector<Entry> entries;
  std::map<std::pair<std::string, Shape>, Place> places;
  std::vector<std::vector<std::string>> values;  // paths of what is no tensor

  void read(const std::string& path) {
    const std::string data = read_whole_file(path, Pickle::kMaxBytes);
    const Pickle p(data);
    try {
      if (p.fault())
        throw broken("DC-TORN", "the metadata are broken: " + p.fault()->message)
            .at(fmt::format("byte {}", p.fault()->at));
      require_harmless(p);
      read(p);
    } catch (Error& error) {
      throw error.in_file(escape_name(path));
    }
  }

 private:
  void read(const Pickle& p) {
    const std::string root = pickle_name(p, p.root());
    if (root.ends_with("MCoreMetadata")) throw megatron_error();
    if (!root.ends_with(".metadata.Metadata") || !root.starts_with("torch.distributed."))
      throw broken("DC-CLASS", "the metadata are of the unknown class '" + escape_name(root) + "'");
    const PickleId tensors = attribute(p, p.root(), "state_dict_metadata");
    const PickleId storage = attribute(p, p.root(), "storage_data");
    if (pickle_mapping(p, tensors).empty() || storage == kNoNode)
      throw broken("DC-CLASS", "the metadata lack state_dict_metadata or storage_data");
    const PickleId planner = attribute(p, p.root(), "planner_data");
    const std::span<const PickleId> pairs = pickle_mapping(p, tensors);
    std::map<std::string_view, PickleId> paths;
    const std::span<const PickleId> planned = pickle_mapping(p, planner);
    for (std::size_t i = 0; i < planned.size(); i += 2) paths[p.text(planned[i])] = planned[i + 1];
    for (std::size_t i = 0; i < pairs.size(); i += 2) read_entry(p, pairs[i], pairs[i + 1], paths);
    read_places(p, storage);
  }

  void read_entry(const Pickle& p, PickleId key, PickleId value,
                  const std::map<std::string_view, PickleId>& paths) {
    const std::string name = pickle_name(p, value);
    Entry entry;
    entry.key = p.text(key);
    const auto fail = [&entry](std::string_view why) {
      return broken("DC-CLASS", fmt::format("'{}': {}", escape_name(entry.key), why));
    };
    if (const auto found = paths.find(entry.key); found != paths.end()) {
      for (const PickleId part : p.items(found->second)) entry.path.push_back(pickle_key_text(p, part));
    }
    if (entry.path.empty()) entry.path = {entry.key};
    if (name.starts_with("torch.distributed.") && name.ends_with(".BytesStorageMetadata")) {
      values.push_back(std::move(entry.path));
      return;
    }
    if (!name.starts_with("torch.distributed.") || !name.ends_with(".TensorStorageMetadata"))
      throw fail("it is of the unknown class '" + escape_name(name) + "'");
    // The state of TensorProperties is a tuple: dtype, layout, requires_grad, memory format, pinned.
    const PickleId properties = attribute(p, value, "properties");
    PickleId dtype = attribute(p, properties, "dtype");
    if (properties != kNoNode && p.kind(properties) == PickleKind::kCall &&
        p.call(properties).state != kNoNode && p.kind(p.call(properties).state) == PickleKind::kTuple &&
        !p.items(p.call(properties).state).empty())
      dtype = p.items(p.call(properties).state)[0];
    const std::string type_name = pickle_name(p, dtype);
    const std::optional<TorchType> type = type_name.starts_with("torch.")
                                              ? find_torch_type(std::string_view(type_name).substr(6))
                                              : std::nullopt;
    if (!type) throw fail("its dtype is unknown");
    entry.type = *type;
    const std::optional<Shape> shape = shape_of(p, attribute(p, value, "size"));
    const std::optional<std::uint64_t> count = shape ? element_count(*shape) : std::nullopt;
    if (!count || !checked_mul(*count, type->bytes)) throw fail("its size is none");
    entry.shape = *shape;
    const PickleId chunks = attribute(p, value, "chunks");
    for (const PickleId chunk : chunks == kNoNode ? std::span<const PickleId>() : p.items(chunks)) {
      const std::optional<Shape> offsets = shape_of(p, attribute(p, chunk, "offsets"));
      const std::optional<Shape> sizes = shape_of(p, attribute(p, chunk, "sizes"));
      if (!offsets || !sizes || offsets->size() != entry.shape.size() || sizes->size() != entry.shape.size())
        throw fail("a chunk has another number of dimensions");
      for (std::size_t i = 0; i < sizes->size(); ++i) {
        if ((*sizes)[i] > entry.shape[i] || (*offsets)[i] > entry.shape[i] - (*sizes)[i])
          throw broken("DC-CHUNK", fmt::format("tensor '{}': the chunk at {} of size {} leaves its shape {}",
                                               escape_name(entry.key), tuple_text(*offsets),
                                               tuple_text(*sizes), tuple_text(entry.shape)));
      }
      entry.chunks.push_back({*offsets, *sizes});
    }
    merge(std::move(entry));
  }

  // Metadata of one rank each have the same tensor with further chunks; what all ranks hold stands in each.
  void merge(Entry entry) {
    const auto [known, fresh] = index_.try_emplace(entry.key, entries.size());
    if (fresh) {
      entries.push_back(std::move(entry));
      return;
    }
    Entry& first = entries[known->second];
    if (first.shape != entry.shape || first.type.name != entry.type.name)
      throw broken("DC-CLASS",
                   fmt::format("'{}': ranks disagree on its shape or dtype", escape_name(entry.key)));
    std::move(entry.chunks.begin(), entry.chunks.end(), std::back_inserter(first.chunks));
    std::sort(first.chunks.begin(), first.chunks.end());
    first.chunks.erase(std::unique(first.chunks.begin(), first.chunks.end()), first.chunks.end());
  }

  void read_places(const Pickle& p, PickleId storage) {
    const std::span<const PickleId> pairs = pickle_mapping(p, storage);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const PickleId fqn = attribute(p, pairs[i], "fqn");
      if (fqn == kNoNode) throw broken("DC-CLASS", "storage_data has a key without a name");
      const std::optional<Shape> offset = shape_of(p, attribute(p, pairs[i], "offset"));
      const PickleId path = attribute(p, pairs[i + 1], "relative_path");
      const PickleId begin = attribute(p, pairs[i + 1], "offset");
      const PickleId length = attribute(p, pairs[i + 1], "length");
      const auto number = [&p](PickleId id) {
        return id != kNoNode && p.kind(id) == PickleKind::kInt && p.integer(id) >= 0;
      };
      const std::string name(p.text(fqn));
      if (path == kNoNode || !number(begin) || !number(length))
        throw broken("DC-CLASS", "storage_data of '" + escape_name(name) + "' has no path, offset or length");
      const std::string file(p.text(path));
      if (const std::optional<std::string_view> why = unsafe_name(file))
        throw broken("DC-FILE",
                     fmt::format("the file name '{}' is not followed: {}", escape_name(file), *why));
      if (const PickleId transforms = attribute(p, pairs[i + 1], "transform_descriptors");
          transforms != kNoNode && !p.items(transforms).empty())
        throw broken("DC-XFORM", "the pieces are stored with '" +
                                     escape_name(p.text(p.items(transforms)[0])) + "', which is not read")
            .hint("load it with torch and save it without stream transforms");
      if (!offset) continue;  // a plain value
      places[{name, *offset}] = {file, static_cast<std::uint64_t>(p.integer(begin)),
                                 static_cast<std::uint64_t>(p.integer(length))};
    }
  }

  std::map<std::string, std::size_t> index_;
};

// --- which part of the tree is the model ---

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
  std::vector<std::pair<std::string, const Entry*>> tensors;  // names below the root
  std::vector<std::string> root;                              // path of the model; empty: the top
  std::string why_not{};                                      // why this is not the model
};

std::string key_text(std::span<const std::string> path) {
  return join({path.begin(), path.end()}, ".");
}

bool lies_below(const std::vector<std::string>& path, const std::vector<std::string>& root) {
  return path.size() > root.size() && std::equal(root.begin(), root.end(), path.begin());
}

// What lies at the top, with sizes: "model (21 tensors, 156.3 KB)".
std::string roots_text(const std::vector<Entry>& entries) {
  constexpr std::size_t kShown = 8;
  std::map<std::string_view, std::pair<std::uint64_t, std::uint64_t>> sums;
  for (const Entry& entry : entries) {
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
std::optional<std::vector<std::string>> find_model_root(const std::vector<Entry>& entries) {
  std::optional<std::vector<std::string>> root;
  for (const Entry& entry : entries) {
    for (std::size_t i = 0; i + 1 < entry.path.size() && (!root || i + 1 < root->size()); ++i) {
      if (!is_model_root(entry.path[i])) continue;
      root = {entry.path.begin(), entry.path.begin() + static_cast<std::ptrdiff_t>(i) + 1};
      break;
    }
  }
  return root;
}

// The root that a user named, dots between the parts of its path.
std::vector<std::string> root_of_key(const std::vector<Entry>& entries, std::string_view key) {
  for (const Entry& entry : entries) {
    for (std::size_t i = 1; i < entry.path.size(); ++i) {
      if (key_text(std::span(entry.path).first(i)) == key)
        return {entry.path.begin(), entry.path.begin() + static_cast<std::ptrdiff_t>(i)};
    }
  }
  throw broken("DC-KEY",
               fmt::format("no tensors lie below '{}'; it holds {}", escape_name(key), roots_text(entries)));
}

Chosen choose_model(const std::vector<Entry>& entries, const DcpOptions& options) {
  Chosen chosen;
  std::optional<std::vector<std::string>> root;
  if (!options.key.empty()) root = root_of_key(entries, options.key);
  if (!root && !options.everything) root = find_model_root(entries);
  if (root) {
    chosen.root = *root;
    for (const Entry& entry : entries) {
      if (lies_below(entry.path, *root))
        chosen.tensors.emplace_back(key_text(std::span(entry.path).subspan(root->size())), &entry);
    }
    return chosen;
  }
  bool others = false;
  for (const Entry& entry : entries) {
    if (is_other_root(entry.path[0])) continue;
    if (entry.path.size() == 1) chosen.tensors.emplace_back(entry.path[0], &entry);
    others = others || entry.path.size() > 1;
  }
  if (!chosen.tensors.empty() && !others && !options.everything) return chosen;
  // Listed whole, packed never.
  if (others || !chosen.tensors.empty()) {
    chosen.why_not = fmt::format("which part of it is the model? It holds {} [DC-KEY]: name it with --key",
                                 roots_text(entries));
  } else {
    chosen.why_not =
        "this is the optimizer's part of the checkpoint: the weights lie in pytorch_model_fsdp_0 [DC-OPT]";
  }
  chosen.tensors.clear();
  for (const Entry& entry : entries) chosen.tensors.emplace_back(key_text(entry.path), &entry);
  return chosen;
}

// --- pieces ---

std::uint64_t volume(const Shape& sizes) {
  return element_count(sizes).value_or(0);  // within the tensor's own count
}

class Assembler {
 public:
  Assembler(Weights& weights, std::string folder, const MetadataReader& metadata)
      : weights_(weights), folder_(std::move(folder)), metadata_(metadata) {}

  void add(const std::string& name, const Entry& entry) {
    std::vector<Box> boxes;
    for (const Chunk& chunk : entry.chunks) boxes.push_back({0, 0, chunk.offsets, chunk.sizes, {}});
    check_tiling(entry.key, entry.shape, boxes);
    Tensor tensor{name, entry.type.dtype, entry.shape, 0, 0, volume(entry.shape) * entry.type.bytes};
    Layout layout;
    layout.shape = entry.shape;
    if (tensor.dtype == Dtype::kForeign) {
      layout.type = entry.type.name;
      layout.element_bytes = entry.type.bytes;
    }
    for (const Chunk& chunk : entry.chunks) {
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
    weights_.tensors.push_back(std::move(tensor));
  }

  // Files that hold pieces but are not here.
  void require_files(const std::vector<std::pair<std::string, const Entry*>>& tensors) const {
    std::set<std::string> missing;
    std::size_t affected = 0;
    for (const auto& [name, entry] : tensors) {
      bool whole = true;
      for (const Chunk& chunk : entry->chunks) {
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
    throw broken("DC-FILE", fmt::format("{}{} missing: {} of {} tensors are not whole, such as '{}'",
                                        escape_name(join(names, ", ")),
                                        count > 3   ? fmt::format(" and {} more are", count - 3)
                                        : count > 1 ? " are"
                                                    : " is",
                                        affected, tensors.size(), escape_name(first_incomplete(tensors))))
        .hint("multi-node runs leave each node's files on its own disk: copy them together");
  }

 private:
  std::string first_incomplete(const std::vector<std::pair<std::string, const Entry*>>& tensors) const {
    for (const auto& [name, entry] : tensors) {
      for (const Chunk& chunk : entry->chunks) {
        const auto place = metadata_.places.find({entry->key, chunk.offsets});
        if (place != metadata_.places.end() && !exists(join_path(folder_, place->second.file))) return name;
      }
    }
    return "";
  }

  std::uint32_t source_of(const std::string& file) {
    const auto found = sources_.find(file);
    if (found != sources_.end()) return found->second;
    const std::string path = join_path(folder_, file);
    InputFile input(path);
    const auto source = static_cast<std::uint32_t>(weights_.files.size());
    const std::uint64_t size = input.size();
    if (weights_.files.size() >= kMaxOpen) input.park();
    weights_.files.push_back(
        {.name = path, .file = std::move(input), .size = size, .data_begin = 0, .metadata = {}});
    sources_.emplace(file, source);
    return source;
  }

  Box read_chunk(const Entry& entry, const Chunk& chunk) {
    const auto found = metadata_.places.find({entry.key, chunk.offsets});
    if (found == metadata_.places.end())
      throw broken("DC-CHUNK", fmt::format("tensor '{}': the chunk at {} is stored nowhere",
                                           escape_name(entry.key), tuple_text(chunk.offsets)));
    const Place& place = found->second;
    const std::uint32_t source = source_of(place.file);
    const InputFile& file = *weights_.files[source].file;
    const auto context = [&](Error& error) {
      error.in_file(escape_name(file.path()))
          .at(fmt::format("byte {}, tensor '{}'", place.offset, escape_name(entry.key)));
      return error;
    };
    try {
      if (place.offset > file.size() || place.length > file.size() - place.offset)
        throw broken("DC-FILE", fmt::format("the file has {} bytes, the piece ends at {}", file.size(),
                                            place.offset + place.length))
            .hint("the save did not finish, or the file was cut");
      return piece(entry, chunk, file, place, source);
    } catch (Error& error) {
      throw context(error);
    }
  }

  // The piece as its own zip describes it.
  Box piece(const Entry& entry, const Chunk& chunk, const InputFile& file, const Place& place,
            std::uint32_t source) {
    std::array<char, 9> start{};
    if (place.length >= start.size()) file.read_at(place.offset, std::as_writable_bytes(std::span(start)));
    if (start[0] != 'P' || start[1] != 'K') {
      if (start[8] == '{' && place.offset == 0)
        throw broken("DC-ITEM", "the file is safetensors inside, which is not read")
            .hint("save it with HuggingFaceStorageWriter, or in torch's own format");
      throw broken("DC-ITEM", "the piece is no torch file: written by another save over this one");
    }
    Findings findings;
    TorchPart part = open_torch_part(file, place.offset, place.length, findings);
    require_harmless(*part.object->pickle);
    Tensor tensor = read_torch_tensor(*part.object->pickle, part.storages, source, entry.key,
                                      part.object->pickle->root());
    const bool same_type =
        tensor.dtype == entry.type.dtype &&
        (tensor.dtype != Dtype::kForeign || (tensor.layout && tensor.layout->type == entry.type.name));
    if (tensor.shape != chunk.sizes || !same_type)
      throw broken("DC-ITEM", fmt::format("the piece is {} {}, the metadata say {} {}", type_text(tensor),
                                          tuple_text(tensor.shape), entry.type.name, tuple_text(chunk.sizes)))
          .hint("the file belongs to another save");
    Box box{source, tensor.offset, chunk.offsets, chunk.sizes, row_major_strides(chunk.sizes)};
    if (tensor.layout) {
      const Layout& layout = *tensor.layout;
      if (layout.swap_bytes || layout.conjugate || layout.negate || layout.inflated ||
          layout.boxes.size() != 1)
        throw broken("DC-ITEM", "the piece is stored in a way that is not read");
      box.strides = layout.boxes.front().strides;
    }
    return box;
  }

  Weights& weights_;
  std::string folder_;
  const MetadataReader& metadata_;
  std::map<std::string, std::uint32_t> sources_;
};

std::size_t unused_places(const MetadataReader& metadata) {
  std::size_t used = 0;
  for (const Entry& entry : metadata.entries) {
    for (const Chunk& chunk : entry.chunks) used += metadata.places.count({entry.key, chunk.offsets});
  }
  return metadata.places.size() - std::min(used, metadata.places.size());
}

std::vector<std::string> metadata_files(const std::string& folder) {
  if (exists(join_path(folder, kMetadata))) return {std::string(kMetadata)};
  // Without coordination every rank writes its own.
  std::vector<std::string> files;
  bool data = false;
  for (const FolderEntry& entry : list_folder(folder)) {
    if (entry.name.starts_with("__") && entry.name.ends_with(".metadata")) files.push_back(entry.name);
    data = data || entry.name.ends_with(".distcp");
  }
  if (!files.empty()) return files;
  if (exists(join_path(folder, ".metadata.tmp")))
    throw broken("DC-TORN", "the save did not finish: there is a .metadata.tmp, but no .metadata")
        .in_file(escape_name(folder));
  throw broken("DC-NOMETA", data ? "there are pieces but no .metadata" : "there is no .metadata")
      .in_file(escape_name(folder))
      .hint("rank 0's node writes it: copy it from there");
}

}  // namespace

bool is_dcp_folder(const std::string& path) {
  if (!is_folder(path)) return false;
  const std::vector<FolderEntry> entries = list_folder(path);
  return std::any_of(entries.begin(), entries.end(), [&](const FolderEntry& entry) {
    if (entry.name.ends_with(".distcp")) return true;
    if (entry.name != kMetadata || entry.kind != FolderEntry::Kind::kFile || entry.size == 0) return false;
    std::byte first{};
    InputFile(join_path(path, kMetadata)).read_at(0, std::span(&first, 1));
    return first == std::byte{0x80};  // a pickle
  });
}

Error megatron_error() {
  return broken("DC-CLASS",
                "a checkpoint of Megatron: layers are stacked, QKV is fused and weights are permuted")
      .hint("convert it with Megatron-Bridge");
}

bool is_megatron_folder(const std::string& path) {
  const std::string metadata = join_path(path, "metadata.json");
  return exists(metadata) && !is_folder(metadata) &&
         read_whole_file(metadata, 16U << 20).find("\"sharded_backend\"") != std::string::npos;
}

Weights open_dcp(const std::string& path, const DcpOptions& options) {
  if (is_megatron_folder(path)) throw megatron_error().in_file(escape_name(path));
  MetadataReader metadata;
  for (const std::string& file : metadata_files(path)) metadata.read(join_path(path, file));
  Weights weights;
  try {
    const Chosen chosen = choose_model(metadata.entries, options);
    if (chosen.tensors.empty()) throw broken("DC-KEY", "it holds no tensors");
    for (const auto& [name, entry] : chosen.tensors) {
      if (name.find("_flat_param") != std::string::npos)
        throw broken("DC-FLAT", "flat parameters of FSDP: only the training program can cut them up")
            .hint("save with SHARDED_STATE_DICT or FULL_STATE_DICT");
    }
    Assembler assembler(weights, path, metadata);
    assembler.require_files(chosen.tensors);
    for (const auto& [name, entry] : chosen.tensors) assembler.add(name, *entry);
    if (!chosen.why_not.empty() && !options.everything) {
      weights.notes.push_back(chosen.why_not);
      for (WeightsFile& file : weights.files) file.read_only = chosen.why_not;
    }
    const auto dropped =
        std::count_if(metadata.values.begin(), metadata.values.end(), [&](const auto& value) {
          return chosen.why_not.empty() && !is_other_root(value.front()) && lies_below(value, chosen.root);
        });
    if (dropped > 0)
      weights.notes.push_back(fmt::format("left out, no tensors: {} of the model",
                                          plural(static_cast<std::uint64_t>(dropped), "value")));
    if (const std::size_t unused = unused_places(metadata); unused > 0)
      weights.notes.push_back(
          fmt::format("{} belong to no tensor of the metadata", plural(unused, "stored piece")));
  } catch (Error& error) {
    throw error.in_file(escape_name(path));
  }
  std::size_t pieces = 0;
  for (const Tensor& tensor : weights.tensors) pieces += tensor.layout->boxes.size();
  weights.origin = fmt::format("torch distributed checkpoint, {} in {}", plural(pieces, "piece"),
                               plural(weights.files.size(), "file"));
  return weights;
}

}  // namespace mu
