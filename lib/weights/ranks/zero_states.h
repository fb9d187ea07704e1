// SPDX-License-Identifier: Apache-2.0
// What the files of the ranks of DeepSpeed say: *_model_states.pt with names and shapes, *_optim_states.pt
// with the flat fp32 master weights (deepspeed/runtime/engine.py, runtime/zero/stage_1_and_2.py, stage3.py).
// Each pickle is read, turned into plain values and dropped, so that memory does not grow with their number.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "weights/ranks/zero_files.h"
#include "weights/ranks/zero_layout.h"
#include "weights/weights.h"

namespace mu {

struct ZeroModelState {
  std::string path;
  std::optional<std::uint64_t> rank;  // none for the one file of stages 0 to 2
  std::string version;                // of DeepSpeed; may be empty
  std::optional<std::int64_t> step;
  // Frozen parameters: whole tensors in stages 1 and 2, flat partitions of the rank in stage 3.
  std::map<std::string, Tensor> frozen;
  // Only of a file that is read whole:
  std::vector<std::pair<std::string, std::optional<Tensor>>> module;  // nothing: a value that is not a tensor
  std::set<std::string> buffers;
  std::optional<std::vector<std::vector<FlatShape>>> groups;  // parameters of each optimizer group, in order
  std::vector<FlatShape> frozen_shapes;
  std::vector<std::pair<std::string, std::string>> shared;  // another name of a parameter, and the one kept
  std::int64_t stage = 0;                                   // as configured
  bool round_robin = false;
};

struct ZeroOptimizerState {
  std::string path;
  std::uint64_t rank = 0;
  std::string version;
  std::optional<double> step;                    // of the base optimizer, the largest
  std::int64_t stage = 1;                        // 1 where the BF16 engine says nothing
  std::uint64_t ranks = 0;                       // by which the groups were cut
  std::vector<FlatRun> groups;                   // flat master weights of this rank
  std::vector<std::vector<std::uint64_t>> gaps;  // elements between the parameters of each group
  // By group and parameter, the elements of this rank's partition that belong to the parameter, as the rank
  // noted them.
  struct Slice {
    std::uint64_t start = 0, count = 0;
    bool operator==(const Slice&) const = default;
  };
  std::vector<std::map<std::string, Slice>> slices;
};

// Opens the file, adds it to `weights` and reads what it says. Throws kMalformed with the rule when it is
// torn (ZR-TORN), was renamed (ZR-NAME), is not such a file (ZR-KIND), is dangerous to load, or shows a kind of
// training that is not supported (ZR-TP, ZR-PIPE, ZR-MOE, ZR-MICS).
ZeroModelState read_zero_model(Weights& weights, const std::string& folder, const ZeroFileName& name,
                               bool whole);
ZeroOptimizerState read_zero_optimizer(Weights& weights, const std::string& folder, const ZeroFileName& name);

// How many processes made a save, as one of its files says.
struct ZeroCounts {
  std::optional<std::uint64_t> ranks;        // data-parallel: optimizer files of each model-parallel rank
  std::optional<std::uint64_t> model_ranks;  // model-parallel
  std::optional<std::int64_t> stage;
};
// Reads them from a model file or an optimizer file. What the file does not say is empty; never throws
// kMalformed.
ZeroCounts read_zero_counts(const InputFile& file);

// A torch file with one tensor, at the root or under the key "param", as universal checkpoints have them.
Tensor read_zero_parameter(Weights& weights, const std::string& path, const std::string& name);

}  // namespace mu
