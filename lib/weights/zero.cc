// SPDX-License-Identifier: Apache-2.0
// Stages 1 and 2 cut the parameters of a group, flattened and put end to end, into one part a rank: a
// parameter is a stretch of the parts put together again. Stage 3 cuts every parameter into one piece a rank,
// the last padded. Both give flat ranges of a few files for each parameter; nothing is read but the pickles.
#include "weights/zero.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <unordered_map>

#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/index.h"
#include "weights/torch_tensors.h"

namespace mu {
namespace {

Error broken(std::string_view rule, std::string message) {
  return malformed(fmt::format("{} [{}]", message, rule));
}

// "bf16_zero_pp_rank_3_mp_rank_00_optim_states.pt" and its kin.
struct RankFile {
  std::string name, prefix;  // "bf16_"
  bool optimizer = false;
  std::optional<std::uint64_t> rank;  // data-parallel; none for mp_rank_00_model_states.pt
  std::uint64_t model_rank = 0;
};

std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr == text.data()) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  return value;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

std::optional<RankFile> parse_rank_file(std::string_view name) {
  RankFile file;
  file.name = name;
  std::string_view rest = name;
  for (const std::string_view prefix : {"bf16_", "fp16_"}) {
    if (take(rest, prefix)) file.prefix = prefix;
  }
  if (take(rest, "zero_pp_rank_")) {
    file.rank = take_number(rest);
    if (!file.rank || !take(rest, "_")) return std::nullopt;
  }
  if (!take(rest, "mp_rank_")) return std::nullopt;
  const std::optional<std::uint64_t> model_rank = take_number(rest);
  if (!model_rank) return std::nullopt;
  file.model_rank = *model_rank;
  take(rest, "_");
  if (rest != "optim_states.pt" && rest != "model_states.pt") return std::nullopt;
  file.optimizer = rest == "optim_states.pt";
  if (file.optimizer && !file.rank) return std::nullopt;
  return file;
}

// Files that mean another way of parallel training.
void refuse_other_kinds(const std::vector<FolderEntry>& entries) {
  for (const FolderEntry& entry : entries) {
    const std::string& name = entry.name;
    const bool states = name.ends_with("_states.pt");
    if (states && (name.find("expert_") != std::string::npos || name.starts_with("expp_rank_")))
      throw broken("ZR-MOE", "experts are split over other ranks (" + escape_name(name) +
                                 "): mixture-of-experts checkpoints are not read");
    if (states && name.starts_with("layer_"))
      throw broken("ZR-PIPE", "a pipeline-parallel checkpoint (" + escape_name(name) +
                                  "): its parameters are numbered by layer, not named");
    if (name == "offloaded_tensors")
      throw broken(
          "ZR-NVME",
          "the optimizer was offloaded to NVMe; its weights lie in offloaded_tensors/ as raw swap files");
  }
}

// One file of a rank, opened.
struct Part {
  RankFile file;
  std::uint32_t source = 0;
  TorchPart torch;

  [[nodiscard]] const Pickle& pickle() const { return *torch.object->pickle; }
  [[nodiscard]] PickleId root(std::string_view key) const {
    return pickle_find(pickle(), pickle().root(), key);
  }
};

std::optional<std::int64_t> int_of(const Pickle& p, PickleId id) {
  if (id == kNoNode) return std::nullopt;
  if (p.kind(id) == PickleKind::kInt) return p.integer(id);
  // ZeroStageEnum(2)
  if (p.kind(id) == PickleKind::kCall && p.items(p.call(id).args).size() == 1)
    return int_of(p, p.items(p.call(id).args)[0]);
  return std::nullopt;
}

std::vector<std::uint64_t> shape_of(const Pickle& p, PickleId id) {
  if (p.kind(id) == PickleKind::kCall && p.items(p.call(id).args).size() == 1)
    id = p.items(p.call(id).args)[0];
  std::vector<std::uint64_t> shape;
  if (p.kind(id) != PickleKind::kTuple && p.kind(id) != PickleKind::kList)
    throw broken("ZR-SHAPE", "a shape is no list of numbers");
  for (const PickleId item : p.items(id)) {
    if (p.kind(item) != PickleKind::kInt || p.integer(item) < 0)
      throw broken("ZR-SHAPE", "a shape is no list of numbers");
    shape.push_back(static_cast<std::uint64_t>(p.integer(item)));
  }
  if (shape.size() > 64 || !element_count(shape) || !checked_mul(*element_count(shape), 8))
    throw broken("ZR-SHAPE", "a shape overflows");
  return shape;
}

struct NamedShape {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::uint64_t count;
};

std::vector<NamedShape> shapes_of(const Pickle& p, PickleId mapping) {
  std::vector<NamedShape> shapes;
  const std::span<const PickleId> pairs = pickle_mapping(p, mapping);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    std::vector<std::uint64_t> shape = shape_of(p, pairs[i + 1]);
    const std::uint64_t count = *element_count(shape);
    shapes.push_back({std::string(p.text(pairs[i])), std::move(shape), count});
  }
  return shapes;
}

