// SPDX-License-Identifier: Apache-2.0
#include "lora/pair.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <mutex>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "lora/extract.h"
#include "lora/rank.h"
#include "model/tied.h"
#include "os/interrupt.h"
#include "os/spool.h"
#include "os/threads.h"
#include "tensor/cast.h"
#include "tensor/decode.h"
#include "weights/layout.h"

namespace mu {
namespace {

constexpr std::uint64_t kPiece = 1U << 20;     // elements read at once
constexpr std::uint64_t kAlone = 96ULL << 20;  // elements of a matrix that gets the machine for itself
constexpr std::uint64_t kMost = 1ULL << 32;    // elements of a matrix

// FNV-1a: a seed from a name.
std::uint64_t seed_of(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  return hash;
}

void read_floats(const Weights& weights, const Tensor& tensor, std::uint64_t first, std::span<float> out) {
  const std::uint64_t element = bits(tensor.dtype) / 8;
  thread_local std::vector<std::byte> bytes;
  bytes.resize(out.size() * static_cast<std::size_t>(element));
  weights.read(tensor, first * element, bytes);
  CastReport report;
  if (fits_float(tensor.dtype))
    decode(tensor.dtype, bytes, out);
  else
    cast(tensor.dtype, Dtype::kF32, bytes, std::as_writable_bytes(out), report);
}

void require_finite(std::span<const float> values, const Tensor& tensor, const Weights& weights) {
  if (std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) return;
  throw malformed(fmt::format("'{}' holds NaN or infinity", escape_name(tensor.name)))
      .in_file(escape_name(weights.files[tensor.source].name));
}

// Values as they come back from `dtype`.
void round_to(Dtype dtype, std::vector<float>& values) {
  if (dtype == Dtype::kF32 || values.empty()) return;
  std::vector<std::byte> bytes(values.size() * bits(dtype) / 8);
  CastReport report;
  cast(Dtype::kF32, dtype, std::as_bytes(std::span(values)), bytes, report);
  decode(dtype, bytes, std::span(values));
}

// [rows, columns] -> [columns, rows]
std::vector<float> transpose(std::span<const float> values, std::size_t rows, std::size_t columns) {
  std::vector<float> out(values.size());
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t k = 0; k < columns; ++k) out[k * rows + i] = values[i * columns + k];
  }
  return out;
}

// Factors of one module as they wait: A [rank, in], then B [out, rank], in fp32.
struct Waiting {
  std::uint64_t offset = 0;
  std::size_t rank = 0, in = 0, out = 0;
  Dtype dtype = Dtype::kF32;
};

class Extractor {
 public:
  Extractor(const Input& base, const Input& tuned, const PairPlan& plan, const PairRunOptions& options)
      : base_(base.weights),
        tuned_(tuned.weights),
        plan_(plan),
        o_(options),
        products_(options.kernel),
        spool_(std::make_shared<Spool>()) {}

