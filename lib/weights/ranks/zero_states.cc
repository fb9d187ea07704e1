// SPDX-License-Identifier: Apache-2.0
// Each file of a rank is a torch zip whose pickle is a dict. It is opened, checked, read into the plain
// structs of zero_states.h and dropped before the next one is opened, so that memory holds one pickle,
// however many ranks there are; only places in files are kept.
//
// A file is checked before it is believed: it must be a whole torch zip (ZR-TORN, ZR-KIND), its archive must
// carry the name of the file, because swapped rank files fit in every other way (ZR-NAME), and its pickle
// must name nothing dangerous. Then signs of other kinds of training are looked for, each refused by a rule
// of its own: tensor and pipeline parallelism, experts, MiCS.
//
// Keys changed over the versions of DeepSpeed; a missing one is empty here, and zero.cc decides whether it is
// needed.
#include "weights/ranks/zero_states.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/in_file.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/ranks/rank_file.h"
#include "weights/torch/file.h"
#include "weights/torch/tensors.h"
#include "weights/torch/values.h"

namespace mu {
namespace {

constexpr std::int64_t kMostRanks = 1'000'000;  // more than any cluster has

// --- values of the pickle ---

std::optional<std::int64_t> int_of(const Pickle& p, PickleId id) {
  if (id == kNoNode) return std::nullopt;
  if (p.kind(id) == PickleKind::kInt) return p.integer(id);
  if (p.kind(id) != PickleKind::kCall) return std::nullopt;
  // ZeroStageEnum(2), or getattr(ZeroStageEnum, "gradients") as Python 3.11 writes it.
  const std::span<const PickleId> args = p.items(p.call(id).args);
  if (args.size() == 1 && p.kind(args[0]) == PickleKind::kInt) return p.integer(args[0]);
  constexpr std::array kStages =
      std::to_array<std::string_view>({"disabled", "optimizer_states", "gradients", "weights"});
  if (args.size() != 2 || p.kind(args[1]) != PickleKind::kText) return std::nullopt;
  const auto stage = std::find(kStages.begin(), kStages.end(), p.text(args[1]));
  return stage == kStages.end() ? std::nullopt : std::optional<std::int64_t>(stage - kStages.begin());
}

bool is_set(const Pickle& p, PickleId id) {
  return id != kNoNode && p.kind(id) == PickleKind::kBool && p.truth(id);
}

// The items of a list or tuple; nothing for anything else.
std::span<const PickleId> items_of(const Pickle& p, PickleId id) {
  if (id == kNoNode || (p.kind(id) != PickleKind::kList && p.kind(id) != PickleKind::kTuple)) return {};
  return p.items(id);
}

bool has_content(const Pickle& p, PickleId id) {
  return id != kNoNode && (!items_of(p, id).empty() || !pickle_mapping(p, id).empty());
}

std::string text_of(const Pickle& p, PickleId id) {
  return id != kNoNode && p.kind(id) == PickleKind::kText ? std::string(p.text(id)) : "";
}

PickleId find_path(const Pickle& p, PickleId id, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (id == kNoNode) return id;
    id = pickle_find(p, id, key);
  }
  return id;
}

FlatShape shape_of(const Pickle& p, PickleId key, PickleId id) {
  const std::string name(p.text(key));
  const std::optional<std::vector<std::uint64_t>> shape = pickle_shape(p, id);
  const std::optional<std::uint64_t> count = shape ? element_count(*shape) : std::nullopt;
  if (!count || !checked_mul(*count, 8))
    throw rule_error("ZR-SHAPE", fmt::format("the shape of '{}' is not a list of numbers, or overflows",
                                             escape_name(name)));
  return {name, *shape, *count};
}

std::vector<FlatShape> shapes_of(const Pickle& p, PickleId mapping) {
  std::vector<FlatShape> shapes;
  if (mapping == kNoNode) return shapes;
  const std::span<const PickleId> pairs = pickle_mapping(p, mapping);
  for (std::size_t i = 0; i < pairs.size(); i += 2) shapes.push_back(shape_of(p, pairs[i], pairs[i + 1]));
  return shapes;
}

// --- a file ---

// One file of a rank while its pickle is looked at.
class StateFile {
 public:
  StateFile(Weights& weights, std::string path, std::string_view stem)
      : path_(std::move(path)), source_(static_cast<std::uint32_t>(weights.files.size())), input_(path_) {
    part_ = open_rank_archive(input_, "ZR", weights.findings);
    // The archive remembers under which name it was written. Swapped rank files would fit in every other way.
    const std::string& root = part_.object->root_name;
    if (!stem.empty() && !root.empty() && root != "archive" && root != stem)
      throw rule_error("ZR-NAME", fmt::format("it was written as '{}.pt' and renamed", escape_name(root)))
          .hint("give the rank files their own names back");
    require_harmless(pickle());
  }