// A flat run of elements in one file.
struct Run {
  Dtype dtype;
  std::uint32_t source;
  std::uint64_t offset, count;
};

class ZeroReader {
 public:
  explicit ZeroReader(std::string folder) : folder_(std::move(folder)) {}

  Weights read() {
    open_files();
    if (model_.empty())
      throw broken("ZR-MODEL", "the model's names and shapes are missing: there is no *_model_states.pt")
          .in_file(escape_name(folder_));
    check_parallelism();
    universal_ = is_folder(join_path(folder_, "zero"));
    read_stage();
    check_mixture();
    if (universal_) {
      gather_universal();
      gather_frozen();
      take_module(!model().file.rank.has_value());
      add_shared_names();
    } else if (stage_ == 0) {
      take_module(true);
    } else {
      gather_groups();
      gather_partitions();
      gather_frozen();
      take_module(stage_ < 3);
      add_shared_names();
      check_lost();
    }
    order_tensors();
    describe();
    return std::move(weights_);
  }

 private:
  [[nodiscard]] const Part& model() const { return model_.front(); }

  void open_files() {
    const std::vector<FolderEntry> entries = list_folder(folder_);
    refuse_other_kinds(entries);
    std::vector<RankFile> files;
    for (const FolderEntry& entry : entries) {
      if (std::optional<RankFile> file = parse_rank_file(entry.name)) files.push_back(std::move(*file));
    }
    // By number: as text, 10 would come before 9.
    std::sort(files.begin(), files.end(), [](const RankFile& a, const RankFile& b) {
      return std::pair(a.optimizer, a.rank.value_or(0)) < std::pair(b.optimizer, b.rank.value_or(0));
    });
    for (RankFile& file : files) {
      if (file.model_rank != 0) throw model_parallel(file.name);
      open_file(std::move(file));
    }
    for (const Part& part : optimizer_) {
      if (part.file.prefix != optimizer_.front().file.prefix)
        throw broken("ZR-MIX", "optimizer files of two precisions are mixed: " +
                                   escape_name(optimizer_.front().file.name) + " and " +
                                   escape_name(part.file.name))
            .in_file(escape_name(folder_));
    }
  }

  void open_file(RankFile file) {
    const std::string path = join_path(folder_, file.name);
    try {
      InputFile input(path);
      Part part{std::move(file), static_cast<std::uint32_t>(weights_.files.size()),
                open_torch_part(input, 0, input.size(), weights_.findings)};
      // The archive remembers under which name it was written: swapped rank files fit in every other way.
      const std::string& root = part.torch.object->root_name;
      const std::string stem = part.file.name.substr(0, part.file.name.rfind('.'));
      if (!root.empty() && root != "archive" && root != stem)
        throw broken("ZR-NAME", fmt::format("it was written as '{}.pt' and renamed", escape_name(root)));
      const PickleReport report = report_pickle(part.pickle());
      if (report.worst == Verdict::kDangerous)
        throw malformed(fmt::format("its pickle names '{}', which is dangerous to load",
                                    escape_name(report.globals.front().name)));
      const std::uint64_t size = input.size();
      weights_.files.push_back(
          {.name = path, .file = std::move(input), .size = size, .data_begin = 0, .metadata = {}});
      (part.file.optimizer ? optimizer_ : model_).push_back(std::move(part));
    } catch (Error& error) {
      if (error.kind() == ErrorKind::kMalformed && error.message().find("no end record") != std::string::npos)
        throw broken("ZR-TORN", "the file is cut: the save did not finish").in_file(escape_name(path));
      throw error.in_file(escape_name(path));
    }
  }

