// SPDX-License-Identifier: Apache-2.0
// Stages 1 and 2 put the flattened parameters of a group end to end and cut that into one partition per rank:
// a parameter is a stretch of the partitions put together again. Stage 3 cuts every parameter into one piece
// per rank, the last one padded. Both give flat ranges of a few files for each parameter (zero_layout.h);
// what the files say is in zero_states.h. Here both come together, and what needs several files is checked.
#include "weights/ranks/zero.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/index.h"
#include "weights/layout.h"
#include "weights/open/open.h"
#include "weights/ranks/rank_file.h"
#include "weights/ranks/zero_files.h"
#include "weights/ranks/zero_layout.h"
#include "weights/ranks/zero_states.h"
#include "weights/torch/file.h"

namespace mu {
namespace {

// The numbers of the first eight ranks below `count` that are missing.
std::string missing_ranks(const std::vector<ZeroFileName>& files, std::uint64_t count) {
  std::set<std::uint64_t> present;
  for (const ZeroFileName& file : files) present.insert(file.rank.value_or(0));
  constexpr std::size_t kShown = 8;
  std::vector<std::string> missing;
  for (std::uint64_t rank = 0; rank < count && missing.size() <= kShown; ++rank) {
    if (!present.contains(rank)) missing.push_back(std::to_string(rank));
  }
  if (missing.size() > kShown) missing.back() = "…";
  return join(missing, ", ");
}

void require_ranks(const std::vector<ZeroFileName>& files, std::uint64_t ranks, std::string_view rule,
                   std::string_view kind) {
  const std::string missing = missing_ranks(files, ranks);
  if (missing.empty() && files.size() == ranks) return;
  throw rule_error(rule, fmt::format("saved by {}, {} here{}", plural(ranks, "rank"),
                                     plural(files.size(), std::string(kind) + " file"),
                                     missing.empty() ? "" : "; missing: rank " + missing))
      .hint("multi-node runs leave each node's files on its own disk: copy them together");
}

class ZeroReader {
 public:
  explicit ZeroReader(std::string folder) : folder_(std::move(folder)), names_(list_zero_files(folder_)) {}

  Weights read() {
    in_file(folder_, [&] {
      open_files();
      if (universal_) {
        gather_universal();
      } else if (stage_ == 3) {
        gather_partitions();
      } else if (stage_ > 0) {
        gather_groups();
      }
      gather_frozen();
      take_module();
      add_shared_names();
    });
    find_lost();
    order_tensors();
    describe();
    weights_.from_ranks = std::move(found_);
    return std::move(weights_);
  }

 private:
  [[nodiscard]] const ZeroModelState& model() const { return models_.front(); }

  void open_files() {
    universal_ = is_folder(join_path(folder_, "zero"));
    // Names, shapes and shared parameters are in the model file of rank 0.
    if (names_.model.empty() || names_.model.front().rank.value_or(0) != 0)
      throw rule_error("ZR-MODEL", names_.model.empty()
                                       ? "the names and shapes are missing: there is no *_model_states.pt"
                                       : "rank 0's model file, which has the names and shapes, is missing")
          .hint("copy it from where rank 0 ran");
    const bool by_rank = names_.model.front().rank.has_value();
    if (!universal_ && !names_.optimizer.empty()) {
      optimizers_.push_back(read_zero_optimizer(weights_, folder_, names_.optimizer.front()));
      ranks_ = optimizers_.front().ranks;
      stage_ = optimizers_.front().stage;
      require_ranks(names_.optimizer, ranks_, "ZR-COUNT", "optimizer");
      for (std::size_t i = 1; i < names_.optimizer.size(); ++i)
        optimizers_.push_back(read_zero_optimizer(weights_, folder_, names_.optimizer[i]));
      if ((stage_ == 3) != by_rank)
        throw rule_error(
            "ZR-MIX",
            fmt::format("files of two saves are mixed: the weights are of stage {}, {} is of {}", stage_,
                        escape_name(names_.model.front().name), by_rank ? "stage 3" : "another"));
    }
    for (const ZeroFileName& name : names_.model)
      models_.push_back(read_zero_model(weights_, folder_, name, models_.empty()));
    if (universal_) {
      stage_ = by_rank ? 3 : 2;
      ranks_ = models_.size();
    } else if (optimizers_.empty()) {
      if (by_rank || (model().groups && model().stage >= 3))
        throw rule_error("ZR-COUNT", "the optimizer files, which hold the weights, are missing")
            .hint("copy the *_optim_states.pt of all ranks here");
      ranks_ = 1;
    }
    check_mixture();
    if (stage_ == 3 && !model().frozen_shapes.empty()) {
      require_ranks(names_.model, ranks_, "ZR-MODEL", "model");
    } else if (const std::string missing = missing_ranks(names_.model, stage_ == 3 ? ranks_ : 1);
               !missing.empty()) {
      found_.notes.push_back(fmt::format(
          "model files are missing (rank {}); nothing is frozen, so rank 0's is enough", missing));
    }
  }