  [[nodiscard]] const Pickle& pickle() const { return *part_.object->pickle; }
  [[nodiscard]] PickleId find(std::initializer_list<std::string_view> keys) const {
    return find_path(pickle(), pickle().root(), keys);
  }

  Tensor tensor(PickleId node, const std::string& name) {
    try {
      return read_torch_tensor(pickle(), part_.storages, source_, name, node);
    } catch (Error& error) {
      throw Error(error.kind(), fmt::format("'{}': {}", escape_name(name), error.message()));
    }
  }

  FlatRun flat(PickleId node, const std::string& name) {
    const Tensor found = tensor(node, name);
    if (found.layout || found.shape.size() != 1 || bits(found.dtype) < 8)
      throw rule_error("ZR-SHAPE", fmt::format("'{}' is not a flat run of numbers", escape_name(name)));
    return {found.dtype, source_, found.offset, found.shape[0]};
  }

  std::optional<double> step(PickleId entry) {
    return optimizer_step(pickle(), entry, part_.storages, input_);
  }

  void add_to(Weights& weights) { add_rank_file(weights, std::move(input_)); }

 private:
  std::string path_;
  std::uint32_t source_;
  InputFile input_;
  TorchArchive part_;
};

// Opens a file, lets `read` look at it, and adds it to the set.
template <typename Read>
auto with_file(Weights& weights, const std::string& path, std::string_view stem, Read read) {
  return in_file(path, [&] {
    StateFile file(weights, path, stem);
    auto value = read(file);
    file.add_to(weights);
    return value;
  });
}

std::string_view stem_of(const ZeroFileName& name) {
  return std::string_view(name.name).substr(0, name.name.rfind('.'));
}

// --- model files ---

void refuse_other_parallelism(const StateFile& file) {
  const Pickle& p = file.pickle();
  if (int_of(p, file.find({"mp_world_size"})).value_or(1) > 1) throw tensor_parallel_error("mp_world_size");
  if (int_of(p, file.find({"checkpoint_parallel_dimensions", "tp_degree"})).value_or(1) > 1)
    throw tensor_parallel_error("tp_degree");
  const PickleId module = file.find({"module"});
  if (module == kNoNode || p.kind(module) == PickleKind::kNone ||
      int_of(p, file.find({"checkpoint_parallel_dimensions", "pp_degree"})).value_or(1) > 1)
    throw rule_error("ZR-PIPE", "a pipeline-parallel checkpoint: the module is not in the model file")
        .hint("export it with the training program that knows the names");
  for (const std::string_view key : {"num_experts", "ds_autoep_layers", "autoep_layers", "folding"}) {
    if (has_content(p, file.find({key})))
      throw rule_error("ZR-MOE",
                       fmt::format("a mixture of experts ({}): experts are split over other ranks", key))
          .hint("save it with the training program's own gathering");
  }
  if (int_of(p, file.find({"ds_config", "zero_optimization", "mics_shard_size"})).value_or(0) > 0)
    throw rule_error("ZR-MICS", "weights are partitioned over only some of the ranks (mics_shard_size)")
        .hint("save it without MiCS");
}

void read_whole_model(StateFile& file, ZeroModelState& state) {
  const Pickle& p = file.pickle();
  refuse_other_parallelism(file);
  const std::span<const PickleId> module = pickle_mapping(p, file.find({"module"}));
  for (std::size_t i = 0; i < module.size(); i += 2) {
    std::string name(p.text(module[i]));
    std::optional<Tensor> tensor;
    if (is_tensor_node(p, module[i + 1])) tensor = file.tensor(module[i + 1], name);
    state.module.emplace_back(std::move(name), std::move(tensor));
  }
  for (const PickleId name : items_of(p, file.find({"buffer_names"}))) state.buffers.emplace(p.text(name));
  const PickleId shapes = file.find({"param_shapes"});
  if (shapes != kNoNode && p.kind(shapes) == PickleKind::kList) {
    state.groups.emplace();
    for (const PickleId group : p.items(shapes)) state.groups->push_back(shapes_of(p, group));
  }
  state.frozen_shapes = shapes_of(p, file.find({"frozen_param_shapes"}));
  if (const PickleId shared = file.find({"shared_params"}); shared != kNoNode) {
    const std::span<const PickleId> pairs = pickle_mapping(p, shared);
    for (std::size_t i = 0; i < pairs.size(); i += 2)
      state.shared.emplace_back(p.text(pairs[i]), p.text(pairs[i + 1]));
  }
  state.stage = int_of(p, file.find({"ds_config", "zero_optimization", "stage"})).value_or(0);
  state.round_robin = is_set(p, file.find({"ds_config", "zero_optimization", "round_robin_gradients"}));
}

// --- optimizer files ---

constexpr std::string_view kState = "optimizer_state_dict";

// The largest number of steps that a base optimizer counts.
std::optional<double> largest_step(StateFile& file) {
  const Pickle& p = file.pickle();
  std::optional<double> most;
  const auto add = [&](PickleId entry) {
    const std::optional<double> step = file.step(entry);
    if (step && (!most || *step > *most)) most = step;
  };
  for (const std::string_view key : {"base_optimizer_state", "optimizer_state_dict"}) {
    const PickleId base = file.find({kState, key});
    if (base == kNoNode) continue;
    const PickleId states = pickle_find(p, base, "state");
    if (states != kNoNode) {
      const std::span<const PickleId> pairs = pickle_mapping(p, states);
      for (std::size_t i = 0; i < pairs.size(); i += 2) add(pairs[i + 1]);
    }
    for (const PickleId group : items_of(p, pickle_find(p, base, "param_groups"))) add(group);
    for (const PickleId group : items_of(p, base)) add(group);  // in elastic mode
  }
  return most;
}

std::uint64_t read_ranks(const StateFile& file) {
  const Pickle& p = file.pickle();
  const PickleId id = file.find({kState, "partition_count"});
  std::vector<std::int64_t> counts;
  for (const PickleId item : items_of(p, id)) counts.push_back(int_of(p, item).value_or(0));
  if (const std::optional<std::int64_t> count = int_of(p, id)) counts.push_back(*count);
  if (counts.empty()) throw rule_error("ZR-COUNT", "it does not say by how many ranks it was saved");
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  if (*least != *most)
    throw rule_error("ZR-MOE", fmt::format("its groups are cut over {} and {} ranks, as those of experts are",
                                           *least, *most));
  if (*most < 1 || *most > kMostRanks)
    throw rule_error("ZR-COUNT", fmt::format("its partition_count of {} is impossible", *most));
  return static_cast<std::uint64_t>(*most);
}

void read_slices(const StateFile& file, ZeroOptimizerState& state) {
  const Pickle& p = file.pickle();
  for (const PickleId group : items_of(p, file.find({kState, "param_slice_mappings"}))) {
    std::map<std::string, ZeroOptimizerState::Slice>& slices = state.slices.emplace_back();
    const std::span<const PickleId> pairs = pickle_mapping(p, group);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const PickleId address = pairs[i + 1];
      if (p.kind(address) != PickleKind::kCall || p.call(address).state == kNoNode) continue;
      const auto start = int_of(p, pickle_find(p, p.call(address).state, "start"));
      const auto count = int_of(p, pickle_find(p, p.call(address).state, "numel"));
      if (start && count && *start >= 0 && *count >= 0)
        slices[std::string(p.text(pairs[i]))] = {static_cast<std::uint64_t>(*start),
                                                 static_cast<std::uint64_t>(*count)};
    }
  }
}