  Error model_parallel(const std::string& what) const {
    return broken("ZR-TP", "saved with model (tensor) parallelism (" + escape_name(what) +
                               "): the parts can't be joined without the sharding rules")
        .in_file(escape_name(folder_))
        .hint("convert it with ds_to_universal.py, or save with gathered weights");
  }

  void check_parallelism() const {
    const Pickle& p = model().pickle();
    if (int_of(p, model().root("mp_world_size")).value_or(1) > 1) throw model_parallel("mp_world_size");
    const PickleId module = model().root("module");
    if (module == kNoNode || p.kind(module) == PickleKind::kNone)
      throw broken("ZR-PIPE", "a pipeline-parallel checkpoint: the module is not in the model file")
          .in_file(escape_name(weights_.files[model().source].name));
  }

  PickleId inner(const Part& part, std::string_view key) const {
    const PickleId state = part.root("optimizer_state_dict");
    return state == kNoNode ? kNoNode : pickle_find(part.pickle(), state, key);
  }

  // Number of ranks that a file says it belongs to.
  std::optional<std::uint64_t> partitions(const Part& part) const {
    const PickleId id = inner(part, "partition_count");
    if (id == kNoNode) return std::nullopt;
    const Pickle& p = part.pickle();
    std::optional<std::int64_t> most = int_of(p, id);
    if (p.kind(id) == PickleKind::kList) {
      std::int64_t least = std::numeric_limits<std::int64_t>::max();
      for (const PickleId item : p.items(id)) {
        const std::int64_t n = int_of(p, item).value_or(0);
        most = std::max(most.value_or(0), n);
        least = std::min(least, n);
      }
      if (most && least != *most)
        throw broken("ZR-MOE", "parameter groups are split over different numbers of ranks")
            .in_file(escape_name(weights_.files[part.source].name));
    }
    if (!most || *most < 1 || *most > 1'000'000)
      throw broken("ZR-SIZE", "its partition_count makes no sense")
          .in_file(escape_name(weights_.files[part.source].name));
    return static_cast<std::uint64_t>(*most);
  }

  void read_stage() {
    const PickleId shapes = model().root("param_shapes");
    if (universal_) {
      stage_ = model().file.rank ? 3 : 2;
      ranks_ = model().file.rank ? model_.size() : 1;
      return;
    }
    if (optimizer_.empty()) {
      const Pickle& p = model().pickle();
      if (model().file.rank ||
          (shapes != kNoNode && p.kind(shapes) != PickleKind::kNone && zero_configured() >= 3))
        throw broken("ZR-COUNT", "the optimizer files, which hold the weights, are missing")
            .in_file(escape_name(folder_));
      stage_ = 0;
      ranks_ = 1;
      return;
    }
    const Part& first = optimizer_.front();
    if (inner(first, "fp32_flat_groups") != kNoNode) {
      stage_ = 3;
    } else if (inner(first, "single_partition_of_fp32_groups") != kNoNode) {
      stage_ = static_cast<int>(int_of(first.pickle(), inner(first, "zero_stage")).value_or(1));
    } else {
      throw broken("ZR-KIND", "it holds no flat master weights")
          .in_file(escape_name(weights_.files[first.source].name));
    }
    if (stage_ < 1 || stage_ > 3)
      throw broken("ZR-KIND", fmt::format("ZeRO stage {} is unknown", stage_))
          .in_file(escape_name(weights_.files[first.source].name));
    const std::optional<std::uint64_t> declared = partitions(first);
    if (!declared)
      throw broken("ZR-COUNT", "it does not say how many ranks there were")
          .in_file(escape_name(weights_.files[first.source].name));
    ranks_ = *declared;
    require_ranks(optimizer_, "optimizer");
  }

  int zero_configured() const {
    const Pickle& p = model().pickle();
    const PickleId config = model().root("ds_config");
    if (config == kNoNode) return 0;
    const PickleId zero = pickle_find(p, config, "zero_optimization");
    return zero == kNoNode ? 0 : static_cast<int>(int_of(p, pickle_find(p, zero, "stage")).value_or(0));
  }