  // What all files of one save have in common.
  void check_mixture() const {
    const auto differ = [](std::string_view what, const auto& here, const std::string& path,
                           const auto& there, const std::string& other) {
      throw rule_error("ZR-MIX", fmt::format("files of two saves are mixed: {} {} here, {} in {}", what, here,
                                             there, escape_name(base_name(other))))
          .in_file(escape_name(path));
    };
    for (const ZeroModelState& file : models_) {
      if (file.version != model().version)
        differ("DeepSpeed", escape_name(file.version), file.path, escape_name(model().version), model().path);
      if (file.step != model().step)
        differ("step", file.step.value_or(0), file.path, model().step.value_or(0), model().path);
    }
    const ZeroOptimizerState* counting = nullptr;
    for (const ZeroOptimizerState& file : optimizers_) {
      const ZeroOptimizerState& first = optimizers_.front();
      if (file.ranks != ranks_) differ("ranks", file.ranks, file.path, ranks_, first.path);
      if (file.stage != stage_) differ("stage", file.stage, file.path, stage_, first.path);
      if (file.version != model().version && !file.version.empty() && !model().version.empty())
        differ("DeepSpeed", escape_name(file.version), file.path, escape_name(model().version), model().path);
      if (!file.step) continue;
      if (counting == nullptr) counting = &file;
      if (*file.step != *counting->step)
        differ("optimizer step", *file.step, file.path, *counting->step, counting->path);
    }
  }

  const std::vector<std::vector<FlatShape>>& groups() const {
    if (!model().groups)
      throw rule_error("ZR-SHAPE", "it has no param_shapes").in_file(escape_name(model().path));
    return *model().groups;
  }

  // Stages 1 and 2, and the BF16 engine.
  void gather_groups() {
    for (const ZeroOptimizerState& file : optimizers_) {
      if (file.groups.size() != groups().size())
        throw rule_error("ZR-SIZE", fmt::format("it has {} groups of weights, the model file {}",
                                                file.groups.size(), groups().size()))
            .in_file(escape_name(file.path));
    }
    for (std::size_t g = 0; g < groups().size(); ++g) {
      std::vector<FlatRun> partitions;
      for (const ZeroOptimizerState& file : optimizers_) partitions.push_back(file.groups[g]);
      const std::vector<std::vector<std::uint64_t>>& gaps = optimizers_.front().gaps;
      const std::vector<std::vector<FlatRun>> places =
          place_stage12(groups()[g], partitions, g < gaps.size() ? gaps[g] : std::vector<std::uint64_t>(), g);
      check_slices(g, partitions, places);
      for (std::size_t i = 0; i < places.size(); ++i) add_flat(groups()[g][i], places[i]);
    }
  }

  // Each rank noted which elements of its partition belong to which parameter. With round_robin_gradients the
  // notes are of another order than the values (DeepSpeed's own accessor has the same fault).
  void check_slices(std::size_t group, const std::vector<FlatRun>& partitions,
                    const std::vector<std::vector<FlatRun>>& places) const {
    if (model().round_robin) return;
    std::unordered_map<std::uint32_t, std::size_t> rank_of;  // by file
    for (std::size_t r = 0; r < partitions.size(); ++r) rank_of.emplace(partitions[r].source, r);
    std::vector<std::map<std::string_view, ZeroOptimizerState::Slice>> computed(partitions.size());
    for (std::size_t i = 0; i < places.size(); ++i) {
      for (const FlatRun& run : places[i]) {
        const std::size_t rank = rank_of.at(run.source);
        computed[rank][groups()[group][i].name] = {
            (run.offset - partitions[rank].offset) / (bits(run.dtype) / 8), run.count};
      }
    }
    for (std::size_t r = 0; r < partitions.size(); ++r) {
      if (group >= optimizers_[r].slices.size()) continue;
      for (const auto& [name, slice] : optimizers_[r].slices[group]) {
        const auto found = computed[r].find(name);
        if (found == computed[r].end() ? slice.count == 0 : found->second == slice) continue;
        throw rule_error("ZR-MIX",
                         fmt::format("it says that values {} to {} of group {} are those of '{}', which "
                                     "doesn't fit the model file and the other ranks",
                                     slice.start, slice.start + slice.count, group, escape_name(name)))
            .in_file(escape_name(optimizers_[r].path));
      }
    }
  }

