// SPDX-License-Identifier: Apache-2.0
// The files are read one after the other. Rank 0's tells which tensors there are; every further one must tell the
// same and adds its pieces. In the end the pieces of each tensor are sorted, copies are set apart, and what is
// left must tile the tensor.
//
// A plain tensor is one piece that is the whole tensor: then all ranks hold copies.
#include "weights/ranks/fsdp.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "weights/ranks/fsdp_files.h"
#include "weights/ranks/rank_file.h"
#include "weights/ranks/rank_names.h"
#include "weights/ranks/tiling.h"
#include "weights/torch/distributed.h"
#include "weights/torch/file.h"
#include "weights/torch/rank_place.h"
#include "weights/torch/tensors.h"

namespace mu {
namespace {

// What is kept of all pieces, in numbers: their places and what they take beside.
constexpr std::size_t kMaxNumbers = 60'000'000, kNumbersOfPiece = 16, kNumbersOfTensor = 64;

enum class Kept : std::uint8_t { kPlain, kDTensor, kSharded };

std::string_view kept_name(Kept kept) {
  return kept == Kept::kPlain ? "a plain tensor" : kept == Kept::kDTensor ? "a DTensor" : "a ShardedTensor";
}

// What one rank's file says of a tensor.
struct RankTensor {
  Kept kept = Kept::kPlain;
  Tensor tensor;                     // of the whole, with its type; of a plain one as the file has it
  std::vector<std::uint64_t> shape;  // as torch counts it
  std::vector<Placement> placements;
  std::vector<std::uint64_t> mesh;
  std::vector<Box> boxes;  // the pieces, without empty ones
  std::size_t pieces = 0;  // with empty ones
};

// The place of a piece in its file, for a region of the tensor.
Box box_of(const Tensor& piece, const Region& region) {
  Box box{piece.source, piece.offset, region.begin, region.size, row_major_strides(region.size)};
  if (!piece.layout) return box;
  const Layout& layout = *piece.layout;
  if (layout.swap_bytes || layout.conjugate || layout.negate || layout.inflated || layout.boxes.size() != 1)
    throw rule_error("FS-PIECE", "the rank's piece is stored in a way that is not read");
  box.strides = layout.boxes.front().strides;
  return box;
}

RankTensor plain_tensor(Tensor tensor) {
  RankTensor found;
  found.shape = tensor.layout && !tensor.layout->shape.empty() ? tensor.layout->shape : tensor.shape;
  if (tensor.dtype == Dtype::kF4 && !tensor.layout) found.shape.back() /= 2;  // a byte holds two values
  if (tensor.size > 0) {
    Region whole{std::vector<std::uint64_t>(found.shape.size(), 0), found.shape};
    found.boxes.push_back(box_of(tensor, whole));
  }
  found.tensor = std::move(tensor);
  return found;
}

RankTensor distributed_tensor(const Pickle& pickle, TorchStorages& storages, std::uint32_t source,
                              const std::string& name, const DistributedTensor& whole) {
  RankTensor found;
  found.kept = whole.kind == DistributedTensor::Kind::kDTensor ? Kept::kDTensor : Kept::kSharded;
  found.shape = whole.shape;
  found.placements = whole.placements;
  if (whole.mesh) found.mesh = whole.mesh->sizes;
  found.pieces = whole.pieces.size();
  found.tensor = {name, whole.type.dtype, written_shape(whole.type.dtype, whole.shape), source, 0, 0};
  found.tensor.size = element_count(whole.shape).value_or(0) * whole.type.bytes;
  for (const DistributedTensor::Piece& piece : whole.pieces) {
    const Tensor local = read_torch_tensor(pickle, storages, source, name, piece.tensor);
    check_piece(local, whole.type, piece.region);
    if (local.size > 0) found.boxes.push_back(box_of(local, piece.region));
  }
  if (found.tensor.dtype == Dtype::kForeign) {
    Layout layout;
    layout.type = whole.type.name;
    layout.element_bytes = whole.type.bytes;
    found.tensor.layout = std::make_shared<Layout>(std::move(layout));
  }
  return found;
}

// One rank's file while it is read.
class RankFile {
 public:
  RankFile(const std::string& path, std::uint32_t source, Findings& findings)
      : source_(source), input_(path), part_(open_rank_archive(input_, "FS", findings)) {
    require_harmless(pickle());
    nodes_ = list_tensor_nodes(*part_.object, findings, path);
    if (!part_.object->is_state_dict) throw rule_error("FS-KIND", "it holds no state dict");
    for (const NamedNode& node : nodes_) {
      if (node.name.find("_flat_param") != std::string::npos)
        throw rule_error("DC-FLAT", "flat parameters of FSDP: only the training program can cut them up")
            .hint("save with SHARDED_STATE_DICT or FULL_STATE_DICT");
    }
  }