void read_optimizer(StateFile& file, ZeroOptimizerState& state) {
  const Pickle& p = file.pickle();
  state.version = text_of(p, file.find({"ds_version"}));
  const PickleId stage3 = file.find({kState, "fp32_flat_groups"});
  const PickleId partition = file.find({kState, "single_partition_of_fp32_groups"});
  const PickleId flat = stage3 != kNoNode ? stage3 : partition;
  if (flat == kNoNode || p.kind(flat) != PickleKind::kList)
    throw rule_error("ZR-KIND", "it holds no flat master weights")
        .hint("only stages 1 to 3 of ZeRO have them");
  state.stage = int_of(p, file.find({kState, "zero_stage"})).value_or(stage3 != kNoNode ? 3 : 1);
  if (state.stage < 1 || state.stage > 3 || (state.stage == 3) != (stage3 != kNoNode))
    throw rule_error("ZR-KIND", fmt::format("ZeRO stage {} with such weights is unknown", state.stage));
  if (has_content(p, file.find({kState, "ds_zero_partition_groups"})))
    throw rule_error("ZR-MOE",
                     "a mixture of experts (ds_zero_partition_groups): experts are split over other ranks");
  state.ranks = read_ranks(file);
  for (const PickleId node : p.items(flat))
    state.groups.push_back(file.flat(node, stage3 != kNoNode ? "fp32_flat_groups" : "master weights"));
  for (const PickleId group : items_of(p, file.find({kState, "param_alignment_paddings"}))) {
    std::vector<std::uint64_t>& gaps = state.gaps.emplace_back();
    for (const PickleId gap : items_of(p, group))
      gaps.push_back(static_cast<std::uint64_t>(std::max<std::int64_t>(0, int_of(p, gap).value_or(0))));
  }
  read_slices(file, state);
  state.step = largest_step(file);
}

}  // namespace