  void run() {
    waiting_.resize(plan_.tensors.size());
    reports_.resize(plan_.tensors.size());
    changed_.resize(plan_.tensors.size());
    std::vector<std::size_t> small, large;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i)
      (plan_.tensors[i].tuned->element_count() > kAlone ? large : small).push_back(i);
    // The largest first, so that no thread is left with one at the end.
    std::stable_sort(small.begin(), small.end(), [&](std::size_t a, std::size_t b) {
      return plan_.tensors[a].tuned->element_count() > plan_.tensors[b].tuned->element_count();
    });
    const auto inner =
        static_cast<unsigned>(std::max<std::size_t>(1, o_.threads / std::max<std::size_t>(1, matrices())));
    for (const std::size_t i : large) work(i, o_.threads);
    parallel_for(small.size(), o_.threads, [&](std::size_t k) { work(small[k], inner); });
  }

  PairResult assemble(Input tuned) {
    PairResult result;
    result.kernel = products_.name();
    const std::size_t rank = uniform_rank();
    std::vector<Tensor> tensors;
    std::vector<LoraModule> modules;
    std::vector<ReplacedTensor> replaced;
    std::vector<std::string> base_modules;
    std::set<std::string> targets;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      if (waiting_[i].rank > 0) targets.insert(plan_.tensors[i].module);
    }
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      const PairTensor& pair = plan_.tensors[i];
      const bool matrix = pair.kind == PairKind::kLinear || pair.kind == PairKind::kEmbedding;
      if (pair.name.ends_with(".weight")) base_modules.push_back(pair.module);
      if (matrix && waiting_[i].rank > 0) {
        add_factors(tensors, pair, waiting_[i], rank);
        modules.push_back(
            {.name = pair.module, .is_embedding = pair.kind == PairKind::kEmbedding, .rank = rank});
        result.modules.push_back(std::move(reports_[i]));
      } else if (matrix) {
        ++result.unchanged;
      } else if (changed_[i] == 0) {
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
  std::size_t matrices() const {
    return static_cast<std::size_t>(
        std::count_if(plan_.tensors.begin(), plan_.tensors.end(), [](const PairTensor& pair) {
          return pair.kind == PairKind::kLinear || pair.kind == PairKind::kEmbedding;
        }));
  }

  void work(std::size_t i, unsigned threads) {
    check_interrupt();
    const PairTensor& pair = plan_.tensors[i];
    if (pair.kind == PairKind::kLinear || pair.kind == PairKind::kEmbedding)
      factorise(i, threads);
    else
      changed_[i] = pair.base == nullptr || pair.base->dtype != pair.tuned->dtype || pair.extended ||
                            !same_bytes(*pair.base, *pair.tuned)
                        ? 1
                        : 0;
    if (o_.on_bytes) o_.on_bytes(pair.tuned->size);
  }

  bool same_bytes(const Tensor& a, const Tensor& b) const {
    if (a.shape != b.shape) return false;
    std::vector<std::byte> left, right;
    for (std::uint64_t at = 0; at < a.size; at += kPiece) {
      check_interrupt();
      left.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, a.size - at)));
      right.resize(left.size());
      base_.read(a, at, left);
      tuned_.read(b, at, right);
      if (left != right) return false;
    }
    return true;
  }

  void factorise(std::size_t i, unsigned threads) {
    const PairTensor& pair = plan_.tensors[i];
    const auto m = static_cast<std::size_t>(pair.tuned->shape[0]),
               n = static_cast<std::size_t>(pair.tuned->shape[1]);
    const std::uint64_t count = pair.tuned->element_count();
    if (count == 0) return;
    if (count > kMost)
      throw malformed(fmt::format("'{}' is larger than what fits memory", escape_name(pair.name)))
          .hint("--exclude leaves it out");
    const bool needs_tuned = o_.rank.by == RankChoice::By::kNoise;
    std::vector<float> delta(static_cast<std::size_t>(count)), tuned(needs_tuned ? delta.size() : 0);
    parallel_for(static_cast<std::size_t>((count + kPiece - 1) / kPiece), threads, [&](std::size_t piece) {
      check_interrupt();
      const std::uint64_t at = piece * kPiece;
      const auto size = static_cast<std::size_t>(std::min(kPiece, count - at));
      const std::span<float> values = std::span(delta).subspan(static_cast<std::size_t>(at), size);
      thread_local std::vector<float> other;
      other.resize(size);
      read_floats(tuned_, *pair.tuned, at, values);
      require_finite(values, *pair.tuned, tuned_);
      if (needs_tuned)
        std::copy(values.begin(), values.end(), tuned.begin() + static_cast<std::ptrdiff_t>(at));
      read_floats(base_, *pair.base, at, other);
      require_finite(other, *pair.base, base_);
      for (std::size_t k = 0; k < size; ++k) values[k] -= other[k];
    });
    LowRank found = approximate_delta(pair, delta, tuned, m, n, threads);
    if (found.total == 0 || found.rank == 0) return;
    const Dtype dtype = o_.dtype.value_or(pair.tuned->dtype == Dtype::kF64 ? Dtype::kF32 : pair.tuned->dtype);
    ModuleReport& report = reports_[i];
    report.name = pair.module;
    report.m = m;
    report.n = n;
    report.rank = found.rank;
    report.norm = std::sqrt(found.total);
    report.gap = found.gap;
    // With an alpha of the user's the scale is not 1, and B is stored divided by it.
    const float scale = o_.alpha ? static_cast<float>(*o_.alpha / static_cast<double>(o_.rank.rank)) : 1.0F;
    if (scale != 1.0F) {
      for (float& value : found.left) value /= scale;
    }
    round_to(dtype, found.left);
    round_to(dtype, found.right);
    std::vector<float> left = found.left;
    for (float& value : left) value *= scale;
    const double squared = squared_error(products_, delta, m, n, left, found.right, found.rank, threads);
    report.error = std::sqrt(squared / found.total);
    report.energy = std::max(0.0, 1 - squared / found.total);
    report.values = std::move(found.values);
    Waiting& waiting = waiting_[i];
    waiting = {0, found.rank, pair.transposed ? m : n, pair.transposed ? n : m, dtype};
    std::vector<float> a = std::move(found.right), b = std::move(found.left);
    if (pair.transposed) {
      std::vector<float> turned = transpose(b, m, found.rank);
      b = transpose(a, found.rank, n);
      a = std::move(turned);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting.offset = spool_->size();
    spool_->append(std::as_bytes(std::span(a)));
    spool_->append(std::as_bytes(std::span(b)));
  }

  LowRank approximate_delta(const PairTensor& pair, std::span<const float> delta,
                            std::span<const float> tuned, std::size_t m, std::size_t n,
                            unsigned threads) const {
    const std::uint64_t seed = seed_of(pair.module);
    LowRankOptions options{.rank = o_.rank.rank, .seed = seed, .threads = threads};
    if (o_.exact) {
      options.gap = 1e-6;
      options.max_blocks = 64;
    }
    if (o_.rank.by == RankChoice::By::kNumber) return approximate(products_, delta, m, n, options);
    options.rank = std::min<std::size_t>(o_.rank.most, 64);
    for (;;) {
      LowRank found = approximate(products_, delta, m, n, options);
      if (found.total == 0) return found;
      std::size_t rank =
          o_.rank.by == RankChoice::By::kEnergy
              ? energy_rank(found, o_.rank.energy)
              : noise_rank(products_, delta, tuned, m, n, pair.tuned->dtype, found, seed + 1, threads);
      // Nothing above the noise: the difference is real all the same, and its largest part stands for it.
      rank = std::max<std::size_t>(rank, 1);
      if (rank >= found.rank && options.rank < std::min({o_.rank.most, m, n})) {
        options.rank = std::min(2 * options.rank, o_.rank.most);
        continue;
      }
      cut(found, std::min(rank, found.rank), m, n);
      return found;
    }
  }

  // Leaves the first `rank` components.
  static void cut(LowRank& found, std::size_t rank, std::size_t m, std::size_t n) {
    if (rank == found.rank) return;
    std::vector<float> left(m * rank);
    for (std::size_t i = 0; i < m; ++i)
      std::copy_n(found.left.begin() + static_cast<std::ptrdiff_t>(i * found.rank), rank,
                  left.begin() + static_cast<std::ptrdiff_t>(i * rank));
    found.left = std::move(left);
    found.right.resize(rank * n);
    found.rank = rank;
  }

  // One rank for all modules: the only layout that every reader scales alike.
  std::size_t uniform_rank() const {
    std::size_t most = 0;
    for (const Waiting& waiting : waiting_) most = std::max(most, waiting.rank);
    return o_.rank.by == RankChoice::By::kNumber && o_.alpha ? o_.rank.rank : std::max<std::size_t>(most, 1);
  }

  // Rows or columns beyond the module's own rank are zero.
  void add_factors(std::vector<Tensor>& tensors, const PairTensor& pair, const Waiting& w,
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
      layout->compute = [spool = spool_, dtype = w.dtype, columns, own_rows, own_columns, offset](
                            std::uint64_t at, std::span<std::byte> out) {
        const std::size_t element = bits(dtype) / 8;
        std::vector<float> values(out.size() / element), row(own_columns);
        const std::size_t first = static_cast<std::size_t>(at) / element;
        for (std::size_t done = 0; done < values.size();) {
          const std::size_t r = (first + done) / columns, c = (first + done) % columns;
          const std::size_t width = std::min(columns - c, values.size() - done);
          if (r < own_rows && c < own_columns) {
            const std::size_t have = std::min(width, own_columns - c);
            spool->read_at(offset + (r * own_columns + c) * sizeof(float),
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

  const Weights& base_;
  const Weights& tuned_;
  const PairPlan& plan_;
  const PairRunOptions& o_;
  Products products_;
  std::shared_ptr<Spool> spool_;
  std::mutex mutex_;
  std::vector<Waiting> waiting_;
  std::vector<ModuleReport> reports_;
  std::vector<std::uint8_t> changed_;
  bool biases_ = false;
};

}  // namespace

PairResult extract_pair(const Input& base, Input tuned, const PairPlan& plan, const PairRunOptions& options) {
  Extractor extractor(base, tuned, plan, options);
  extractor.run();
  return extractor.assemble(std::move(tuned));
}

}  // namespace mu