  [[nodiscard]] const std::vector<NamedNode>& nodes() const { return nodes_; }
  [[nodiscard]] const TorchObject& object() const { return *part_.object; }
  [[nodiscard]] RankPlace place() { return find_rank_place(pickle(), part_.storages, input_); }

  RankTensor read(const NamedNode& node) {
    try {
      if (!is_distributed_tensor(pickle(), node.id))
        return plain_tensor(read_torch_tensor(pickle(), part_.storages, source_, node.name, node.id));
      if (!reader_) reader_.emplace(pickle());
      return distributed_tensor(pickle(), part_.storages, source_, node.name, reader_->read(node.id));
    } catch (Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      throw Error(error).at(fmt::format("tensor '{}'", escape_name(shorten(node.name, 100))));
    }
  }

  InputFile take() { return std::move(input_); }

 private:
  [[nodiscard]] const Pickle& pickle() const { return *part_.object->pickle; }

  std::uint32_t source_;
  InputFile input_;
  TorchArchive part_;
  std::vector<NamedNode> nodes_;
  std::optional<DistributedReader> reader_;
};

class FsdpReader {
 public:
  explicit FsdpReader(std::string folder) : folder_(std::move(folder)), names_(list_fsdp_files(folder_)) {}

  Weights read() {
    require_equal_steps();
    for (std::size_t rank = 0; rank < names_.model.size(); ++rank) {
      check_interrupt();
      const std::string path = join_path(folder_, names_.model[rank]);
      in_file(path, [&] { read_rank(path, rank); });
    }
    in_file(folder_, [&] {
      for (RankTensor& tensor : tensors_) finish(tensor);
    });
    describe();
    weights_.from_ranks = std::move(found_);
    return std::move(weights_);
  }

 private:
  void read_rank(const std::string& path, std::uint64_t rank) {
    RankFile file(path, static_cast<std::uint32_t>(weights_.files.size()), weights_.findings);
    require_own_rank(file, rank);
    if (rank == 0) {
      read_first(file);
    } else {
      read_further(file);
    }
    add_rank_file(weights_, file.take());
  }

  // A file that was renamed would fit in every other way.
  void require_own_rank(RankFile& file, std::uint64_t rank) {
    const RankPlace place = file.place();
    const std::uint64_t ranks = names_.model.size();
    const std::string& name = names_.model[rank];
    std::optional<std::uint64_t> own = place.rank;
    if (!own) {
      // The archive remembers under which name it was written.
      const std::optional<RankName> written =
          parse_rank_name(file.object().root_name + name.substr(name.rfind('.')));
      if (written) own = written->rank;
    }
    if (own && *own != rank)
      throw rule_error("FS-NAME", fmt::format("it was written by rank {}, its name says rank {}", *own, rank))
          .hint("give the files of the ranks their own names back");
    if (place.ranks > ranks || (place.ranks > 0 && place.ranks < ranks && !names_.are_counted))
      throw rule_error("FS-COUNT", fmt::format("it is of a run of {}, and files of {} are here",
                                               plural(place.ranks, "rank"), ranks))
          .hint("copy the files of all ranks into one folder");
  }

  void read_first(RankFile& file) {
    for (const NamedNode& node : file.nodes()) {
      index_.emplace(node.name, tensors_.size());
      RankTensor tensor = file.read(node);
      count(kNumbersOfTensor + node.name.size() / 4 + 3 * tensor.shape.size() + 4 * tensor.mesh.size());
      count(tensor);
      tensors_.push_back(std::move(tensor));
    }
    if (file.object().left_out_count > 0)
      found_.notes.push_back(fmt::format("left out, not tensors: {} of rank 0's file",
                                         plural(file.object().left_out_count, "value")));
  }

