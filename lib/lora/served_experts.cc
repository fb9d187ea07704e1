// SPDX-License-Identifier: Apache-2.0
// PEFT's pair for E experts of rank r: A [E r, in] has the rows of one expert together, B [out, r E] the columns of
// one component, so that B is [out, r, E] and an expert is one index of its last dimension.
#include "lora/served_experts.h"

#include <algorithm>
#include <cmath>

#include "weights/contents.h"
#include "weights/views.h"

namespace mu {
namespace {

// The pair whose rank and alpha those have that the adapter lacks for this leaf: of the same kind, else the nearest.
const FactorPair* like_of(const std::vector<StackPairs>& container, const StackPairs& own, std::size_t leaf) {
  if (own.whole) return &*own.whole;
  const FactorPair* nearest = nullptr;
  for (const auto& [place, pair] : own.parts) {
    if (place.second == leaf) return &pair;
    if (nearest == nullptr) nearest = &pair;
  }
  for (const StackPairs& other : container) {
    if (nearest != nullptr) break;
    if (other.whole)
      nearest = &*other.whole;
    else if (!other.parts.empty())
      nearest = &other.parts.begin()->second;
  }
  return nearest;
}

class Joiner {
 public:
  Joiner(const StackPairs& pairs, const Weights& weights, bool use_rslora, std::uint64_t& scaled)
      : stack_(*pairs.stack), weights_(weights), use_rslora_(use_rslora) {
    for (const auto& [place, pair] : pairs.parts) {
      if (is_zero(weights, pair)) continue;
      const FactorPair& first = parts_.empty() ? pair : first_;
      if (parts_.empty()) first_ = pair;
      FactorPair part = pair;
      const double wanted = first.scale(use_rslora), scale = pair.scale(use_rslora);
      if (scale != wanted && wanted != 0) {
        part.b = times(pair.b, scale / wanted);
        ++scaled;
      }
      parts_.emplace(place, std::move(part));
    }
  }

  // There must be factors that are not zeros.
  FactorPair run() {
    shares_ = shares_a();
    ranks_.assign(stack_.leaves.size(), 0);
    for (const auto& [place, pair] : parts_) {
      std::uint64_t& rank = ranks_[place.second];
      rank = std::max(rank, pair.rank);
    }
    std::uint64_t rank = 0;
    for (const std::uint64_t one : ranks_) rank = shares_ ? std::max(rank, one) : rank + one;
    std::vector<Tensor> a, b;
    for (std::uint64_t expert = 0; expert < stack_.experts; ++expert) {
      a.push_back(shares_ ? shared_a(expert, rank) : joined_a(expert));
      b.push_back(joined_b(expert, rank));
    }
    const double more = static_cast<double>(rank) / static_cast<double>(first_.rank);
    return {concatenate(a, 0), reshape(stack(b, 2), {stack_.out, rank * stack_.experts}), rank,
            first_.alpha * (use_rslora_ ? std::sqrt(more) : more)};
  }

  [[nodiscard]] bool has_only_zeros() const { return parts_.empty(); }

 private:
  [[nodiscard]] const FactorPair* find(std::uint64_t expert, std::size_t leaf) const {
    const auto at = parts_.find({expert, leaf});
    return at == parts_.end() ? nullptr : &at->second;
  }

  // Whether the leaves of each expert have the same A.
  [[nodiscard]] bool shares_a() const {
    for (std::uint64_t expert = 0; expert < stack_.experts; ++expert) {
      const FactorPair* first = nullptr;
      for (std::size_t leaf = 0; leaf < stack_.leaves.size(); ++leaf) {
        const FactorPair* const pair = find(expert, leaf);
        if (pair == nullptr) continue;
        if (first != nullptr && !equal_bytes(weights_, first->a, weights_, pair->a)) return false;
        first = pair;
      }
    }
    return true;
  }

  [[nodiscard]] Tensor shared_a(std::uint64_t expert, std::uint64_t rank) const {
    for (std::size_t leaf = 0; leaf < stack_.leaves.size(); ++leaf) {
      if (const FactorPair* const pair = find(expert, leaf)) return padded(*pair, rank).a;
    }
    return zeros(first_.a, {rank, stack_.in});
  }

