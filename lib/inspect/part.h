// SPDX-License-Identifier: Apache-2.0
// Parts of measuring, for models that outgrow a machine: --part prints what it measured as a JSON document
// (schema "modelutils.st-inspect.share/1", described in st-inspect(1)), and --combine joins such documents.
// The unit of work is a tensor for statistics, and a file or a tensor for hashes. Numbers are kept to the
// last bit, and are joined in the order and by the operations of a single run, so every digit is the same.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/part.h"
#include "inspect/measure.h"

namespace mu {

// What was asked for, in enough detail to ask for it again.
struct MeasurePlan {
  std::string path;                  // as given
  std::vector<std::string> filters;  // --filter
  std::string sort;                  // --sort; empty: not given
  bool stats = false, hash = false;
  std::optional<Dtype> plain{};  // --dequantize, in this type
};

// The units of one part, ascending. A unit of hashing is a file of the set or, numbered after the files, a
// tensor of the list.
struct PartUnits {
  std::vector<std::size_t> stats, hashes;
  std::uint64_t bytes = 0;  // to be read
};
PartUnits part_units(const MeasurePlan& plan, const Part& part, const Weights& weights,
                     const std::vector<const Tensor*>& tensors);
// One line for each unit: "stats|tensor|file", bytes, name.
std::string part_text(const PartUnits& units, const Weights& weights,
                      const std::vector<const Tensor*>& tensors);

// Measures a part and returns its document.
std::string measure_part(const MeasurePlan& plan, const Part& part, const Weights& weights,
                         const std::vector<const Tensor*>& tensors, unsigned threads, Progress& progress);

// The joined documents of parts.
class CombinedParts {
 public:
  // Reads the documents. Throws kMalformed for a file that is not a part, kRefused for a part of another plan
  // than the first.
  explicit CombinedParts(const std::vector<std::string>& files);

  [[nodiscard]] const MeasurePlan& plan() const { return plan_; }
  // Throws kRefused if the input is not the one that was measured, kMalformed if no part has some unit.
  void require_whole(const Weights& weights, const std::vector<const Tensor*>& tensors) const;

  // Like measure_stats() and measure_hashes(), without reading any tensor.
  [[nodiscard]] TensorStats stats(const std::vector<const Tensor*>& tensors, const OnStats& on_stats) const;
  [[nodiscard]] Hashes hashes(const Weights& weights, const std::vector<const Tensor*>& tensors) const;

 private:
  void read(const std::string& file);

  MeasurePlan plan_;
  std::string first_, fingerprint_;
  std::map<std::size_t, TensorStats> stats_;
  std::map<std::size_t, std::string> hashes_;
};

}  // namespace mu