  void require_ranks(const std::vector<Part>& parts, std::string_view what) const {
    std::set<std::uint64_t> present;
    for (const Part& part : parts) present.insert(part.file.rank.value_or(0));
    if (present.size() == parts.size() && parts.size() == ranks_ && *present.rbegin() == ranks_ - 1) return;
    std::vector<std::string> missing;
    for (std::uint64_t rank = 0; rank < ranks_ && missing.size() < 9; ++rank) {
      if (!present.contains(rank)) missing.push_back(std::to_string(rank));
    }
    if (missing.size() == 9) missing.back() = "…";
    throw broken(what == "optimizer" ? "ZR-COUNT" : "ZR-MODEL",
                 fmt::format("saved by {}, {} {} files are here{}", plural(ranks_, "rank"), parts.size(),
                             what, missing.empty() ? "" : "; missing: rank " + join(missing, ", ")))
        .in_file(escape_name(folder_))
        .hint("multi-node runs leave each node's files on its own disk: copy them together");
  }

  void check_mixture() const {
    const auto text = [](const Part& part, std::string_view key) {
      const PickleId id = part.root(key);
      if (id == kNoNode) return std::string();
      const std::optional<std::int64_t> number = int_of(part.pickle(), id);
      return number ? std::to_string(*number) : std::string(part.pickle().text(id));
    };
    for (const std::vector<Part>* parts : {&model_, &optimizer_}) {
      for (const Part& part : *parts) {
        for (const std::string_view key : {"ds_version", "global_steps", "dp_world_size"}) {
          const std::string a = text(parts->front(), key), b = text(part, key);
          if (a != b)
            throw broken("ZR-MIX",
                         fmt::format("files of two saves are mixed: {} is {} here and {} in {}", key,
                                     escape_name(b), escape_name(a), escape_name(parts->front().file.name)))
                .in_file(escape_name(weights_.files[part.source].name));
        }
        if (part.file.optimizer && partitions(part) != ranks_)
          throw broken("ZR-MIX", fmt::format("it belongs to {} ranks, {} to {}", partitions(part).value_or(0),
                                             escape_name(optimizer_.front().file.name), ranks_))
              .in_file(escape_name(weights_.files[part.source].name));
      }
    }
  }

  // The flat tensors of one rank, one a group.
  std::vector<Run> flat_groups(Part& part, std::string_view key) {
    const PickleId list = inner(part, key);
    const Pickle& p = part.pickle();
    std::vector<Run> runs;
    if (list == kNoNode || p.kind(list) != PickleKind::kList)
      throw broken("ZR-KIND", fmt::format("it has no list {}", key))
          .in_file(escape_name(weights_.files[part.source].name));
    for (const PickleId node : p.items(list)) runs.push_back(flat_tensor(part, node, std::string(key)));
    return runs;
  }

  Run flat_tensor(Part& part, PickleId node, const std::string& what) {
    try {
      const Tensor tensor = read_torch_tensor(part.pickle(), part.torch.storages, part.source, what, node);
      if (tensor.layout || tensor.shape.size() != 1) throw broken("ZR-SHAPE", "it is no flat run of numbers");
      return {tensor.dtype, part.source, tensor.offset, tensor.shape[0]};
    } catch (Error& error) {
      throw Error(error.kind(), fmt::format("'{}': {}", escape_name(what), error.message()))
          .in_file(escape_name(weights_.files[part.source].name));
    }
  }

