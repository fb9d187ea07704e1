// SPDX-License-Identifier: Apache-2.0
// Assembles the adapter from what was found: its tensors, which read the factors from the temporary file, and
// its config. All modules get one rank, the largest found, since that is the only layout that every reader
// scales alike; smaller ranks are padded with zeros while they are read. The experts of a stack, which were
// factorised one by one, become one pair of factors in PEFT's layout. The config names targets as briefly as
// is unambiguous.

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "lora/extract.h"
#include "lora/made_config.h"
#include "lora/pair.h"
#include "lora/products.h"
#include "lora/served_names.h"
#include "model/families.h"
#include "tensor/cast.h"
#include "weights/computed.h"
#include "weights/layout.h"
#include "weights/leaves.h"

namespace mu {
namespace {

// The factors of one module: those of a matrix, or of the E matrices of a stack of experts. A is [E rank,
// in], the experts one below the other; B is [out, rank E], the experts of each component side by side.
// Beyond the own rank of an expert they are zero.
struct ModuleFactors {
  std::vector<FoundTensor> experts;  // one for a matrix
  std::size_t rank = 0, in = 0, out = 0;

  // Writes elements of A from `first` on into `values`, which holds zeros.
  void read_a(std::size_t first, std::span<float> values) const {
    for (std::size_t done = 0; done < values.size();) {
      const std::size_t row = (first + done) / in, column = (first + done) % in;
      const std::span<float> piece = values.subspan(done, std::min(in - column, values.size() - done));
      const FoundTensor& expert = experts[row / rank];
      if (row % rank < expert.rank)
        expert.read(expert.offset + (row % rank * in + column) * sizeof(float),
                    std::as_writable_bytes(piece));
      done += piece.size();
    }
  }

  // Writes elements of B from `first` on into `values`, which holds zeros.
  void read_b(std::size_t first, std::span<float> values) const {
    if (values.empty()) return;
    const std::size_t columns = rank * experts.size();
    const std::size_t begin = first / columns, end = (first + values.size() - 1) / columns + 1;
    std::vector<float> rows;
    for (std::size_t e = 0; e < experts.size(); ++e) {
      const FoundTensor& expert = experts[e];
      if (expert.rank == 0) continue;
      rows.resize((end - begin) * expert.rank);
      expert.read(expert.offset + (in + begin) * expert.rank * sizeof(float),
                  std::as_writable_bytes(std::span(rows)));
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::size_t row = begin + i / expert.rank, column = i % expert.rank * experts.size() + e;
        const std::size_t at = row * columns + column;
        if (at >= first && at - first < values.size()) values[at - first] = rows[i];
      }
    }
  }
};

class Assembly {
 public:
  Assembly(const PairPlan& plan, std::vector<FoundTensor> found, const PairRunOptions& options)
      : plan_(plan), found_(std::move(found)), o_(options) {}

  PairResult run(Input tuned) {
    auto files = std::make_shared<Weights>();
    files->files = tuned.weights.files;
    files_ = std::move(files);
    rank_ = uniform_rank();
    find_targets();
    result_.kernel = Products(o_.kernel).name();
    for (std::size_t i = 0, end = 0; i < plan_.tensors.size(); i = end) {
      const PairTensor& pair = plan_.tensors[i];
      end = i + 1;
      while (pair.in_stack && end < plan_.tensors.size() && plan_.tensors[end].parameter == pair.parameter)
        ++end;
      if (is_matrix(pair))
        add_module(i, end);
      else if (pair.kind == PairKind::kFull ? whole_modules_.contains(saved_module(pair)) : found_[i].changed)
        add_other(pair, found_[i]);
    }
    LoraConfig& config = result_.config;
    config = make_config(modules_, {}, base_modules_, o_.alpha.value_or(static_cast<double>(rank_)));
    config.rank = rank_;
    config.target_parameters = target_parameters();
    config.modules_to_save = saved_modules();
    config.bias = biases_ ? "all" : "none";
    config.fan_in_fan_out = plan_.conv1d;
    config.task_type = head_left_out_ ? "" : plan_.task_type;
    config.base_model = o_.base_id;
    tuned.weights.tensors = std::move(tensors_);
    tuned.weights.index.reset();
    tuned.choice.is_adapter = true;
    tuned.choice.stem = "adapter_model";
    result_.input = std::move(tuned);
    result_.notes = plan_.notes;
    result_.seen = plan_.seen;
    if (!config.target_parameters.empty())
      result_.notes.push_back("factors of experts in one tensor are stored as PEFT 0.20 and later read them");
    note_small();
    return std::move(result_);
  }