  void gather_partitions() {
    const bool by_group = std::all_of(optimizers_.begin(), optimizers_.end(), [this](const auto& file) {
      return file.groups.size() == groups().size();
    });
    if (by_group) {
      for (std::size_t g = 0; g < groups().size(); ++g) {
        std::vector<std::vector<FlatRun>> partitions;
        for (const ZeroOptimizerState& file : optimizers_) partitions.push_back({file.groups[g]});
        place_partitions(groups()[g], partitions, g);
      }
      return;
    }
    // The sub-groups differ from the model file's: all of them are taken end to end.
    std::vector<FlatShape> all;
    for (const std::vector<FlatShape>& group : groups()) all.insert(all.end(), group.begin(), group.end());
    std::vector<std::vector<FlatRun>> partitions;
    for (const ZeroOptimizerState& file : optimizers_) partitions.push_back(file.groups);
    place_partitions(all, partitions, 0);
  }

  void place_partitions(const std::vector<FlatShape>& parameters,
                        const std::vector<std::vector<FlatRun>>& partitions, std::size_t group) {
    const std::vector<std::vector<FlatRun>> places = place_stage3(parameters, partitions, group);
    for (std::size_t i = 0; i < places.size(); ++i) add_flat(parameters[i], places[i]);
  }

  // zero/NAME/fp32.pt of each parameter: whole, or flat when it comes from stage 3.
  void gather_universal() {
    for (const std::vector<FlatShape>& group : groups()) {
      for (const FlatShape& parameter : group) {
        if (const std::optional<std::string_view> why = unsafe_name(parameter.name))
          throw rule_error(
              "ZR-LOST", fmt::format("the name '{}' is not followed: {}", escape_name(parameter.name), *why));
        const std::string path = join_path(join_path(join_path(folder_, "zero"), parameter.name), "fp32.pt");
        if (!exists(path)) {
          found_.lost.push_back(parameter.name);
          continue;
        }
        Tensor tensor = read_zero_parameter(weights_, path, parameter.name);
        const bool flat = tensor.shape == std::vector<std::uint64_t>{parameter.count} && !tensor.layout;
        if (tensor.shape != parameter.shape && !flat)
          throw rule_error("ZR-SHAPE", "it has another shape than the model file says")
              .in_file(escape_name(path));
        tensor.shape = parameter.shape;
        add(std::move(tensor));
      }
    }
  }

  // Frozen parameters: whole in stages 1 and 2, one piece per rank in stage 3.
  void gather_frozen() {
    for (const FlatShape& parameter : model().frozen_shapes) {
      std::vector<FlatRun> runs;
      std::uint64_t left = parameter.count;
      const std::uint64_t partition = stage_ == 3 ? partition_size(parameter.count, ranks_) : parameter.count;
      for (const ZeroModelState& file : models_) {
        const auto found = file.frozen.find(parameter.name);
        if (found == file.frozen.end()) {
          found_.lost.push_back(parameter.name);
          break;
        }
        const Tensor& piece = found->second;
        const bool fits = stage_ == 3 ? piece.shape == std::vector<std::uint64_t>{partition} && !piece.layout
                                      : piece.shape == parameter.shape;
        if (!fits)
          throw rule_error("ZR-SHAPE",
                           fmt::format("the frozen '{}' has {} values, not {}", escape_name(parameter.name),
                                       piece.element_count(), partition))
              .in_file(escape_name(file.path));
        if (stage_ < 3) {
          add(piece);
          break;
        }
        const std::uint64_t here = std::min(partition, left);
        runs.push_back({piece.dtype, piece.source, piece.offset, here});
        left -= here;
        if (&file == &models_.back()) add_flat(parameter, runs);
      }
    }
  }

  // Takes what `module` holds and was not put together from partitions: buffers, and in stages 0 to 2 all the
  // rest. In those stages its 16-bit weights are kept, too, as copies of the masters.
  void take_module() {
    std::set<std::string_view> aliases;
    for (const auto& [alias, kept] : model().shared) aliases.insert(alias);
    for (const auto& [name, tensor] : model().module) {
      if (!tensor) continue;
      const auto known = by_name_.find(name);
      if (known == by_name_.end()) {
        const bool taken =
            stage_ == 3 ? model().buffers.contains(name) : stage_ == 0 || !aliases.contains(name);
        if (taken) add(*tensor);
      } else if (stage_ < 3) {
        if (tensor->shape != weights_.tensors[known->second].shape)
          throw rule_error("ZR-SHAPE", fmt::format("'{}' has another shape in module than in param_shapes",
                                                   escape_name(name)))
              .in_file(escape_name(model().path));
        if (bits(tensor->dtype) == 16) found_.training_copies.emplace(name, *tensor);
      }
    }
  }

