// SPDX-License-Identifier: Apache-2.0
#include "model/tied.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>

#include "weights/layout.h"

namespace mu {
namespace {

// Tensors that repeat an input embedding, and the input embeddings they may repeat; from the
// _tied_weights_keys of Transformers' models. A prefix such as "language_model." may stand before both.
constexpr std::array<std::string_view, 7> kOutputs = {"lm_head.weight",
                                                      "embed_out.weight",
                                                      "output_projection.weight",
                                                      "encoder.embed_tokens.weight",
                                                      "decoder.embed_tokens.weight",
                                                      "cls.predictions.decoder.weight",
                                                      "lm_head.decoder.weight"};
constexpr std::array<std::string_view, 10> kInputs = {"model.embed_tokens.weight",
                                                      "model.language_model.embed_tokens.weight",
                                                      "model.decoder.embed_tokens.weight",
                                                      "transformer.wte.weight",
                                                      "gpt_neox.embed_in.weight",
                                                      "model.shared.weight",
                                                      "shared.weight",
                                                      "bert.embeddings.word_embeddings.weight",
                                                      "roberta.embeddings.word_embeddings.weight",
                                                      "embed_tokens.weight"};

}  // namespace

std::string kept_name_of(std::string_view name, const TensorsByName& names) {
  for (const std::string_view output : kOutputs) {
    if (!name.ends_with(output)) continue;
    const std::string_view prefix = name.substr(0, name.size() - output.size());
    if (!prefix.empty() && prefix.back() != '.') continue;
    for (const std::string_view input : kInputs) {
      std::string candidate = std::string(prefix) + std::string(input);
      if (candidate != name && names.contains(candidate)) return candidate;
    }
  }
  return {};
}

std::vector<TiedName> tied_candidates(const Weights& weights) {
  std::vector<TiedName> pairs;
  const TensorsByName names = tensors_by_name(weights);
  for (const Tensor& tensor : weights.tensors) {
    std::string kept = kept_name_of(tensor.name, names);
    if (kept.empty()) continue;
    const Tensor& other = *names.at(kept);
    if (other.dtype != tensor.dtype || other.shape != tensor.shape) continue;
    pairs.push_back({tensor.name, std::move(kept), false});
  }
  return pairs;
}

std::vector<TiedName> shared_storage_names(const Weights& weights) {
  const auto boxes = [](const Tensor& tensor) {
    return tensor.layout ? tensor.layout->boxes : std::vector<Box>();
  };
  const auto member = [](const Tensor& tensor) {
    return tensor.layout ? tensor.layout->inflated.get() : nullptr;
  };
  const auto place = [&](const Tensor& tensor) {
    return std::tuple(tensor.source, reinterpret_cast<std::uintptr_t>(member(tensor)), tensor.offset,
                      tensor.dtype, tensor.shape, boxes(tensor));
  };
  std::vector<const Tensor*> order;
  for (const Tensor& tensor : weights.tensors) {
    // In a safetensors file no two tensors overlap.
    if (tensor.size > 0 && !weights.files[tensor.source].is_safetensors) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(), [&](const Tensor* a, const Tensor* b) {
    const auto left = std::tuple(a->source, a->offset, a->size),
               right = std::tuple(b->source, b->offset, b->size);
    return left != right ? left < right : std::pair(place(*a), a->name) < std::pair(place(*b), b->name);
  });
  std::vector<TiedName> pairs;
  for (std::size_t first = 0; first < order.size();) {
    std::size_t last = first + 1;
    while (last < order.size() && order[last]->offset == order[first]->offset &&
           place(*order[last]) == place(*order[first]))
      ++last;
    if (last - first > 1) {
      TensorsByName group;
      for (std::size_t i = first; i < last; ++i) group.emplace(order[i]->name, order[i]);
      std::size_t kept = first;
      while (kept < last && !kept_name_of(order[kept]->name, group).empty()) ++kept;
      if (kept == last) kept = first;
      for (std::size_t i = first; i < last; ++i) {
        if (i != kept) pairs.push_back({order[i]->name, order[kept]->name, true});
      }
    }
    first = last;
  }
  return pairs;
}

bool equal_bytes(const Weights& weights, const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype || a.shape != b.shape || a.size != b.size) return false;
  constexpr std::uint64_t kPiece = 1U << 20;
  std::vector<std::byte> left(static_cast<std::size_t>(std::min(kPiece, a.size)));
  std::vector<std::byte> right(left.size());
  for (std::uint64_t at = 0; at < a.size; at += kPiece) {
    const auto size = static_cast<std::size_t>(std::min(kPiece, a.size - at));
    weights.read(a, at, std::span(left).first(size));
    weights.read(b, at, std::span(right).first(size));
    if (std::memcmp(left.data(), right.data(), size) != 0) return false;
  }
  return true;
}

}  // namespace mu