 private:
  void note_small() {
    if (o_.rank.by != RankChoice::By::kNumber) return;
    const auto small =
        std::count_if(result_.modules.begin(), result_.modules.end(),
                      [&](const ModuleReport& m) { return std::min(m.m, m.n) < o_.rank.rank; });
    if (small > 0)
      result_.notes.push_back(fmt::format(
          "rank {} is more than the matrix has in {} of {}: these get the full rank of the matrix",
          o_.rank.rank, small, plural(result_.modules.size(), "module")));
  }

  // One rank for all modules: the only layout that every reader scales alike.
  std::size_t uniform_rank() const {
    std::size_t most = 0;
    for (const FoundTensor& found : found_) most = std::max(most, found.rank);
    return o_.rank.by == RankChoice::By::kNumber && o_.alpha ? o_.rank.rank : std::max<std::size_t>(most, 1);
  }

  // Either all stacks get factors (zeros if unchanged) or none does: readers tell the first stack of a
  // container from the second only by their number.
  void find_targets() {
    bool stacks_changed = false;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i)
      stacks_changed = stacks_changed || (plan_.tensors[i].in_stack && found_[i].rank > 0);
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      const PairTensor& pair = plan_.tensors[i];
      if (pair.in_stack ? stacks_changed : pair.by_parameter && found_[i].rank > 0)
        parameters_.insert(pair.parameter);
      if (!pair.in_stack && found_[i].rank > 0) targets_.insert(pair.module);
      const bool is_head = is_head_of_task(plan_.task_type, pair.parameter);
      head_left_out_ = head_left_out_ || (is_head && pair.kind != PairKind::kFull);
      // Without its head PEFT loads no adapter for a task, whether it changed or not.
      if (pair.kind == PairKind::kFull && (found_[i].changed || is_head)) {
        whole_modules_.insert(saved_module(pair));
        if (found_[i].changed) changed_modules_.insert(saved_module(pair));
      }
      if (pair.parameter.ends_with(".weight")) base_modules_.push_back(pair.module);
    }
  }

  // What modules_to_save names for a tensor that is stored whole. PEFT wants all tensors of such a module, also those
  // that did not change.
  std::string saved_module(const PairTensor& pair) const {
    const bool is_head = is_head_of_task(plan_.task_type, pair.parameter);
    return pair.parameter.substr(0, is_head ? pair.parameter.find('.') : pair.parameter.rfind('.'));
  }

  // Adds the matrix, or the experts of one stack, with the numbers [begin, end).
  void add_module(std::size_t begin, std::size_t end) {
    const PairTensor& pair = plan_.tensors[begin];
    const bool is_target = pair.in_stack ? parameters_.contains(pair.parameter) : found_[begin].rank > 0;
    auto factors = std::make_shared<ModuleFactors>();
    factors->rank = rank_;
    factors->in = static_cast<std::size_t>(in_features(pair));
    factors->out = static_cast<std::size_t>(out_features(pair));
    const Dtype dtype = factor_dtype(pair, o_);
    for (std::size_t i = begin; i < end; ++i) {
      if (found_[i].rank > 0) {
        result_.noise += found_[i].is_noise ? 1 : 0;
        result_.modules.push_back(std::move(found_[i].report));
      } else {
        ++result_.unchanged;
      }
      factors->experts.push_back(std::move(found_[i]));
    }
    if (!is_target) return;
    const bool embedding = pair.kind == PairKind::kEmbedding;
    if (!parameters_.contains(pair.parameter))
      modules_.push_back({.name = pair.module, .is_embedding = embedding, .rank = rank_});
    const std::string name =
        "base_model.model." +
        name_for_peft(plan_.names.get(), pair.in_stack ? wrapper_of(pair.parameter) : pair.module);
    const std::size_t width = rank_ * factors->experts.size();
    add_tensor(pair, name + (embedding ? ".lora_embedding_A" : ".lora_A.weight"), dtype, {width, factors->in},
               [factors](std::size_t first, std::span<float> values) { factors->read_a(first, values); });
    add_tensor(pair, name + (embedding ? ".lora_embedding_B" : ".lora_B.weight"), dtype,
               {factors->out, width},
               [factors](std::size_t first, std::span<float> values) { factors->read_b(first, values); });
  }

  // The module that holds the factors of a stack: its container, one wrapper deeper for each stack that is
  // registered after it.
  std::string wrapper_of(const std::string& stack) const {
    const std::string container = stack.substr(0, stack.rfind('.'));
    std::string wrapper = container;
    for (std::size_t i = kExpertParameters.size(); i-- > 0;) {
      const std::string other = container + "." + std::string(kExpertParameters[i]);
      if (other == stack) break;
      if (parameters_.contains(other)) wrapper += ".base_layer";
    }
    return wrapper;
  }

  void add_tensor(const PairTensor& pair, const std::string& name, Dtype dtype,
                  const std::vector<std::uint64_t>& shape,
                  std::function<void(std::size_t, std::span<float>)> read) {
    Tensor tensor =
        computed(name, dtype, shape, {},
                 [read = std::move(read), dtype](const Sources&, std::uint64_t at, std::span<std::byte> out) {
                   const std::size_t element = bits(dtype) / 8;
                   std::vector<float> values(out.size() / element);
                   read(static_cast<std::size_t>(at) / element, values);
                   CastReport report;
                   cast(Dtype::kF32, dtype, std::as_bytes(std::span(values)), out, report);
                 });
    tensor.source = pair.tuned->source;
    tensors_.push_back(std::move(tensor));
  }

  // Of a tensor that is stored whole: those that were kept, or else those of the tuned model.
  [[nodiscard]] Tensor values_of(const PairTensor& pair, const FoundTensor& found) const {
    Tensor tensor = pair.tuned_values;
    std::vector<FarRange> far;
    add_far_leaves(*files_, tensor, far);
    if (found.kept == 0 && far.empty()) return tensor;
    auto layout = std::make_shared<Layout>();
    layout->compute = [kept = found, files = files_, tensor](const Sources&, std::uint64_t at,
                                                             std::span<std::byte> out) {
      if (kept.kept > 0) return kept.read(kept.offset + at, out);
      files->read(tensor, at, out);
    };
    tensor.layout = std::move(layout);
    return tensor;
  }

  void add_other(const PairTensor& pair, const FoundTensor& found) {
    if (pair.kind == PairKind::kOther) {
      result_.lost.push_back(pair.name);
      return;
    }
    Tensor tensor = values_of(pair, found);
    const bool layer = pair.kind == PairKind::kBias && targets_.contains(pair.module);
    tensor.name = "base_model.model." + (layer ? pair.module + ".base_layer.bias" : pair.parameter);
    tensors_.push_back(std::move(tensor));
    if (pair.kind != PairKind::kFull || changed_modules_.contains(saved_module(pair)))
      result_.whole.push_back(pair.name);
    biases_ = biases_ || pair.kind == PairKind::kBias;
  }

  // Names a module by its last component if all modules with that component are stored whole, else in full.
  std::vector<std::string> saved_modules() const {
    const auto last = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
    std::set<std::string> list;
    for (const std::string& module : whole_modules_) {
      const bool all = std::all_of(base_modules_.begin(), base_modules_.end(), [&](const std::string& other) {
        return last(other) != last(module) || whole_modules_.contains(other);
      });
      list.insert(all ? last(module) : module);
    }
    return {list.begin(), list.end()};
  }

  std::vector<std::string> target_parameters() const {
    std::set<std::string> all;
    for (const PairTensor& tensor : plan_.tensors) all.insert(tensor.parameter);
    return short_endings(parameters_, all);
  }

  const PairPlan& plan_;
  std::vector<FoundTensor> found_;
  const PairRunOptions& o_;
  std::shared_ptr<const Weights> files_;  // those of the tuned model
  std::size_t rank_ = 1;
  bool biases_ = false;
  std::set<std::string> targets_;     // modules that get factors
  std::set<std::string> parameters_;  // stacks and routers that get factors; PEFT finds them by tensor
  std::set<std::string> whole_modules_;
  std::set<std::string> changed_modules_;  // of these, those that differ from the base
  bool head_left_out_ = false;
  std::vector<std::string> base_modules_;
  std::vector<LoraModule> modules_;
  std::vector<Tensor> tensors_;
  PairResult result_;
};

}  // namespace