  [[nodiscard]] Tensor joined_a(std::uint64_t expert) const {
    std::vector<Tensor> rows;
    for (std::size_t leaf = 0; leaf < stack_.leaves.size(); ++leaf) {
      if (ranks_[leaf] == 0) continue;
      const FactorPair* const pair = find(expert, leaf);
      rows.push_back(pair == nullptr ? zeros(first_.a, {ranks_[leaf], stack_.in})
                                     : padded(*pair, ranks_[leaf]).a);
    }
    return concatenate(rows, 0);
  }

  // [out, rank]: the rows of each leaf, with zeros where the components of other leaves are.
  [[nodiscard]] Tensor joined_b(std::uint64_t expert, std::uint64_t rank) const {
    const std::uint64_t out = stack_.out / stack_.leaves.size();
    std::vector<Tensor> leaves;
    std::uint64_t before = 0;
    for (std::size_t leaf = 0; leaf < stack_.leaves.size(); ++leaf) {
      const FactorPair* const pair = find(expert, leaf);
      const std::uint64_t own = shares_ ? rank : ranks_[leaf];
      std::vector<Tensor> columns;
      const auto add_zeros = [&](std::uint64_t count) {
        if (count > 0) columns.push_back(zeros(first_.b, {out, count}));
      };
      add_zeros(shares_ ? 0 : before);
      if (pair == nullptr)
        add_zeros(own);
      else
        columns.push_back(padded(*pair, own).b);
      if (!shares_) add_zeros(rank - before - own);
      leaves.push_back(concatenate(columns, 1));
      before += own;
    }
    return concatenate(leaves, 0);
  }

  const ExpertStack& stack_;
  const Weights& weights_;
  bool use_rslora_;
  std::map<std::pair<std::uint64_t, std::size_t>, FactorPair> parts_;  // none of zeros
  FactorPair first_;
  bool shares_ = true;
  std::vector<std::uint64_t> ranks_;  // of each leaf
};

// Of one expert and leaf: rows of A; of B the rows of the leaf, and the columns of the expert.
FactorPair part_of(const FactorPair& whole, const ExpertStack& stack, std::uint64_t expert,
                   std::size_t leaf) {
  const std::uint64_t out = stack.out / stack.leaves.size(), rank = whole.rank;
  const Tensor rows = slice(whole.b, 0, leaf * out, out);
  return {slice(whole.a, 0, expert * rank, rank),
          select(reshape(rows, {out, rank, stack.experts}), 2, expert), rank, whole.alpha};
}

}  // namespace

std::vector<ServedPair> split_experts(const std::vector<StackPairs>& container, std::uint64_t& zeros) {
  std::vector<ServedPair> list;
  for (const StackPairs& pairs : container) {
    const ExpertStack& stack = *pairs.stack;
    for (std::size_t leaf = 0; leaf < stack.leaves.size(); ++leaf) {
      const FactorPair* const like = like_of(container, pairs, leaf);
      for (std::uint64_t expert = 0; expert < stack.experts; ++expert) {
        const std::string module = stack.module(expert, leaf);
        const auto own = pairs.parts.find({expert, leaf});
        if (own != pairs.parts.end()) {
          list.push_back({module, module, own->second});
        } else if (pairs.whole) {
          list.push_back({module, module, part_of(*pairs.whole, stack, expert, leaf)});
        } else {
          list.push_back({module, module, zero_pair(*like, stack.in, stack.out / stack.leaves.size())});
          ++zeros;
        }
      }
    }
  }
  return list;
}

FactorPair join_experts(const StackPairs& pairs, const std::vector<StackPairs>& container,
                        const Weights& weights, bool use_rslora, std::uint64_t& scaled) {
  if (pairs.whole) return *pairs.whole;
  Joiner joiner(pairs, weights, use_rslora, scaled);
  if (!joiner.has_only_zeros()) return joiner.run();
  const ExpertStack& stack = *pairs.stack;
  return zero_pair(*like_of(container, pairs, 0), stack.in, stack.out, stack.experts);
}

bool has_only_zeros(const StackPairs& pairs, const Weights& weights) {
  if (pairs.whole && !is_zero(weights, *pairs.whole)) return false;
  return std::all_of(pairs.parts.begin(), pairs.parts.end(),
                     [&](const auto& part) { return is_zero(weights, part.second); });
}

}  // namespace mu
