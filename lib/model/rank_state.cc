// SPDX-License-Identifier: Apache-2.0
#include "model/rank_state.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/glob.h"
#include "base/text.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/threads.h"
#include "tensor/cast.h"
#include "weights/ranks/dcp.h"
#include "weights/ranks/fsdp.h"
#include "weights/ranks/fsdp_files.h"
#include "weights/ranks/megatron.h"
#include "weights/ranks/zero.h"
#include "weights/ranks/zero_files.h"

namespace mu {

std::optional<RankState> find_rank_state(const std::string& folder) {
  using Kind = RankState::Kind;
  if (is_megatron_folder(folder)) throw megatron_error(folder);
  if (is_dcp_folder(folder)) return RankState{folder, Kind::kDcp};
  if (is_zero_folder(folder)) return RankState{folder, Kind::kZero};
  if (is_fsdp_folder(folder)) return RankState{folder, Kind::kFsdp};
  const std::vector<FolderEntry> entries = list_folder(folder);
  std::vector<RankState> distributed, tags, roles;
  for (const FolderEntry& entry : entries) {
    if (entry.kind != FolderEntry::Kind::kFolder) continue;
    const std::string path = join_path(folder, entry.name);
    if (glob_matches("pytorch_model_fsdp_[0-9]*", entry.name) && is_dcp_folder(path)) {
      distributed.push_back({path, Kind::kDcp});
    } else if (is_zero_folder(path)) {
      tags.push_back({path, Kind::kZero});
    } else if (is_fsdp_folder(path)) {
      roles.push_back({path, Kind::kFsdp});
    }
  }
  if (distributed.empty()) {
    if (const std::string tag = zero_tag_folder(folder); !tag.empty()) return RankState{tag, Kind::kZero};
  }
  const std::vector<RankState>& found = !distributed.empty() ? distributed : !tags.empty() ? tags : roles;
  if (found.size() > 1)
    throw malformed(fmt::format("{} hold rank files: {}, {}{}", plural(found.size(), "folder"),
                                escape_name(base_name(found[0].path)), escape_name(base_name(found[1].path)),
                                found.size() > 2 ? ", …" : ""))
        .in_file(escape_name(folder))
        .hint("name the one you mean");
  if (found.size() == 1) return found.front();
  if (const std::string pieces = dcp_pieces_folder(folder); !pieces.empty())
    return RankState{pieces, Kind::kDcpPieces};
  refuse_megatron(folder, entries);
  return std::nullopt;
}

namespace {

// The optimizer's side is only listed: where it can't be read, the verdict on the model stays what it is.
template <typename Open>
void add_optimizer(Weights& weights, Open open) {
  try {
    Weights optimizer = open();
    optimizer.findings.throw_if_unloadable();
    append_weights(weights, std::move(optimizer));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;
    weights.from_ranks->not_listed = error.what();
  }
}

}  // namespace

Weights open_rank_state(const RankState& state, const std::string& key, bool everything) {
  switch (state.kind) {
    case RankState::Kind::kZero: {
      Weights weights = open_zero(state.path);
      if (everything) add_optimizer(weights, [&] { return open_zero_optimizer(state.path); });
      return weights;
    }
    case RankState::Kind::kDcp: {
      Weights weights = open_dcp(state.path, {key, everything});
      // accelerate puts the optimizer in a folder beside it: pytorch_model_fsdp_0 and optimizer_0.
      const std::string name(base_name(state.path));
      const std::string optimizer =
          join_path(parent_of(state.path), "optimizer_" + name.substr(name.rfind('_') + 1));
      if (everything && name.starts_with("pytorch_model_fsdp_") && is_dcp_folder(optimizer))
        add_optimizer(weights, [&] { return open_dcp(optimizer, {"", true}); });
      return weights;
    }
    case RankState::Kind::kFsdp: {
      Weights weights = open_fsdp(state.path);
      const std::vector<std::string> optimizers =
          everything ? list_fsdp_files(state.path).optimizers : std::vector<std::string>();
      if (!optimizers.empty())
        weights.from_ranks->not_listed =
            fmt::format("name the file of one rank to see its part ({})", escape_name(optimizers.front()));
      return weights;
    }
    case RankState::Kind::kDcpPieces:
      break;
  }
  return open_dcp_pieces(state.path);
}

std::optional<std::string> use_training_copies(Weights& weights, Dtype dtype, unsigned threads, bool strict) {
  const auto equal = [&](const Tensor& tensor, const Tensor& other) {
    constexpr std::uint64_t kPiece = 256U << 10;  // elements
    const std::uint64_t in = bits(tensor.dtype) / 8, out = bits(dtype) / 8, count = tensor.element_count();
    std::vector<std::byte> master, rounded, copy;
    CastReport unused;
    for (std::uint64_t at = 0; at < count; at += kPiece) {
      check_interrupt();
      const std::uint64_t size = std::min(kPiece, count - at);
      master.resize(static_cast<std::size_t>(size * in));
      rounded.resize(static_cast<std::size_t>(size * out));
      copy.resize(rounded.size());
      weights.read(tensor, at * in, master);
      weights.read(other, at * out, copy);
      cast(tensor.dtype, dtype, master, rounded, unused);
      if (rounded != copy) return false;
    }
    return true;
  };
  if (!weights.from_ranks) return std::nullopt;
  const std::map<std::string, Tensor>& copies = weights.from_ranks->training_copies;
  std::vector<Tensor*> masters;
  for (Tensor& tensor : weights.tensors) {
    const auto copy = copies.find(tensor.name);
    if (copy != copies.end() && copy->second.dtype == dtype && tensor.dtype == Dtype::kF32)
      masters.push_back(&tensor);
  }
  if (masters.empty()) return std::nullopt;
  std::vector<std::uint8_t> same(masters.size());
  parallel_for(masters.size(), threads,
               [&](std::size_t i) { same[i] = equal(*masters[i], copies.at(masters[i]->name)) ? 1 : 0; });
  std::uint64_t differing = 0;
  for (std::size_t i = 0; i < masters.size(); ++i) {
    Tensor& tensor = *masters[i];
    if (same[i] == 0 && strict)
      throw malformed(
          fmt::format("the {} copy of '{}' in the model file is not its fp32 master rounded: files of two "
                      "saves are mixed, or the save happened during a step [ZR-MASTER]",
                      short_name(dtype), escape_name(tensor.name)))
          .in_file(escape_name(weights.files[tensor.source].name))
          .hint("--from zero takes the masters anyway");
    differing += same[i] == 0 ? 1 : 0;
    if (same[i] != 0) tensor = copies.at(tensor.name);
  }
  return fmt::format(
      "{} taken from the {} model file, equal to the fp32 masters{}",
      plural(masters.size() - differing, "tensor"), short_name(dtype),
      differing == 0 ? "" : fmt::format("; {} differ from it and are cast from the masters", differing));
}

}  // namespace mu