  // A tensor put together from flat runs, in order.
  void add_flat(const std::string& name, const std::vector<std::uint64_t>& shape,
                const std::vector<Run>& runs) {
    const std::uint64_t count = *element_count(shape);
    Tensor tensor{name, runs.empty() ? Dtype::kF32 : runs.front().dtype, shape, 0, 0, 0};
    tensor.size = count * (bits(tensor.dtype) / 8);
    Layout layout;
    layout.shape = {count};
    std::uint64_t at = 0;
    for (const Run& run : runs) {
      if (run.dtype != tensor.dtype)
        throw broken("ZR-MIX", "ranks disagree on the dtype of '" + escape_name(name) + "'")
            .in_file(escape_name(folder_));
      if (run.count == 0) continue;
      layout.boxes.push_back({run.source, run.offset, {at}, {run.count}, {1}});
      at += run.count;
    }
    if (at != count)
      throw broken("ZR-SIZE", "the shares of '" + escape_name(name) + "' don't make it whole")
          .in_file(escape_name(folder_));
    if (layout.boxes.size() == 1) {
      tensor.source = layout.boxes[0].source;
      tensor.offset = layout.boxes[0].offset;
    } else if (count > 0) {
      tensor.source = layout.boxes.front().source;
      tensor.layout = std::make_shared<Layout>(std::move(layout));
    }
    add(std::move(tensor));
  }

  void add(Tensor tensor) {
    if (!by_name_.emplace(tensor.name, weights_.tensors.size()).second) return;  // rebuilt already
    weights_.tensors.push_back(std::move(tensor));
  }

