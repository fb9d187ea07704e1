// SPDX-License-Identifier: Apache-2.0
// The other form of a distributed checkpoint: safetensors files whose tensors are pieces, with
// DCP_SHARDING_INFO in the metadata saying where each begins
// (torch.distributed.checkpoint.HuggingFaceStorageWriter).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/layout.h"
#include "weights/open/open.h"
#include "weights/ranks/dcp.h"
#include "weights/ranks/rank_file.h"
#include "weights/ranks/tiling.h"

namespace mu {
namespace {

constexpr std::string_view kInfo = "DCP_SHARDING_INFO";

// "shard-00002-model-00001-of-00003.safetensors": of rank 1 (counted from 0), the first of three files.
struct PieceName {
  std::uint64_t rank = 0, file = 0, files = 0;
};
std::optional<PieceName> parse_piece_name(std::string_view name) {
  PieceName piece;
  const std::pair<std::string_view, std::uint64_t*> texts[] = {
      {"shard-", &piece.rank}, {"-model-", &piece.file}, {"-of-", &piece.files}};
  for (const auto& [text, number] : texts) {
    if (!name.starts_with(text)) return std::nullopt;
    name.remove_prefix(text.size());
    const std::from_chars_result parsed = std::from_chars(name.data(), name.data() + name.size(), *number);
    if (parsed.ec != std::errc() || parsed.ptr == name.data()) return std::nullopt;
    name.remove_prefix(static_cast<std::size_t>(parsed.ptr - name.data()));
  }
  return name == ".safetensors" ? std::optional(piece) : std::nullopt;
}

// Every rank writes a file of each number. The full shape is as far as the pieces reach, so if all files of a
// rank are lost, the only trace is a gap in the numbers, and for the last rank there is none.
void require_all_pieces(const std::vector<PieceName>& pieces) {
  std::uint64_t ranks = 0;
  std::set<std::pair<std::uint64_t, std::uint64_t>> present;
  for (const PieceName& piece : pieces) {
    if (piece.files != pieces.front().files)
      throw rule_error("DC-ITEM", fmt::format("pieces of two saves are mixed: of {} and of {} files",
                                              pieces.front().files, piece.files));
    ranks = std::max(ranks, piece.rank);
    present.emplace(piece.rank, piece.file);
  }
  for (std::uint64_t rank = 1; rank <= ranks; ++rank) {
    for (std::uint64_t file = 1; file <= pieces.front().files; ++file) {
      if (present.contains({rank, file})) continue;
      throw rule_error("DC-FILE", fmt::format("shard-{:05}-model-{:05}-of-{:05}.safetensors is missing", rank,
                                              file, pieces.front().files))
          .hint("multi-node runs leave each node's files on its own disk: copy them together");
    }
  }
}

// First index of a piece, as its file's metadata give it.
std::vector<std::uint64_t> saved_offsets(const JsonValue& info, const Tensor& tensor) {
  std::vector<std::uint64_t> offsets;
  const JsonValue* entry = info.find(tensor.name);
  const JsonValue* list = entry == nullptr ? nullptr : entry->find("saved_offsets");
  if (list != nullptr) {
    for (const JsonValue& item : list->items()) offsets.push_back(item.as_u64().value_or(~std::uint64_t{0}));
  }
  const bool fits =
      offsets.size() == tensor.shape.size() &&
      std::all_of(offsets.begin(), offsets.end(), [](std::uint64_t n) { return n < (1ULL << 40); });
  if (!fits)
    throw rule_error("DC-CHUNK", "the piece of '" + escape_name(tensor.name) + "' has no saved_offsets");
  return offsets;
}

// What each file's metadata say of its pieces.
std::vector<JsonDocument> read_infos(const Weights& pieces) {
  std::vector<JsonDocument> infos;
  for (const WeightsFile& file : pieces.files) {
    const auto text = file.metadata ? file.metadata->find(std::string(kInfo)) : Metadata::const_iterator();
    if (!file.metadata || text == file.metadata->end())
      throw rule_error("DC-CHUNK", "its metadata lack DCP_SHARDING_INFO").in_file(escape_name(file.name));
    in_file(file.name, [&] { infos.push_back(parse_json(text->second)); });
  }
  return infos;
}

// A tensor as far as its pieces reach, and where they lie.
struct Joined {
  Tensor tensor;
  Layout layout{};
};

std::vector<Joined> join_pieces(const Weights& pieces) {
  const std::vector<JsonDocument> infos = read_infos(pieces);
  std::vector<Joined> whole;
  std::map<std::string, std::size_t> index;
  for (const Tensor& piece : pieces.tensors) {
    in_file(pieces.files[piece.source].name, [&] {
      const std::vector<std::uint64_t> begin = saved_offsets(infos[piece.source].root, piece);
      const auto [at, fresh] = index.try_emplace(piece.name, whole.size());
      if (fresh)
        whole.push_back(
            {{piece.name, piece.dtype, std::vector<std::uint64_t>(begin.size(), 0), piece.source, 0, 0}});
      if (bits(piece.dtype) < 8)
        throw rule_error("DC-ITEM", "pieces of '" + escape_name(piece.name) +
                                        "' have elements of less than a byte, which are not put together");
      auto& [tensor, layout] = whole[at->second];
      if (tensor.dtype != piece.dtype || tensor.shape.size() != begin.size())
        throw rule_error("DC-ITEM",
                         "pieces of '" + escape_name(piece.name) + "' differ in dtype or dimensions");
      for (std::size_t i = 0; i < begin.size(); ++i)
        tensor.shape[i] = std::max(tensor.shape[i], begin[i] + piece.shape[i]);
      if (piece.size > 0)
        layout.boxes.push_back(
            {piece.source, piece.offset, begin, piece.shape, row_major_strides(piece.shape)});
    });
  }
  return whole;
}

// The tensor, once its pieces are known to fill its shape.
Tensor finish(Joined&& joined) {
  auto& [tensor, layout] = joined;
  const ByteSize size = tensor_bytes(tensor.dtype, tensor.shape);
  if (size.status != ByteSizeStatus::kOk)
    throw rule_error("DC-CHUNK", "the pieces of '" + escape_name(tensor.name) + "' make no shape");
  check_tiling(tensor.name, tensor.shape, layout.boxes);
  std::sort(layout.boxes.begin(), layout.boxes.end(),
            [](const Box& a, const Box& b) { return a.begin < b.begin; });
  tensor.size = size.bytes;
  if (!layout.boxes.empty()) {
    tensor.source = layout.boxes.front().source;
    tensor.offset = layout.boxes.front().offset;
  }
  layout.shape = tensor.shape;
  tensor.layout = std::make_shared<Layout>(std::move(layout));
  return std::move(tensor);
}

}  // namespace

std::string dcp_pieces_folder(const std::string& path) {
  for (const std::string& folder : {path, join_path(path, "sharded")}) {
    if (!is_folder(folder)) continue;
    const std::vector<FolderEntry> entries = list_folder(folder);
    if (std::any_of(entries.begin(), entries.end(),
                    [](const FolderEntry& entry) { return parse_piece_name(entry.name).has_value(); }))
      return folder;
  }
  return "";
}

Weights open_dcp_pieces(const std::string& folder) {
  std::vector<std::string> paths;
  std::vector<PieceName> names;
  for (const FolderEntry& entry : list_folder(folder)) {
    const std::optional<PieceName> name = parse_piece_name(entry.name);
    if (!name) continue;
    names.push_back(*name);
    paths.push_back(join_path(folder, entry.name));
  }
  in_file(folder, [&] { require_all_pieces(names); });
  Weights pieces = open_files(paths);
  pieces.from_ranks.emplace();
  pieces.findings.throw_if_unloadable();
  std::vector<Tensor> whole;
  for (Joined& joined : join_pieces(pieces)) {
    in_file(folder, [&] { whole.push_back(finish(std::move(joined))); });
  }
  const std::size_t count = pieces.tensors.size();
  pieces.tensors = std::move(whole);
  pieces.findings = {};
  for (WeightsFile& file : pieces.files) file.metadata.reset();
  pieces.from_ranks->origin = fmt::format("torch distributed checkpoint, {} in {} of safetensors",
                                          plural(count, "piece"), plural(pieces.files.size(), "file"));
  return pieces;
}

}  // namespace mu
