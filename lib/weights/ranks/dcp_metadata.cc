// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/dcp_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>

#include "base/checked.h"
#include "base/in_file.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/index.h"
#include "weights/ranks/megatron.h"
#include "weights/ranks/rank_file.h"
#include "weights/ranks/tiling.h"
#include "weights/torch/file.h"
#include "weights/torch/values.h"

namespace mu {
namespace {

using Shape = std::vector<std::uint64_t>;

// Reads one file, or one per rank.
class MetadataReader {
 public:
  DcpMetadata found;

  void read(const std::string& path) {
    const std::string data = read_whole_file(path, Pickle::kMaxBytes);
    const Pickle p(data);
    in_file(path, [&] {
      if (p.fault())
        throw rule_error("DC-TORN", "the metadata are broken: " + p.fault()->message)
            .at(fmt::format("byte {}", p.fault()->at));
      require_harmless(p);
      if (pickle_name(p, p.root()).ends_with("MCoreMetadata")) throw megatron_error(parent_of(path));
      read(p);
    });
  }

 private:
  void read(const Pickle& p) {
    const std::string root = pickle_name(p, p.root());
    if (!root.ends_with(".metadata.Metadata") || !root.starts_with("torch.distributed."))
      throw rule_error("DC-CLASS", "the metadata have the unknown class '" + escape_name(root) + "'");
    const PickleId tensors = pickle_attribute(p, p.root(), "state_dict_metadata");
    const PickleId storage = pickle_attribute(p, p.root(), "storage_data");
    if (pickle_mapping(p, tensors).empty() || storage == kNoNode)
      throw rule_error("DC-CLASS", "the metadata lack state_dict_metadata or storage_data");
    const PickleId planner = pickle_attribute(p, p.root(), "planner_data");
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
    DcpEntry entry;
    entry.key = p.text(key);
    const auto fail = [&entry](std::string_view why) {
      return rule_error("DC-CLASS", fmt::format("'{}': {}", escape_name(entry.key), why));
    };
    if (const auto path = paths.find(entry.key); path != paths.end()) {
      for (const PickleId part : p.items(path->second)) entry.path.push_back(pickle_key_text(p, part));
    }
    if (entry.path.empty()) entry.path = {entry.key};
    if (name.starts_with("torch.distributed.") && name.ends_with(".BytesStorageMetadata")) {
      found.values.push_back(std::move(entry.path));
      return;
    }
    if (!name.starts_with("torch.distributed.") || !name.ends_with(".TensorStorageMetadata"))
      throw fail("it has the unknown class '" + escape_name(name) + "'");
    // The state of TensorProperties is a tuple: dtype, layout, requires_grad, memory format, pinned.
    const PickleId properties = pickle_attribute(p, value, "properties");
    PickleId dtype = pickle_attribute(p, properties, "dtype");
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
    const std::optional<Shape> shape = pickle_shape(p, pickle_attribute(p, value, "size"));
    const std::optional<std::uint64_t> count = shape ? element_count(*shape) : std::nullopt;
    if (!count || !checked_mul(*count, type->bytes)) throw fail("its size is missing or overflows 64 bits");
    entry.shape = *shape;
    const PickleId chunks = pickle_attribute(p, value, "chunks");
    for (const PickleId chunk : chunks == kNoNode ? std::span<const PickleId>() : p.items(chunks)) {
      const std::optional<Shape> offsets = pickle_shape(p, pickle_attribute(p, chunk, "offsets"));
      const std::optional<Shape> sizes = pickle_shape(p, pickle_attribute(p, chunk, "sizes"));
      if (!offsets || !sizes || offsets->size() != entry.shape.size() || sizes->size() != entry.shape.size())
        throw fail("a chunk has another number of dimensions");
      for (std::size_t i = 0; i < sizes->size(); ++i) {
        if ((*sizes)[i] > entry.shape[i] || (*offsets)[i] > entry.shape[i] - (*sizes)[i])
          throw rule_error("DC-CHUNK",
                           fmt::format("tensor '{}': the chunk at {} of size {} leaves its shape {}",
                                       escape_name(entry.key), tuple_text(*offsets), tuple_text(*sizes),
                                       tuple_text(entry.shape)));
      }
      entry.chunks.push_back({*offsets, *sizes});
    }
    merge(std::move(entry));
  }