  void read_further(RankFile& file) {
    std::vector<bool> seen(tensors_.size(), false);
    for (const NamedNode& node : file.nodes()) {
      const auto known = index_.find(node.name);
      if (known == index_.end()) throw mixed(node.name, "rank 0's file has no such tensor").hint(kPipeline);
      seen[known->second] = true;
      RankTensor tensor = file.read(node);
      count(tensor);
      add(tensors_[known->second], std::move(tensor));
    }
    const auto missing = std::find(seen.begin(), seen.end(), false);
    if (missing != seen.end())
      throw mixed(tensors_[static_cast<std::size_t>(missing - seen.begin())].tensor.name,
                  "it is in rank 0's file and not here")
          .hint(kPipeline);
  }

  // Memory has a ceiling, whatever the files say. It holds the pieces of 500 ranks with 5,000 tensors.
  void count(std::size_t numbers) {
    numbers_ += numbers;
    if (numbers_ > kMaxNumbers) throw rule_error("FS-PIECE", "the tensors have more pieces than are read");
  }
  void count(const RankTensor& tensor) {
    count(std::max<std::size_t>(1, tensor.pieces) * (kNumbersOfPiece + 3 * tensor.shape.size()));
  }

  static constexpr std::string_view kPipeline =
      "if these are the stages of a pipeline, each with its own layers, save the whole model in the training "
      "program";

  static Error mixed(std::string_view name, std::string_view why) {
    return rule_error("FS-MIX", fmt::format("{}: files of two runs are mixed", why))
        .at(fmt::format("tensor '{}'", escape_name(shorten(name, 100))));
  }

  // Adds the pieces of a further rank, which must say the same of the whole tensor.
  static void add(RankTensor& whole, RankTensor more) {
    const Tensor& tensor = whole.tensor;
    if (more.shape != whole.shape || more.tensor.shape != tensor.shape)
      throw mixed(tensor.name, fmt::format("its shape is {}, in rank 0's file {}", tuple_text(more.shape),
                                           tuple_text(whole.shape)));
    if (more.tensor.dtype != tensor.dtype || type_text(more.tensor) != type_text(tensor))
      throw mixed(tensor.name,
                  fmt::format("it is {}, in rank 0's file {}", type_text(more.tensor), type_text(tensor)));
    if (more.kept != whole.kept)
      throw mixed(tensor.name,
                  fmt::format("it is {}, in rank 0's file {}", kept_name(more.kept), kept_name(whole.kept)));
    if (more.mesh != whole.mesh || more.placements != whole.placements)
      throw mixed(tensor.name, fmt::format("it is placed {} on a mesh of {}, in rank 0's file {} on {}",
                                           placements_text(more.placements), tuple_text(more.mesh),
                                           placements_text(whole.placements), tuple_text(whole.mesh)));
    std::move(more.boxes.begin(), more.boxes.end(), std::back_inserter(whole.boxes));
  }

  // Makes the tensor out of its pieces.
  void finish(RankTensor& whole) {
    Tensor& tensor = whole.tensor;
    const auto region_of = [](const Box& box) { return std::tie(box.begin, box.size); };
    // Stable: of several copies, that of the lowest rank is kept.
    std::stable_sort(whole.boxes.begin(), whole.boxes.end(),
                     [&](const Box& a, const Box& b) { return region_of(a) < region_of(b); });
    std::vector<Box> kept, copies;
    std::ptrdiff_t copies_of_first = 0;
    for (auto first = whole.boxes.begin(); first != whole.boxes.end();) {
      const auto last = std::find_if(first, whole.boxes.end(),
                                     [&](const Box& box) { return region_of(box) != region_of(*first); });
      if (kept.empty()) copies_of_first = last - first;
      if (last - first != copies_of_first)
        throw rule_error("FS-COUNT",
                         fmt::format("tensor '{}': of one piece there are {} copies, of another {}",
                                     escape_name(tensor.name), copies_of_first, last - first));
      kept.push_back(std::move(*first));
      std::move(first + 1, last, std::back_inserter(copies));
      first = last;
    }
    whole.boxes = {};
    const bool is_opaque = whole.kept == Kept::kPlain && kept.empty();
    if (!is_opaque) check_tiling(tensor.name, whole.shape, kept);
    lay_out(tensor, whole.shape, std::move(kept));
    if (!copies.empty()) found_.copies.push_back({tensor, std::move(copies)});
    weights_.tensors.push_back(std::move(tensor));
  }