ZeroModelState read_zero_model(Weights& weights, const std::string& folder, const ZeroFileName& name,
                               bool whole) {
  const std::string path = join_path(folder, name.name);
  return with_file(weights, path, stem_of(name), [&](StateFile& file) {
    const Pickle& p = file.pickle();
    ZeroModelState state{.path = path,
                         .rank = name.rank,
                         .version = text_of(p, file.find({"ds_version"})),
                         .step = int_of(p, file.find({"global_steps"})),
                         .frozen = {},
                         .module = {},
                         .buffers = {},
                         .groups = {},
                         .frozen_shapes = {},
                         .shared = {}};
    if (const PickleId fragments = file.find({"frozen_param_fragments"}); fragments != kNoNode) {
      const std::span<const PickleId> pairs = pickle_mapping(p, fragments);
      for (std::size_t i = 0; i < pairs.size(); i += 2) {
        const std::string parameter(p.text(pairs[i]));
        state.frozen.insert_or_assign(parameter, file.tensor(pairs[i + 1], parameter));
      }
    }
    if (whole) read_whole_model(file, state);
    return state;
  });
}

ZeroOptimizerState read_zero_optimizer(Weights& weights, const std::string& folder,
                                       const ZeroFileName& name) {
  const std::string path = join_path(folder, name.name);
  return with_file(weights, path, stem_of(name), [&](StateFile& file) {
    ZeroOptimizerState state;
    state.path = path;
    state.rank = name.rank.value_or(0);
    read_optimizer(file, state);
    return state;
  });
}

Tensor read_zero_parameter(Weights& weights, const std::string& path, const std::string& name) {
  return with_file(weights, path, "", [&](StateFile& file) {
    const PickleId param = file.find({"param"});
    return file.tensor(param == kNoNode ? file.pickle().root() : param, name);
  });
}

ZeroCounts read_zero_counts(const InputFile& file) {
  ZeroCounts counts;
  try {
    Findings findings;
    const TorchArchive part = open_torch_archive(file, 0, file.size(), findings);
    const Pickle& p = *part.object->pickle;
    const auto count = [&p](std::initializer_list<std::string_view> keys) -> std::optional<std::uint64_t> {
      const PickleId id = find_path(p, p.root(), keys);
      const std::optional<std::int64_t> value =
          id != kNoNode && p.kind(id) == PickleKind::kInt ? std::optional(p.integer(id)) : std::nullopt;
      return value && *value > 0 && *value <= kMostRanks ? std::optional(static_cast<std::uint64_t>(*value))
                                                         : std::nullopt;
    };
    counts.ranks = count({"dp_world_size"});
    counts.model_ranks = count({"mp_world_size"});
    if (!counts.ranks) counts.ranks = count({kState, "partition_count"});
    // One number per group; the groups of experts are cut over fewer ranks than the others.
    for (const PickleId item : items_of(p, find_path(p, p.root(), {kState, "partition_count"}))) {
      if (const std::int64_t ranks = int_of(p, item).value_or(0); ranks > 0 && ranks <= kMostRanks)
        counts.ranks = std::max(counts.ranks.value_or(0), static_cast<std::uint64_t>(ranks));
    }
    counts.stage = int_of(p, find_path(p, p.root(), {"ds_config", "zero_optimization", "stage"}));
    if (!counts.stage) counts.stage = int_of(p, find_path(p, p.root(), {kState, "zero_stage"}));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;
  }
  return counts;
}

}  // namespace mu
