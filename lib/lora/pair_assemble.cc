// SPDX-License-Identifier: Apache-2.0
// Makes the adapter of what was found: its tensors, which are read from where the factors wait, and its
// config.
#include <algorithm>
#include <set>

#include "lora/extract.h"
#include "lora/pair.h"
#include "lora/products.h"
#include "tensor/cast.h"
#include "weights/layout.h"

namespace mu {
namespace {

class Assembly {
 public:
  Assembly(const PairPlan& plan, std::vector<FoundTensor> found, const PairRunOptions& options)
      : plan_(plan), found_(std::move(found)), o_(options) {}

  PairResult run(Input tuned) {
    PairResult result;
    result.kernel = Products(o_.kernel).name();
    const std::size_t rank = uniform_rank();
    std::vector<Tensor> tensors;
    std::vector<LoraModule> modules;
    std::vector<ReplacedTensor> replaced;
    std::vector<std::string> base_modules;
    std::set<std::string> targets;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      if (found_[i].rank > 0) targets.insert(plan_.tensors[i].module);
    }
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      const PairTensor& pair = plan_.tensors[i];
      const bool matrix = is_matrix(pair);
      if (pair.name.ends_with(".weight")) base_modules.push_back(pair.module);
      if (matrix && found_[i].rank > 0) {
        add_factors(tensors, pair, found_[i], rank);
        modules.push_back(
            {.name = pair.module, .is_embedding = pair.kind == PairKind::kEmbedding, .rank = rank});
        result.modules.push_back(std::move(found_[i].report));
      } else if (matrix) {
        ++result.unchanged;
      } else if (!found_[i].changed) {
        continue;
      } else if (pair.kind == PairKind::kOther) {
        result.lost.push_back(pair.name);
      } else {
        Tensor tensor = *pair.tuned;
        const bool layer = pair.kind == PairKind::kBias && targets.contains(pair.module);
        tensor.name = "base_model.model." + (layer ? pair.module + ".base_layer.bias" : pair.name);
        if (pair.kind == PairKind::kFull) replaced.push_back({pair.name, nullptr});
        tensors.push_back(std::move(tensor));
        result.whole.push_back(pair.name);
        biases_ = biases_ || pair.kind == PairKind::kBias;
      }
    }
    result.config = make_config(modules, {}, base_modules, o_.alpha.value_or(static_cast<double>(rank)));
    result.config.rank = rank;
    result.config.modules_to_save = saved_modules(replaced, base_modules);
    result.config.bias = biases_ ? "all" : "none";
    result.config.fan_in_fan_out = plan_.conv1d;
    result.config.task_type = plan_.task_type;
    result.config.base_model = o_.base_id;
    tuned.weights.tensors = std::move(tensors);
    tuned.weights.index.reset();
    tuned.choice.is_adapter = true;
    tuned.choice.stem = "adapter_model";
    result.input = std::move(tuned);
    result.notes = plan_.notes;
    return result;
  }

 private:
  // One rank for all modules: the only layout that every reader scales alike.
  std::size_t uniform_rank() const {
    std::size_t most = 0;
    for (const FoundTensor& found : found_) most = std::max(most, found.rank);
    return o_.rank.by == RankChoice::By::kNumber && o_.alpha ? o_.rank.rank : std::max<std::size_t>(most, 1);
  }

  // Rows or columns beyond the module's own rank are zero.
  void add_factors(std::vector<Tensor>& tensors, const PairTensor& pair, const FoundTensor& w,
                   std::size_t rank) const {
    const bool embedding = pair.kind == PairKind::kEmbedding;
    const auto add = [&](const char* name, std::size_t rows, std::size_t columns, std::size_t own_rows,
                         std::size_t own_columns, std::uint64_t offset) {
      Tensor tensor{.name = "base_model.model." + pair.module + "." + name,
                    .dtype = w.dtype,
                    .shape = {rows, columns},
                    .source = pair.tuned->source,
                    .offset = 0,
                    .size = rows * columns * bits(w.dtype) / 8};
      auto layout = std::make_shared<Layout>();
      layout->compute = [read = w.read, dtype = w.dtype, columns, own_rows, own_columns, offset](
                            std::uint64_t at, std::span<std::byte> out) {
        const std::size_t element = bits(dtype) / 8;
        std::vector<float> values(out.size() / element), row(own_columns);
        const std::size_t first = static_cast<std::size_t>(at) / element;
        for (std::size_t done = 0; done < values.size();) {
          const std::size_t r = (first + done) / columns, c = (first + done) % columns;
          const std::size_t width = std::min(columns - c, values.size() - done);
          if (r < own_rows && c < own_columns) {
            const std::size_t have = std::min(width, own_columns - c);
            read(offset + (r * own_columns + c) * sizeof(float),
                 std::as_writable_bytes(std::span(values).subspan(done, have)));
          }
          done += width;
        }
        CastReport report;
        cast(Dtype::kF32, dtype, std::as_bytes(std::span(values)), out, report);
      };
      tensor.layout = std::move(layout);
      tensors.push_back(std::move(tensor));
    };
    add(embedding ? "lora_embedding_A" : "lora_A.weight", rank, w.in, w.rank, w.in, w.offset);
    add(embedding ? "lora_embedding_B" : "lora_B.weight", w.out, rank, w.out, w.rank,
        w.offset + w.rank * w.in * sizeof(float));
  }

  // By their last part where all modules of that name go along whole, else in full.
  static std::vector<std::string> saved_modules(const std::vector<ReplacedTensor>& replaced,
                                                const std::vector<std::string>& base_modules) {
    const auto last = [](const std::string& name) { return name.substr(name.rfind('.') + 1); };
    std::set<std::string> whole, list;
    for (const ReplacedTensor& tensor : replaced) whole.insert(tensor.name.substr(0, tensor.name.rfind('.')));
    for (const std::string& module : whole) {
      const bool all = std::all_of(base_modules.begin(), base_modules.end(), [&](const std::string& other) {
        return last(other) != last(module) || whole.contains(other);
      });
      list.insert(all ? last(module) : module);
    }
    return {list.begin(), list.end()};
  }

  const PairPlan& plan_;
  std::vector<FoundTensor> found_;
  const PairRunOptions& o_;
  bool biases_ = false;
};

}  // namespace

PairResult assemble_pair(Input tuned, const PairPlan& plan, std::vector<FoundTensor> found,
                         const PairRunOptions& options) {
  return Assembly(plan, std::move(found), options).run(std::move(tuned));
}

}  // namespace mu