  // If each rank wrote its own metadata, several files have the same tensor with different chunks, and each
  // file has what all ranks hold.
  void merge(DcpEntry entry) {
    const auto [known, fresh] = index_.try_emplace(entry.key, found.entries.size());
    if (fresh) {
      found.entries.push_back(std::move(entry));
      return;
    }
    DcpEntry& first = found.entries[known->second];
    if (first.shape != entry.shape || first.type.name != entry.type.name)
      throw rule_error("DC-CLASS",
                       fmt::format("'{}': ranks disagree on its shape or dtype", escape_name(entry.key)));
    std::move(entry.chunks.begin(), entry.chunks.end(), std::back_inserter(first.chunks));
    std::sort(first.chunks.begin(), first.chunks.end());
    first.chunks.erase(std::unique(first.chunks.begin(), first.chunks.end()), first.chunks.end());
  }

  void read_places(const Pickle& p, PickleId storage) {
    const std::span<const PickleId> pairs = pickle_mapping(p, storage);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const PickleId fqn = pickle_attribute(p, pairs[i], "fqn");
      if (fqn == kNoNode) throw rule_error("DC-CLASS", "storage_data has a key without a name");
      const std::optional<Shape> offset = pickle_shape(p, pickle_attribute(p, pairs[i], "offset"));
      const PickleId path = pickle_attribute(p, pairs[i + 1], "relative_path");
      const PickleId begin = pickle_attribute(p, pairs[i + 1], "offset");
      const PickleId length = pickle_attribute(p, pairs[i + 1], "length");
      const auto number = [&p](PickleId id) {
        return id != kNoNode && p.kind(id) == PickleKind::kInt && p.integer(id) >= 0;
      };
      const std::string name(p.text(fqn));
      if (path == kNoNode || !number(begin) || !number(length))
        throw rule_error("DC-CLASS",
                         "storage_data of '" + escape_name(name) + "' has no path, offset or length");
      const std::string file(p.text(path));
      if (const std::optional<std::string_view> why = unsafe_name(file))
        throw rule_error("DC-FILE",
                         fmt::format("the file name '{}' is not followed: {}", escape_name(file), *why));
      if (const PickleId transforms = pickle_attribute(p, pairs[i + 1], "transform_descriptors");
          transforms != kNoNode && !p.items(transforms).empty())
        throw rule_error("DC-XFORM", "the pieces are stored with '" +
                                         escape_name(p.text(p.items(transforms)[0])) + "', which is not read")
            .hint("load it with torch and save it without stream transforms");
      if (!offset) continue;  // a plain value
      found.places[{name, *offset}] = {file, static_cast<std::uint64_t>(p.integer(begin)),
                                       static_cast<std::uint64_t>(p.integer(length))};
    }
  }

  std::map<std::string, std::size_t> index_;
};

std::vector<std::string> metadata_files(const std::string& folder) {
  if (exists(join_path(folder, kDcpMetadata))) return {std::string(kDcpMetadata)};
  // Without coordination every rank writes its own.
  std::vector<std::string> files;
  bool data = false;
  for (const FolderEntry& entry : list_folder(folder)) {
    if (entry.name.starts_with("__") && entry.name.ends_with(".metadata")) files.push_back(entry.name);
    data = data || entry.name.ends_with(".distcp");
  }
  if (!files.empty()) return files;
  if (exists(join_path(folder, ".metadata.tmp")))
    throw rule_error("DC-TORN", "the save did not finish: there is a .metadata.tmp, but no .metadata")
        .in_file(escape_name(folder));
  throw rule_error("DC-NOMETA", data ? "there are pieces but no .metadata" : "there is no .metadata")
      .in_file(escape_name(folder))
      .hint("rank 0's node writes it: copy it from there");
}

}  // namespace

DcpMetadata read_dcp_metadata(const std::string& folder) {
  MetadataReader reader;
  for (const std::string& file : metadata_files(folder)) reader.read(join_path(folder, file));
  return std::move(reader.found);
}

}  // namespace mu