PairResult assemble_pair(Input tuned, const PairPlan& plan, std::vector<FoundTensor> found,
                         const PairRunOptions& options) {
  return Assembly(plan, std::move(found), options).run(std::move(tuned));
}

void require_servable(const PairPlan& plan, const std::vector<FoundTensor>& found, Server server) {
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) {
    const PairTensor& pair = plan.tensors[i];
    const bool is_whole = pair.kind == PairKind::kFull || pair.kind == PairKind::kBias;
    if (!is_whole || !found[i].changed || takes_whole(server, pair.module)) continue;
    throw malformed(fmt::format("{}: {} does not apply {}", escape_name(pair.name), server_name(server),
                                pair.kind == PairKind::kBias ? "biases" : "modules that are stored whole"))
        .hint("leave it out of the adapter, or serve the tuned model itself");
  }
}

std::string serve_pair(PairResult& result, Server server, const Input& base) {
  Extraction adapter{.input = std::move(result.input),
                     .config = parse_lora_config(lora_config_text(result.config)),
                     .config_text = {},
                     .modules = {},
                     .notes = {},
                     .form = {}};
  serve_extraction(adapter, server, base);
  result.input = std::move(adapter.input);
  result.config = std::move(adapter.config);
  result.form = std::move(adapter.form);
  result.notes.insert(result.notes.end(), result.form->notes.begin(), result.form->notes.end());
  return std::move(adapter.config_text);
}

}  // namespace mu