  static std::uint64_t count_of(const std::vector<Run>& runs) {
    return std::accumulate(runs.begin(), runs.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const Run& run) { return sum + run.count; });
  }

  // Elements [from, from + count) of runs put end to end.
  static std::vector<Run> stretch(const std::vector<Run>& runs, std::uint64_t from, std::uint64_t count) {
    std::vector<Run> out;
    for (const Run& run : runs) {
      if (count == 0) break;
      if (from >= run.count) {
        from -= run.count;
        continue;
      }
      const std::uint64_t here = std::min(count, run.count - from);
      out.push_back({run.dtype, run.source, run.offset + from * (bits(run.dtype) / 8), here});
      count -= here;
      from = 0;
    }
    return out;
  }

  std::vector<PickleId> group_shapes() const {
    const Pickle& p = model().pickle();
    const PickleId shapes = model().root("param_shapes");
    if (shapes == kNoNode || p.kind(shapes) != PickleKind::kList)
      throw broken("ZR-SHAPE", "it has no param_shapes")
          .in_file(escape_name(weights_.files[model().source].name));
    const std::span<const PickleId> groups = p.items(shapes);
    return {groups.begin(), groups.end()};
  }

  Error wrong_size(std::size_t group, std::uint64_t needed, std::uint64_t stored) const {
    return broken("ZR-SIZE",
                  fmt::format("group {} needs {} values, the {} have {}: a rank's file is from another run",
                              group, group_digits(needed), plural(ranks_, "rank"), group_digits(stored)))
        .in_file(escape_name(folder_));
  }

  // Stages 1 and 2, and the BF16 engine.
  void gather_groups() {
    if (stage_ == 3) return;
    const std::vector<PickleId> shapes = group_shapes();
    std::vector<std::vector<Run>> groups(shapes.size());
    for (Part& part : optimizer_) {
      const std::vector<Run> flat = flat_groups(part, "single_partition_of_fp32_groups");
      if (flat.size() != shapes.size())
        throw broken("ZR-SIZE", fmt::format("it has {} groups of weights, the model file {}", flat.size(),
                                            shapes.size()))
            .in_file(escape_name(weights_.files[part.source].name));
      for (std::size_t g = 0; g < flat.size(); ++g) groups[g].push_back(flat[g]);
    }
    for (std::size_t g = 0; g < shapes.size(); ++g) {
      const std::vector<std::uint64_t> gaps = alignment_gaps(g);
      const std::uint64_t stored = count_of(groups[g]);
      std::uint64_t at = 0;
      std::size_t i = 0;
      for (const NamedShape& parameter : shapes_of(model().pickle(), shapes[g])) {
        const std::optional<std::uint64_t> end = checked_add(at, parameter.count);
        if (!end || *end > stored) throw wrong_size(g, end.value_or(~std::uint64_t{0}), stored);
        add_flat(parameter.name, parameter.shape, stretch(groups[g], at, parameter.count));
        at = *end;
        if (i < gaps.size()) at = checked_add(at, gaps[i]).value_or(~std::uint64_t{0});
        ++i;
      }
      // What may be left is padding to a multiple of twice the ranks.
      const std::uint64_t unit = 2 * ranks_;
      if (at > stored || (at + unit - 1) / unit != (stored + unit - 1) / unit)
        throw wrong_size(g, at, stored);
    }
  }

  std::vector<std::uint64_t> alignment_gaps(std::size_t group) const {
    const Part& part = optimizer_.front();
    const Pickle& p = part.pickle();
    const PickleId lists = inner(part, "param_alignment_paddings");
    std::vector<std::uint64_t> gaps;
    if (lists == kNoNode || p.kind(lists) != PickleKind::kList || group >= p.items(lists).size()) return gaps;
    for (const PickleId item : p.items(p.items(lists)[group]))
      gaps.push_back(static_cast<std::uint64_t>(std::max<std::int64_t>(0, int_of(p, item).value_or(0))));
    return gaps;
  }

  void gather_partitions() {
    if (stage_ != 3) return;
    std::vector<std::vector<Run>> ranks;
    for (Part& part : optimizer_) ranks.push_back(flat_groups(part, "fp32_flat_groups"));
    std::vector<PickleId> shapes = group_shapes();
    const bool one_walk = std::any_of(ranks.begin(), ranks.end(),
                                      [&](const auto& flat) { return flat.size() != shapes.size(); });
    // Sub-groups otherwise than in the model file: all of them end to end.
    const std::size_t walks = one_walk ? 1 : shapes.size();
    for (std::size_t walk = 0; walk < walks; ++walk) {
      std::vector<std::vector<Run>> flat;
      for (const std::vector<Run>& rank : ranks)
        flat.push_back(one_walk ? rank : std::vector<Run>{rank[walk]});
      for (const std::vector<Run>& rank : flat) {
        if (count_of(rank) != count_of(flat.front()))
          throw broken("ZR-SIZE", fmt::format("ranks hold {} and {} values of group {}",
                                              count_of(flat.front()), count_of(rank), walk))
              .in_file(escape_name(folder_));
      }
      std::uint64_t at = 0;
      const std::uint64_t stored = count_of(flat.front());
      for (std::size_t g = one_walk ? 0 : walk; g < (one_walk ? shapes.size() : walk + 1); ++g) {
        for (const NamedShape& parameter : shapes_of(model().pickle(), shapes[g]))
          at = add_partitioned(parameter, flat, at, stored, walk);
      }
      if (at != stored) throw wrong_size(walk, at * ranks_, stored * ranks_);
    }
  }

  // Every rank holds ceil(count / ranks) values; the last ones are padded.
  std::uint64_t add_partitioned(const NamedShape& parameter, const std::vector<std::vector<Run>>& flat,
                                std::uint64_t at, std::uint64_t stored, std::size_t group) {
    const std::uint64_t share = parameter.count / ranks_ + (parameter.count % ranks_ != 0 ? 1 : 0);
    if (share > stored - at) throw wrong_size(group, (at + share) * ranks_, stored * ranks_);
    std::vector<Run> runs;
    std::uint64_t left = parameter.count;
    for (const std::vector<Run>& rank : flat) {
      const std::uint64_t here = std::min(share, left);
      for (const Run& run : stretch(rank, at, here)) runs.push_back(run);
      left -= here;
    }
    add_flat(parameter.name, parameter.shape, runs);
    return at + share;
  }

  // A universal checkpoint: zero/NAME/fp32.pt of each parameter, whole, or flat when it comes from stage 3.
  void gather_universal() {
    for (const PickleId group : group_shapes()) {
      for (const NamedShape& parameter : shapes_of(model().pickle(), group)) {
        if (const std::optional<std::string_view> why = unsafe_name(parameter.name))
          throw broken("ZR-LOST",
                       fmt::format("the name '{}' is not followed: {}", escape_name(parameter.name), *why))
              .in_file(escape_name(folder_));
        const std::string path = join_path(join_path(join_path(folder_, "zero"), parameter.name), "fp32.pt");
        if (!exists(path)) throw lost({parameter.name});
        InputFile input(path);
        const auto source = static_cast<std::uint32_t>(weights_.files.size());
        try {
          TorchPart part = open_torch_part(input, 0, input.size(), weights_.findings);
          const Pickle& p = *part.object->pickle;
          const PickleId param = pickle_find(p, p.root(), "param");
          Tensor tensor = read_torch_tensor(p, part.storages, source, parameter.name,
                                            param == kNoNode ? p.root() : param);
          const bool flat = tensor.shape == std::vector<std::uint64_t>{parameter.count} && !tensor.layout;
          if (tensor.shape != parameter.shape && !flat)
            throw broken("ZR-SHAPE", "it has another shape than the model file says");
          tensor.shape = parameter.shape;
          add(std::move(tensor));
        } catch (Error& error) {
          throw error.in_file(escape_name(path));
        }
        const std::uint64_t size = input.size();
        weights_.files.push_back(
            {.name = path, .file = std::move(input), .size = size, .data_begin = 0, .metadata = {}});
      }
    }
  }

  // Frozen parameters: whole in stages 1 and 2, a piece a rank in stage 3.
  void gather_frozen() {
    const PickleId shapes = model().root("frozen_param_shapes");
    if (shapes == kNoNode || pickle_mapping(model().pickle(), shapes).empty()) return;
    if (stage_ == 3) require_ranks(model_, "model");
    for (const NamedShape& parameter : shapes_of(model().pickle(), shapes)) {
      const std::uint64_t share =
          stage_ == 3 ? parameter.count / ranks_ + (parameter.count % ranks_ != 0 ? 1 : 0) : parameter.count;
      std::vector<Run> runs;
      std::uint64_t left = parameter.count;
      for (Part& part : model_) {
        const PickleId fragments = part.root("frozen_param_fragments");
        const PickleId node =
            fragments == kNoNode ? kNoNode : pickle_find(part.pickle(), fragments, parameter.name);
        if (node == kNoNode) throw lost({parameter.name});
        if (stage_ < 3) {
          add_whole(part, parameter.name, node);
          left = 0;
          break;
        }
        const Run run = flat_tensor(part, node, parameter.name);
        if (run.count != share)
          throw broken("ZR-SHAPE", fmt::format("the piece of '{}' has {} values, not {}",
                                               escape_name(parameter.name), run.count, share))
              .in_file(escape_name(weights_.files[part.source].name));
        const std::uint64_t here = std::min(share, left);
        runs.push_back({run.dtype, run.source, run.offset, here});
        left -= here;
      }
      if (stage_ == 3) add_flat(parameter.name, parameter.shape, runs);
    }
  }

  void add_whole(Part& part, const std::string& name, PickleId node) {
    try {
      add(read_torch_tensor(part.pickle(), part.torch.storages, part.source, name, node));
    } catch (Error& error) {
      throw Error(error.kind(), fmt::format("'{}': {}", escape_name(name), error.message()))
          .in_file(escape_name(weights_.files[part.source].name));
    }
  }

  // What `module` holds and was not put together from shares: buffers, and all the rest where `all`.
  void take_module(bool all) {
    Part& part = model_.front();
    const Pickle& p = part.pickle();
    std::set<std::string_view> buffers;
    if (const PickleId names = part.root("buffer_names"); names != kNoNode) {
      for (const PickleId name : p.items(names)) buffers.insert(p.text(name));
    }
    const std::span<const PickleId> pairs = pickle_mapping(p, part.root("module"));
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const std::string name(p.text(pairs[i]));
      module_order_.push_back(name);
      if (!is_tensor_node(p, pairs[i + 1])) continue;
      if (by_name_.contains(name)) {
        if (all) keep_copy(part, name, pairs[i + 1]);
        continue;
      }
      if (all ? !is_alias(name) : buffers.contains(name)) add_whole(part, name, pairs[i + 1]);
    }
  }

  void keep_copy(Part& part, const std::string& name, PickleId node) {
    Tensor copy = read_torch_tensor(part.pickle(), part.torch.storages, part.source, name, node);
    if (bits(copy.dtype) == 16) weights_.training_copies.emplace(name, std::move(copy));
  }

  bool is_alias(const std::string& name) const {
    const PickleId shared = model().root("shared_params");
    return shared != kNoNode && pickle_find(model().pickle(), shared, name) != kNoNode && stage_ > 0;
  }

  void add_shared_names() {
    const Pickle& p = model().pickle();
    const PickleId shared = model().root("shared_params");
    const std::span<const PickleId> pairs = pickle_mapping(p, shared);
    for (std::size_t i = 0; i < pairs.size(); i += 2) {
      const auto kept = by_name_.find(std::string(p.text(pairs[i + 1])));
      if (kept == by_name_.end()) throw lost({std::string(p.text(pairs[i + 1]))});
      Tensor tensor = weights_.tensors[kept->second];
      tensor.name = p.text(pairs[i]);
      add(std::move(tensor));
    }
  }

  Error lost(const std::vector<std::string>& names) const {
    std::vector<std::string> shown(
        names.begin(), names.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(3, names.size())));
    return broken("ZR-LOST",
                  fmt::format("the values of {} are in no file: {}{}", plural(names.size(), "parameter"),
                              escape_name(join(shown, ", ")), names.size() > 3 ? ", …" : ""))
        .in_file(escape_name(folder_))
        .hint("frozen weights were not saved (DeepSpeed before 0.9.1)");
  }

  void check_lost() const {
    if (stage_ != 3) return;
    std::vector<std::string> names;
    for (const std::string& name : module_order_) {
      if (!by_name_.contains(name)) names.push_back(name);
    }
    if (!names.empty()) throw lost(names);
  }

  // As the model orders its names, then what it does not name.
  void order_tensors() {
    std::unordered_map<std::string_view, std::size_t> place;
    for (std::size_t i = 0; i < module_order_.size(); ++i) place.emplace(module_order_[i], i);
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
    const Pickle& p = model().pickle();
    const std::optional<std::int64_t> step = int_of(p, model().root("global_steps"));
    const PickleId version = model().root("ds_version");
    weights_.origin =
        fmt::format("DeepSpeed {} stage {}, {}{}{}", universal_ ? "universal checkpoint of ZeRO" : "ZeRO",
                    stage_, plural(ranks_, "rank"), step ? fmt::format(", step {}", *step) : "",
                    version == kNoNode ? "" : ", DeepSpeed " + escape_name(p.text(version)));
    if (stage_ == 0 && !p.items(p.root()).empty())
      weights_.notes.emplace_back("the weights are those of the model file, in the dtype of the training");
    std::set<Dtype> types;
    for (const Tensor& tensor : weights_.tensors) {
      if (is_floating(tensor.dtype)) types.insert(tensor.dtype);
    }
    if (stage_ > 0 && types.contains(Dtype::kF32) && types.size() > 1)
      weights_.notes.emplace_back("trained weights are fp32, frozen ones keep the dtype of the training");
  }

  std::string folder_;
  Weights weights_;
  std::vector<Part> model_, optimizer_;  // by rank
  int stage_ = 0;
  bool universal_ = false;
  std::uint64_t ranks_ = 0;
  std::unordered_map<std::string, std::size_t> by_name_;
  std::vector<std::string> module_order_;
};

}  // namespace

