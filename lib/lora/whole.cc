// SPDX-License-Identifier: Apache-2.0
// A vocabulary that was resized shows in a matrix with another number of rows than the base has, where the base
// has as many as its config's vocab_size says. Embedding and head have to come together then, unless they are
// tied. PEFT saves both by itself, and with them the old weights of embeddings that have factors.
#include "lora/whole.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "lora/classifier.h"
#include "model/families.h"
#include "tensor/cast.h"
#include "tensor/format.h"

namespace mu {
namespace {

[[noreturn]] void fail(const AdapterUse& use, const std::string& name, const std::string& why,
                       const std::string& hint = "") {
  const Error error =
      malformed(fmt::format("{}: {}", escape_name(name), why)).in_file(escape_name(use.adapter->name));
  if (hint.empty()) throw error;
  throw Error(error).hint(hint);
}

bool equal_values(const Weights& left, const Tensor& a, const Weights& right, const Tensor& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  constexpr std::uint64_t kPiece = 1U << 20;
  std::vector<std::byte> one(static_cast<std::size_t>(std::min(kPiece, a.size))), other(one.size());
  for (std::uint64_t at = 0; at < a.size; at += kPiece) {
    const auto size = static_cast<std::size_t>(std::min(kPiece, a.size - at));
    left.read(a, at, std::span(one).first(size));
    right.read(b, at, std::span(other).first(size));
    if (std::memcmp(one.data(), other.data(), size) != 0) return false;
  }
  return true;
}

// The paths in a config of the sizes of a vocabulary with that many tokens.
std::vector<std::vector<std::string>> vocabulary_sizes(const JsonValue& config, std::uint64_t tokens) {
  std::vector<std::vector<std::string>> paths;
  if (config.find_u64("vocab_size") == tokens) paths.push_back({"vocab_size"});
  for (const JsonValue::Member& member : config.members()) {
    if (!member.value.is_object() || !member.key.ends_with("_config")) continue;
    for (std::vector<std::string>& below : vocabulary_sizes(member.value, tokens)) {
      below.insert(below.begin(), member.key);
      paths.push_back(std::move(below));
    }
  }
  return paths;
}

bool has_number(const std::string& name) {
  const std::vector<std::string_view> parts = split(name, '.');
  return std::any_of(parts.begin(), parts.end(), is_digits);
}

}  // namespace

std::vector<WholeModules::Whole> WholeModules::gather(const AdapterUse& use, const NamesInBase& names) const {
  std::vector<Whole> wholes;
  for (const ReplacedTensor& replaced : use.adapter->replaced)
    wholes.push_back({names(replaced.name), &replaced});
  for (const ReplacedTensor& layer : use.adapter->layers) {
    const std::string name = names(layer.name);
    const Tensor* const old = base_.find(base_.contains(name) ? name : base_.source_of(name));
    if (old != nullptr && old->shape != layer.tensor->shape) wholes.push_back({name, &layer});
  }
  return wholes;
}

// One whole tensor of a tied pair changes both, unless it is of modules_to_save; two of them stay tied while they are
// equal.
void WholeModules::settle_ties(const AdapterUse& use, std::vector<Whole>& wholes) {
  const auto find = [&](const std::string& name) {
    return std::find_if(wholes.begin(), wholes.end(), [&](const Whole& whole) { return whole.name == name; });
  };
  std::vector<std::pair<std::string, std::string>> pairs;  // source, and what is tied to it
  for (const Whole& whole : wholes) {
    const std::string source = base_.source_of(whole.name);
    if (!source.empty()) pairs.emplace_back(source, whole.name);
    for (const std::string& other : base_.tied_to(whole.name)) pairs.emplace_back(whole.name, other);
  }
  std::set<std::string> untied;  // sources that the config still ties
  for (const auto& [source, other] : pairs) {
    if (untied.contains(source)) continue;
    const auto first = find(source), second = find(other);
    const Whole& one = first != wholes.end() ? *first : *second;
    const Weights& weights = use.adapter->weights;
    const bool stay = first != wholes.end() && second != wholes.end()
                          ? equal_values(weights, *first->from->tensor, weights, *second->from->tensor)
                          : !one.from->is_trained;
    if (stay) continue;
    const bool said = base_.untie(source);
    base_.note(fmt::format("{} was trained separately from the tensor it is tied to: {}",
                           escape_name(one.name),
                           said ? "tie_word_embeddings becomes false" : "both are written"));
    if (second != wholes.end()) base_.leave(other);
    if (said) return;
    untied.insert(source);
  }
  std::erase_if(pairs, [&](const auto& pair) { return untied.contains(pair.first); });
  // Stored copies get the same bytes, others none.
  for (const auto& [source, other] : pairs) {
    if (find(source) == wholes.end()) wholes.push_back({source, find(other)->from});
    const ReplacedTensor* const from = find(source)->from;
    const auto copy = find(other);
    if (!base_.contains(other) && copy != wholes.end()) wholes.erase(copy);
    if (base_.contains(other) && copy == wholes.end()) wholes.push_back({other, from});
  }
}

// An untrained matrix goes to all names that share it, also those that were untied because another one was trained.
void WholeModules::spread_untrained(std::vector<Whole>& wholes) const {
  std::vector<Whole> more;
  for (const Whole& whole : wholes) {
    if (whole.from->is_trained) continue;
    for (std::string& name : base_.same_as(whole.name)) {
      const auto is_it = [&](const Whole& other) { return other.name == name; };
      if (std::none_of(wholes.begin(), wholes.end(), is_it)) more.push_back({std::move(name), whole.from});
    }
  }
  wholes.insert(wholes.end(), more.begin(), more.end());
}

bool WholeModules::repeats_taken(const AdapterUse& use, const Whole& whole) const {
  const auto taken = taken_.find(whole.name);
  if (taken == taken_.end()) return false;
  const Adapter& other = *taken->second.adapter;
  if (equal_values(other.weights, *taken->second.from->tensor, use.adapter->weights, *whole.from->tensor))
    return true;
  throw refused(fmt::format("{}: {} holds this tensor whole, too, with other values", escape_name(whole.name),
                            escape_name(other.name)))
      .in_file(escape_name(use.adapter->name))
      .hint("whole tensors can't be added up: merge one of the two adapters only");
}

void WholeModules::refuse_both(const Adapter& whole, const Adapter& change, const std::string& name) {
  throw refused(fmt::format("{}: this adapter changes a tensor that {} holds whole", escape_name(name),
                            escape_name(whole.name)))
      .in_file(escape_name(change.name))
      .hint("merge one of the two adapters only");
}

void WholeModules::note_change(const AdapterUse& use, const std::string& name) {
  const auto taken = taken_.find(name);
  if (taken != taken_.end() && taken->second.adapter != use.adapter && taken->second.from->is_trained)
    refuse_both(*taken->second.adapter, *use.adapter, name);
  changed_[name] = use.adapter;
}

void WholeModules::check_shape(const AdapterUse& use, const Whole& whole, const Tensor& old) {
  const std::vector<std::uint64_t>&before = old.shape, &after = whole.from->tensor->shape;
  if (before == after) return;
  const bool rows_differ = !before.empty() && before.size() == after.size() && after[0] > 0 &&
                           std::equal(before.begin() + 1, before.end(), after.begin() + 1);
  const std::optional<ModelConfig>& config = base_.input().config;
  if (rows_differ && is_label_head(base_.model_type(), use.adapter->config.task_type, whole.name)) return;
  if (rows_differ && config && !vocabulary_sizes(config->root, before[0]).empty()) {
    if (!vocabulary_) vocabulary_ = {before[0], after[0], 0, whole.name};
    if (before.size() == 2) vocabulary_->width = before[1];
    if (vocabulary_->before == before[0] && vocabulary_->after == after[0]) return;
    fail(use, whole.name,
         fmt::format("has {} rows, but {} has {}", after[0], escape_name(vocabulary_->name),
                     vocabulary_->after),
         "embeddings of one vocabulary have the same number of rows");
  }
  fail(use, whole.from->name,
       fmt::format("the tensor is {}, but in the base it is {}", shape_text(after), shape_text(before)));
}

void WholeModules::replace(const AdapterUse& use, const Whole& whole) {
  Tensor* const old = base_.find(whole.name);
  const ReplacedTensor& from = *whole.from;
  const Dtype before = old != nullptr ? old->dtype : base_.weights().tensors.front().dtype;
  const Dtype dtype = keep_dtypes_ ? from.tensor->dtype : before;
  if (!is_plain_float(before) || !is_plain_float(from.tensor->dtype))
    fail(use, from.name, "is not of a plain floating type");
  if (old != nullptr) check_shape(use, whole, *old);
  Tensor tensor = *from.tensor;
  tensor.name = whole.name;
  tensor.source = old != nullptr ? old->source : 0;
  tensor.offset = old != nullptr ? old->offset : 0;
  tensor.size = tensor.element_count() * bits(dtype) / 8;
  tensor.dtype = dtype;
  compute_tensor(tensor, {{&use.adapter->weights, *from.tensor}},
                 [adapter = use.adapter, from = from.tensor, dtype](const Sources&, std::uint64_t begin,
                                                                    std::span<std::byte> out) {
                   if (from->dtype == dtype) return adapter->weights.read(*from, begin, out);
                   std::vector<std::byte> bytes(out.size() * bits(from->dtype) / bits(dtype));
                   adapter->weights.read(*from, begin * bits(from->dtype) / bits(dtype), bytes);
                   CastReport report;
                   cast(from->dtype, dtype, bytes, out, report);
                 });
  ++base_.result.replaced;
  if (old != nullptr) {
    *old = std::move(tensor);
    return;
  }
  base_.note(escape_name(whole.name) + " is not in the base and is added");
  base_.add(std::move(tensor));
}

void WholeModules::take(const AdapterUse& use, const NamesInBase& names) {
  std::vector<Whole> wholes = gather(use, names);
  settle_ties(use, wholes);
  for (const Whole& whole : wholes) {
    if (whole.from->is_trained) base_.leave(whole.name);
  }
  spread_untrained(wholes);
  for (const Whole& whole : wholes) {
    const auto changed = changed_.find(whole.name);
    if (changed != changed_.end() && whole.from->is_trained)
      refuse_both(*use.adapter, *changed->second, whole.name);
    if (!repeats_taken(use, whole)) replace(use, whole);
    taken_.try_emplace(whole.name, Taken{use.adapter, whole.from});
  }
  const std::size_t unscaled = wholes.size() + use.adapter->rows.size();
  if (use.scale != 1 && unscaled > 0)
    base_.note(fmt::format("the scale {} does not apply to {} that {} holds whole", use.scale,
                           plural(unscaled, "tensor"), escape_name(use.adapter->name)));
}

void WholeModules::finish() {
  if (!vocabulary_) return;
  const Vocabulary& size = *vocabulary_;
  for (const Tensor& tensor : base_.weights().tensors) {
    if (taken_.contains(tensor.name) || tensor.shape.empty() || tensor.shape[0] != size.before) continue;
    const bool fits = tensor.shape.size() == 1 ? tensor.name.ends_with("bias")
                                               : tensor.shape.size() == 2 && tensor.shape[1] == size.width;
    if (!fits || has_number(tensor.name)) continue;
    throw malformed(fmt::format("the vocabulary was resized: {} has {} rows, but {} has {}",
                                escape_name(size.name), size.after, escape_name(tensor.name), size.before))
        .in_file(escape_name(base_.input().name))
        .hint(
            "save the adapter with both embeddings (save_embedding_layers=True in PEFT), or resize the "
            "base first");
  }
  for (std::vector<std::string>& path : vocabulary_sizes(base_.input().config->root, size.before))
    base_.result.config.push_back({std::move(path), std::to_string(size.after)});
  base_.note(fmt::format(
      "the vocabulary is resized from {} to {} tokens: the tokenizer has to come from the adapter's training",
      size.before, size.after));
}

}  // namespace mu