  void add_shared_names() {
    for (const auto& [alias, kept] : model().shared) {
      const auto found = by_name_.find(kept);
      if (found == by_name_.end()) {
        found_.lost.push_back(kept);
        continue;
      }
      Tensor tensor = weights_.tensors[found->second];
      tensor.name = alias;
      add(std::move(tensor));
    }
  }

  void find_lost() {
    if (stage_ == 3) {
      for (const auto& [name, tensor] : model().module) {
        if (tensor && !by_name_.contains(name)) found_.lost.push_back(name);
      }
    }
    std::sort(found_.lost.begin(), found_.lost.end());
    found_.lost.erase(std::unique(found_.lost.begin(), found_.lost.end()), found_.lost.end());
  }

  // A tensor put together from flat runs, in order.
  void add_flat(const FlatShape& parameter, const std::vector<FlatRun>& runs) {
    Tensor tensor{parameter.name, runs.empty() ? Dtype::kF32 : runs.front().dtype, parameter.shape, 0, 0, 0};
    tensor.size = parameter.count * (bits(tensor.dtype) / 8);
    Layout layout;
    layout.shape = {parameter.count};
    std::uint64_t at = 0;
    for (const FlatRun& run : runs) {
      if (run.dtype != tensor.dtype)
        throw rule_error("ZR-MIX", "files of two saves are mixed: ranks disagree on the dtype of '" +
                                       escape_name(parameter.name) + "'");
      if (run.count == 0) continue;
      layout.boxes.push_back({run.source, run.offset, {at}, {run.count}, {1}});
      at += run.count;
    }
    if (at != parameter.count)
      throw rule_error("ZR-SIZE",
                       "the partitions of '" + escape_name(parameter.name) + "' don't make it whole");
    if (at > 0) {
      tensor.source = layout.boxes.front().source;
      tensor.offset = layout.boxes.front().offset;
    }
    if (layout.boxes.size() > 1) tensor.layout = std::make_shared<Layout>(std::move(layout));
    add(std::move(tensor));
  }

  void add(Tensor tensor) {
    if (!by_name_.emplace(tensor.name, weights_.tensors.size()).second) return;  // there already
    weights_.tensors.push_back(std::move(tensor));
  }

  // In the model's order; tensors that it does not name come last.
  void order_tensors() {
    std::unordered_map<std::string_view, std::size_t> place;
    for (const auto& [name, tensor] : model().module) place.emplace(name, place.size());
    std::stable_sort(weights_.tensors.begin(), weights_.tensors.end(),
                     [&place](const Tensor& a, const Tensor& b) {
                       const auto of = [&place](const Tensor& t) {
                         const auto found = place.find(t.name);
                         return found == place.end() ? place.size() : found->second;
                       };
                       return of(a) < of(b);
                     });
  }

  void describe() {
    found_.origin = fmt::format(
        "DeepSpeed {} stage {}, {}{}{}", universal_ ? "universal checkpoint of ZeRO" : "ZeRO", stage_,
        plural(ranks_, "rank"), model().step ? fmt::format(", step {}", *model().step) : "",
        model().version.empty() ? "" : ", DeepSpeed " + escape_name(model().version));
    if (stage_ == 0)
      found_.notes.emplace_back("the weights are those of the model file, in the dtype of the training");
    std::set<Dtype> types;
    for (const Tensor& tensor : weights_.tensors) {
      if (is_floating(tensor.dtype) && !model().buffers.contains(tensor.name)) types.insert(tensor.dtype);
    }
    if (stage_ > 0 && types.contains(Dtype::kF32) && types.size() > 1)
      found_.notes.emplace_back("trained weights are fp32, frozen ones keep the dtype of the training");
  }

  std::string folder_;
  ZeroFileNames names_;
  Weights weights_;
  FromRanks found_;
  std::vector<ZeroModelState> models_;          // by rank; the first is read whole
  std::vector<ZeroOptimizerState> optimizers_;  // by rank
  std::int64_t stage_ = 0;
  bool universal_ = false;
  std::uint64_t ranks_ = 0;
  std::unordered_map<std::string, std::size_t> by_name_;
};

}  // namespace

Weights open_zero(const std::string& tag_folder) {
  return ZeroReader(tag_folder).read();
}

Weights open_zero_optimizer(const std::string& tag_folder) {
  Weights weights;
  for (const ZeroFileName& name : list_zero_files(tag_folder).optimizer) {
    Weights file;
    add_torch_file(file, InputFile(join_path(tag_folder, name.name)));
    for (Tensor& tensor : file.tensors)
      tensor.name = fmt::format("optimizer.rank_{}.{}", name.rank.value_or(0), tensor.name);
    append_weights(weights, std::move(file));
  }
  return weights;
}

}  // namespace mu