bool is_zero_folder(const std::string& path) {
  if (!is_folder(path)) return false;
  const std::vector<FolderEntry> entries = list_folder(path);
  return std::any_of(entries.begin(), entries.end(),
                     [](const FolderEntry& entry) { return entry.name.ends_with("_states.pt"); });
}

std::string zero_tag_folder(const std::string& folder) {
  const std::string path = join_path(folder, "latest");
  const std::string tag(trim(read_whole_file(path, 4096)));
  const std::optional<std::string_view> why =
      tag.find('/') != std::string::npos ? "it leads elsewhere" : unsafe_name(tag);
  if (why)
    throw broken("ZR-LATEST", fmt::format("the tag '{}' is not followed: {}", escape_name(tag), *why))
        .in_file(escape_name(path));
  if (is_folder(join_path(folder, tag))) return join_path(folder, tag);
  std::vector<std::string> present;
  for (const FolderEntry& entry : list_folder(folder)) {
    if (entry.kind == FolderEntry::Kind::kFolder) present.push_back(entry.name);
  }
  throw broken("ZR-LATEST", fmt::format("it names {}, which is not here; present: {}", escape_name(tag),
                                        present.empty() ? "no folder" : escape_name(join(present, ", "))))
      .in_file(escape_name(path));
}

Weights open_zero(const std::string& tag_folder) {
  return ZeroReader(tag_folder).read();
}

}  // namespace mu
