// SPDX-License-Identifier: Apache-2.0
// What is done with one tensor of a plan: two matrices become factors, any others are compared.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "lora/factors.h"
#include "lora/found.h"
#include "lora/products.h"

namespace mu {

// Where factors wait until they are written.
class FactorStore {
 public:
  virtual ~FactorStore() = default;
  // Adds bytes that `read` gives in pieces, in order, and returns where the first of them is. Thread safe, as is
  // read_at() of what was added.
  using Read = std::function<void(std::uint64_t at, std::span<std::byte> out)>;
  virtual std::uint64_t add(std::uint64_t size, const Read& read) = 0;
  virtual void read_at(std::uint64_t at, std::span<std::byte> out) const = 0;
};

class PairWork {
 public:
  // Borrows all. `keeps_whole`: the values of tensors that are stored whole are added, too, for they can't be read
  // again.
  PairWork(const Input& base, const Input& tuned, const PairPlan& plan, const PairRunOptions& options,
           std::shared_ptr<FactorStore> store, bool keeps_whole);

  // Finds tensor number `unit` of the plan on so many threads. Thread safe. Throws kMalformed, naming the tensor, for
  // values that are not finite.
  FoundTensor find(std::size_t unit, unsigned threads);
  // Another process found this.
  void know(const FoundTensor& found);

  // Whether the values of both models are read; else, at most those that are kept.
  [[nodiscard]] static bool is_compared(const PairTensor& pair);
  [[nodiscard]] static bool may_keep(const PairTensor& pair);
  // So large that all threads work on it, and on nothing else.
  [[nodiscard]] static bool is_alone(const PairTensor& pair);

 private:
  void factorise(const PairTensor& pair, unsigned threads, FoundTensor& found);
  [[nodiscard]] bool same_values(const PairTensor& pair) const;
  void read_delta(const PairTensor& pair, std::span<float> delta, std::span<float> tuned,
                  unsigned threads) const;
  void store(const PairTensor& pair, LowRank factors, FoundTensor& found) const;
  [[nodiscard]] bool is_noise(const PairTensor& pair, std::span<const float> delta,
                              std::span<const float> tuned, const LowRank& found, unsigned threads) const;
  [[nodiscard]] LowRank approximate_delta(const PairTensor& pair, std::span<const float> delta,
                                          std::span<const float> tuned, unsigned threads) const;

  const Weights& base_;
  const Weights& tuned_;
  const PairPlan& plan_;
  const PairRunOptions& o_;
  Products products_;
  std::shared_ptr<FactorStore> store_;
  bool keeps_whole_;
  std::atomic<bool> has_signal_ = false;
};

// How many threads a matrix gets where `threads` work on the units.
unsigned threads_of_matrix(const PairPlan& plan, const std::vector<std::size_t>& units, unsigned threads);

}  // namespace mu