  static void lay_out(Tensor& tensor, const std::vector<std::uint64_t>& shape, std::vector<Box> boxes) {
    if (boxes.empty()) return;
    tensor.source = boxes.front().source;
    tensor.offset = boxes.front().offset;
    const bool is_run = boxes.size() == 1 && is_row_major(boxes.front().size, boxes.front().strides);
    if (is_run && tensor.dtype != Dtype::kForeign) {
      tensor.layout.reset();
      return;
    }
    Layout layout;
    if (tensor.layout) {
      layout.type = tensor.layout->type;
      layout.element_bytes = tensor.layout->element_bytes;
    }
    layout.shape = shape;
    layout.boxes = std::move(boxes);
    tensor.layout = std::make_shared<Layout>(std::move(layout));
  }

  // The step as a file beside the model's tells it; nothing when it does not. What such a file does otherwise is
  // nothing to us: it is not packed.
  template <typename Read>
  std::optional<double> step_of(const std::string& name, Read read) {
    try {
      const InputFile input(join_path(folder_, name));
      Findings unused;
      TorchArchive archive = open_rank_archive(input, "FS", unused);
      return read(*archive.object->pickle, archive.storages, input);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      found_.notes.push_back(fmt::format("{} can't be read, so its step is not compared: {}",
                                         escape_name(name), error.message()));
      return std::nullopt;
    }
  }

  template <typename Read>
  void require_one_step(const std::vector<std::string>& names, Read read) {
    std::optional<double> first;
    std::string_view first_name;
    for (const std::string& name : names) {
      check_interrupt();
      const std::optional<double> step = step_of(name, read);
      if (!step) continue;
      if (!first) {
        first = step;
        first_name = name;
      }
      if (*step != *first)
        throw rule_error("FS-MIX",
                         fmt::format("it is of step {}, {} of step {}: files of two saves are mixed", *step,
                                     escape_name(first_name), *first))
            .in_file(escape_name(join_path(folder_, name)));
    }
  }

  void require_equal_steps() {
    require_one_step(names_.extra_states, [](const Pickle& p, TorchStorages&, const InputFile&) {
      const PickleId epoch = pickle_find(p, pickle_find(p, p.root(), "lr_scheduler"), "last_epoch");
      return epoch != kNoNode && p.kind(epoch) == PickleKind::kInt
                 ? std::optional(static_cast<double>(p.integer(epoch)))
                 : std::nullopt;
    });
    require_one_step(names_.optimizers, [](const Pickle& p, TorchStorages& storages, const InputFile& input) {
      const std::span<const PickleId> states = pickle_mapping(p, pickle_find(p, p.root(), "state"));
      constexpr std::size_t kLooked = 100;  // entries; the first has a step
      for (std::size_t i = 0; i < std::min(states.size(), 2 * kLooked); i += 2) {
        if (const std::optional<double> step = optimizer_step(p, states[i + 1], storages, input)) return step;
      }
      return std::optional<double>();
    });
  }

  void describe() {
    constexpr std::size_t kShown = 3;
    std::vector<std::uint64_t> mesh;      // the one with the most dimensions: others are parts of it
    std::vector<std::string> placements;  // each once
    for (const RankTensor& tensor : tensors_) {
      if (tensor.mesh.size() > std::max<std::size_t>(mesh.size(), 1)) mesh = tensor.mesh;
      if (tensor.kept != Kept::kDTensor || placements.size() > kShown) continue;
      std::string text = placements_text(tensor.placements);
      if (std::find(placements.begin(), placements.end(), text) == placements.end())
        placements.push_back(placements.size() < kShown ? std::move(text) : "…");
    }
    found_.origin = fmt::format("FSDP, {}", plural(names_.model.size(), "rank"));
    if (!mesh.empty()) found_.origin += fmt::format(", mesh of {}", fmt::join(mesh, " x "));
    if (!placements.empty()) found_.origin += ", placed " + join(placements, ", ");
  }

  std::string folder_;
  FsdpFiles names_;
  Weights weights_;
  FromRanks found_;
  std::size_t numbers_ = 0;
  std::vector<RankTensor> tensors_;  // in the order of rank 0's file
  std::unordered_map<std::string, std::size_t> index_;
};

}  // namespace

Weights open_fsdp(const std::string& folder) {
  return in_file(folder, [&] { return FsdpReader(folder).read(); });
}

}  // namespace mu
