// SPDX-License-Identifier: Apache-2.0
// Each operation takes a list of patterns with their tensors and gives another, as in the reference: the first one gets
// the patterns that matched, the last one leaves targets. In between, an operation that does not know the target keeps
// the pattern.
#include "model/conversions.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "tensor/format.h"
#include "weights/views.h"

namespace mu {
namespace {

// Far above any real model; it bounds what a file can make us list.
constexpr std::uint64_t kMostExperts = 1U << 16;

using List = std::vector<Patterned>;

// What the operation has under the key; empty, or 0, if it has nothing.
std::string_view value_of(const NameOperation& operation, std::string_view key) {
  for (const auto& [name, value] : operation.values) {
    if (name == key) return value;
  }
  return {};
}

std::size_t number_of(const NameOperation& operation, std::string_view key) {
  std::size_t number = 0;
  const std::string_view text = value_of(operation, key);
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// One operation with what it works on.
class Step {
 public:
  Step(const NameRule& rule, const NameOperation& operation, const ModelConfig& config, std::string_view name)
      : rule_(rule), operation_(operation), config_(config), name_(name) {}

  // Nothing for what is not a matter of order.
  std::optional<List> run(List list) const {
    const std::string& name = operation_.name;
    if (name == "Chunk") return chunk(one_of(list));
    if (name == "Concatenate") return concatenate_all(std::move(list));
    if (name == "SplitModulelist") return split_list(list);
    if (name == "MergeModulelist") return merge_list(list);
    if (name == "Transpose") return turn(list);
    if (name == "Interleave") return interleave_one(one_of(list));
    if (name == "PermuteForRope") return permute(std::move(list));
    if (name == "Split") return split_sizes(one_of(list));
    if (name == "ErnieSplitAndDecoupleTextVisionExperts") return decouple(list);
    if (name == "ErnieFuseAndSplitTextVisionExperts") return fuse(list);
    return std::nullopt;
  }

 private:
  [[noreturn]] static void fail(std::string_view what, std::string_view why) {
    throw malformed(fmt::format("'{}' {}", escape_name(what), why));
  }

  std::string_view value(std::string_view key) const { return value_of(operation_, key); }
  std::size_t number(std::string_view key) const { return number_of(operation_, key); }

  bool is_set(std::string_view key) const { return value(key) == "1"; }

  // The only tensor of the only pattern.
  const Patterned& one_of(const List& list) const {
    check_single(list.front());
    return list.front();
  }

  void check_single(const Patterned& one) const {
    if (one.tensors.size() > 1)
      throw malformed(fmt::format("'{}' and '{}' would both become a part of '{}'",
                                  escape_name(one.tensors[0].name), escape_name(one.tensors[1].name),
                                  escape_name(name_)));
  }

  static Patterned made(std::string pattern, Tensor tensor, std::vector<std::size_t> from) {
    return {std::move(pattern), {std::move(tensor)}, {std::move(from)}};
  }

  static std::string numbered(std::string pattern, std::uint64_t index) {
    const std::string text = std::to_string(index);
    for (std::size_t at = pattern.find('*'); at != std::string::npos;
         at = pattern.find('*', at + text.size()))
      pattern.replace(at, 1, text);
    return pattern;
  }

  static std::uint64_t size_of(const Tensor& tensor, std::size_t dim) {
    if (dim < tensor.shape.size()) return tensor.shape[dim];
    fail(tensor.name, fmt::format("is {}: that of its class has {}", shape_text(tensor.shape),
                                  plural(dim + 1, "dimension") + " or more"));
  }

  static std::uint64_t part_of(const Tensor& tensor, std::size_t dim, std::uint64_t parts) {
    const std::uint64_t size = size_of(tensor, dim);
    if (parts > 0 && size > 0 && size % parts == 0) return size / parts;
    fail(tensor.name, fmt::format("is {}: {} don't divide into {}", shape_text(tensor.shape),
                                  plural(size, dim == 0 ? "row" : "element"), plural(parts, "part")));
  }

  const JsonValue& section(std::string_view key) const {
    const JsonValue* const found = config_.root.find(key);
    return found != nullptr ? *found : config_.root;
  }

  std::vector<std::string> targets() const {
    const std::string_view attribute = value("num_shards_attribute");
    if (attribute.empty()) return rule_.to;
    const std::optional<std::uint64_t> parts = section("text_config").find_u64(attribute);
    if (!parts || *parts == 0 || *parts > kMostExperts)
      throw malformed(fmt::format("config.json does not say by {} how many parts '{}' has", attribute,
                                  escape_name(name_)));
    std::vector<std::string> targets;
    for (std::uint64_t i = 0; i < *parts; ++i) targets.push_back(numbered(rule_.to.front(), i));
    return targets;
  }

  List chunk(const Patterned& source) const {
    const std::size_t dim = number("dim");
    const std::vector<std::string> to = targets();
    const Tensor& tensor = source.tensors.front();
    const std::uint64_t size = part_of(tensor, dim, to.size());
    List list;
    for (std::size_t i = 0; i < to.size(); ++i)
      list.push_back(made(to[i], slice(tensor, dim, i * size, size), source.from.front()));
    return list;
  }

  List concatenate_all(List list) const {
    std::vector<Tensor> tensors;
    std::vector<std::size_t> from;
    for (const std::string& pattern : rule_.match) {
      for (Patterned& one : list) {
        if (one.pattern != pattern) continue;
        if (pattern.find('*') == std::string::npos) check_single(one);
        std::move(one.tensors.begin(), one.tensors.end(), std::back_inserter(tensors));
        for (const std::vector<std::size_t>& some : one.from)
          from.insert(from.end(), some.begin(), some.end());
      }
    }
    const std::size_t dim = number("dim");
    size_of(tensors.front(), dim);
    return {made(rule_.to.front(), concatenate(tensors, dim), std::move(from))};
  }

  List split_list(const List& sources) const {
    const std::size_t dim = number("dim");
    List list;
    for (const Patterned& source : sources) {
      check_single(source);
      const Tensor& tensor = source.tensors.front();
      const std::uint64_t experts = size_of(tensor, dim);
      if (experts == 0 || experts > kMostExperts)
        fail(tensor.name, fmt::format("is {}: {} experts", shape_text(tensor.shape), experts));
      const std::string& target = sources.size() == 1 ? rule_.to.front() : source.pattern;
      for (std::uint64_t i = 0; i < experts; ++i)
        list.push_back(made(numbered(target, i), select(tensor, dim, i), source.from.front()));
    }
    return list;
  }

  // The experts of all patterns, which must be as many.
  List merge_list(const List& sources) const {
    std::size_t experts = 0;
    for (const Patterned& source : sources) experts = std::max(experts, source.tensors.size());
    for (const std::string& pattern : rule_.match) {
      const auto source = std::find_if(sources.begin(), sources.end(),
                                       [&](const Patterned& one) { return one.pattern == pattern; });
      const std::size_t count = source == sources.end() ? 0 : source->tensors.size();
      if (count != experts)
        throw malformed(fmt::format("'{}': {} of its parts are there, but only {} match '{}'",
                                    escape_name(name_), experts, count, pattern));
    }
    List list;
    for (const Patterned& source : sources) {
      std::vector<std::size_t> from;
      for (const std::vector<std::size_t>& some : source.from)
        from.insert(from.end(), some.begin(), some.end());
      check_numbers(source);
      list.push_back(made(sources.size() == 1 ? rule_.to.front() : source.pattern,
                          stack(source.tensors, number("dim")), std::move(from)));
    }
    return list;
  }

  // Experts are numbered from 0, without a gap.
  void check_numbers(const Patterned& source) const {
    for (std::size_t k = 0; k < source.tensors.size(); ++k) {
      if (last_number_in(source.tensors[k].name) != k)
        throw malformed(fmt::format("'{}': its part {} is missing", escape_name(name_), k));
    }
  }

  List turn(const List& list) const {
    Patterned source = one_of(list);
    source.pattern = rule_.to.size() == 1 ? rule_.to.front() : rule_.match.front();
    // With check_dims, values are turned only where files and class differ; what lies in the file is what counts.
    if (is_set("check_dims")) return {std::move(source)};
    Tensor& tensor = source.tensors.front();
    size_of(tensor, std::max(number("dim0"), number("dim1")));
    tensor = transpose(tensor, number("dim0"), number("dim1"));
    return {std::move(source)};
  }

  List interleave_one(Patterned source) const {
    const std::size_t dim = number("dim");
    Tensor& tensor = source.tensors.front();
    const std::uint64_t half = part_of(tensor, dim, 2);
    tensor = interleave(tensor, dim, 1, is_set("inverse") ? 2 : half);
    source.pattern = rule_.to.front();
    return {std::move(source)};
  }

  List permute(List list) const {
    const std::vector<std::string_view> layers = split(value("permute_layer_names"), ',');
    for (Patterned& one : list) {
      check_single(one);
      const bool is_layer = std::any_of(layers.begin(), layers.end(), [&](std::string_view layer) {
        return one.pattern.find(layer) != std::string::npos;
      });
      if (rule_.to.size() == 1 && rule_.match.size() == 1) one.pattern = rule_.to.front();
      Tensor& tensor = one.tensors.front();
      if (!is_layer || tensor.shape.empty() || tensor.shape.size() > 2) continue;
      const std::string_view key = value("subconfig_key");
      const JsonValue& config = key.empty() ? config_.root : section(key);
      const std::optional<std::uint64_t> heads = config.find_u64("num_attention_heads");
      if (!heads || *heads == 0 || *heads > kMostExperts)
        throw malformed("config.json has no num_attention_heads, which the rows of '" +
                        escape_name(tensor.name) + "' depend on");
      const std::uint64_t half = part_of(tensor, 0, *heads * 2);
      tensor = interleave(tensor, 0, *heads, is_set("inverse") ? 2 : half);
    }
    return list;
  }

  // Queries, keys and values of different heights, which the config gives.
  std::optional<List> split_sizes(const Patterned& source) const {
    const std::size_t dim = number("dim");
    const JsonValue& config = section("text_config");
    const std::optional<std::uint64_t> heads = config.find_u64("num_attention_heads"),
                                       others = config.find_u64("num_key_value_heads"),
                                       each = config.find_u64("head_dim");
    if (!heads || !others || !each || rule_.to.size() != 3) return std::nullopt;
    for (const std::uint64_t factor : {*heads, *others, *each}) {
      if (factor > (1U << 24)) return std::nullopt;
    }
    const Tensor& tensor = source.tensors.front();
    const std::uint64_t sizes[] = {*heads * *each, *others * *each, *others * *each};
    if (size_of(tensor, dim) != sizes[0] + sizes[1] + sizes[2]) return std::nullopt;
    List list;
    std::uint64_t begin = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      list.push_back(made(rule_.to[i], slice(tensor, dim, begin, sizes[i]), source.from.front()));
      begin += sizes[i];
    }
    return list;
  }

  // The sources in the order of the patterns; all must be there.
  std::vector<const Patterned*> all_of(const List& list) const {
    std::vector<const Patterned*> all;
    for (const std::string& pattern : rule_.match) {
      const auto found = std::find_if(list.begin(), list.end(),
                                      [&](const Patterned& one) { return one.pattern == pattern; });
      if (found == list.end())
        throw malformed(fmt::format("'{}': no tensor matches '{}'", escape_name(name_), pattern));
      all.push_back(&*found);
    }
    return all;
  }

  // Text and vision experts, each gate beside up, become lists that count through both.
  List decouple(const List& sources) const {
    const std::size_t along = number("stack_dim"), across = number("concat_dim");
    List list;
    for (std::size_t target = 0; target < rule_.to.size(); ++target) {
      std::uint64_t count = 0;
      for (const Patterned* source : all_of(sources)) {
        check_single(*source);
        const Tensor& tensor = source->tensors.front();
        const std::uint64_t size = part_of(tensor, across, rule_.to.size()), experts = size_of(tensor, along);
        if (experts > kMostExperts) fail(tensor.name, fmt::format("holds {} experts", experts));
        const Tensor part = slice(tensor, across, target * size, size);
        for (std::uint64_t i = 0; i < experts; ++i)
          list.push_back(
              made(numbered(rule_.to[target], count++), select(part, along, i), source->from.front()));
      }
    }
    return list;
  }

  List fuse(const List& sources) const {
    const std::size_t parts = rule_.to.size();
    std::vector<std::vector<Tensor>> stacked(parts);
    std::vector<std::vector<std::size_t>> from(parts);
    for (const Patterned* source : all_of(sources)) {
      check_numbers(*source);
      if (source->tensors.size() % parts != 0)
        throw malformed(fmt::format("'{}': its {} experts don't divide into {}", escape_name(name_),
                                    source->tensors.size(), plural(parts, "part")));
      const std::size_t size = source->tensors.size() / parts;
      for (std::size_t i = 0; i < parts; ++i) {
        stacked[i].push_back(stack(std::span(source->tensors).subspan(i * size, size), number("stack_dim")));
        for (std::size_t k = i * size; k < (i + 1) * size; ++k)
          from[i].insert(from[i].end(), source->from[k].begin(), source->from[k].end());
      }
    }
    List list;
    for (std::size_t i = 0; i < parts; ++i) {
      size_of(stacked[i].front(), number("concat_dim"));
      list.push_back(made(rule_.to[i], concatenate(stacked[i], number("concat_dim")), std::move(from[i])));
    }
    return list;
  }

  const NameRule& rule_;
  const NameOperation& operation_;
  const ModelConfig& config_;
  std::string_view name_;
};

}  // namespace

std::optional<std::vector<Patterned>> convert(const NameRule& rule, std::vector<Patterned> sources,
                                              const ModelConfig& config, std::string_view name) {
  std::optional<List> list = std::move(sources);
  for (const NameOperation& operation : rule.operations) {
    list = Step(rule, operation, config, name).run(std::move(*list));
    if (!list) break;
  }
  return list;
}

std::size_t copies_of(const NameRule& rule, const Tensor& tensor, std::size_t made) {
  if (rule.operations.empty() || rule.operations.front().name != "Chunk") return 1;
  if (rule.operations.back().name == "PermuteForRope") return made;
  const std::size_t dim = number_of(rule.operations.front(), "dim");
  const auto end = tensor.shape.begin() + static_cast<std::ptrdiff_t>(std::min(dim, tensor.shape.size()));
  if (std::all_of(tensor.shape.begin(), end, [](std::uint64_t size) { return size == 1; })) return 1;
  return rule.operations.size() == 1 ? made : std::min(rule.to.size(), made);
}

bool stacks_experts(const NameRule& rule) {
  return !rule.operations.empty() && (rule.operations.front().name == "MergeModulelist" ||
                                      rule.operations.front().name == "ErnieFuseAndSplitTextVisionExperts");
}

bool makes_one_stack(const NameRule& rule) {
  const std::vector<NameOperation>& steps = rule.operations;
  const auto is = [&](std::size_t at, std::string_view name, std::string_view dim) {
    return steps[at].name == name && steps[at].values.size() == 1 && steps[at].values[0].second == dim;
  };
  if (rule.to.size() != 1 || steps.empty() || !is(0, "MergeModulelist", "0")) return false;
  return steps.size() == 1 ? rule.match.size() == 1 : steps.size() == 2 && is(1, "Concatenate", "1");
}

std::optional<std::uint64_t> experts_of(const NameRule& rule, const std::vector<Patterned>& sources) {
  if (stacks_experts(rule)) {
    std::size_t most = 0;
    for (const Patterned& source : sources) most = std::max(most, source.tensors.size());
    return most;
  }
  if (rule.operations.empty() || rule.operations.back().name != "SplitModulelist") return std::nullopt;
  const Tensor& stack = sources.front().tensors.front();
  const std::size_t dim = number_of(rule.operations.back(), "dim");
  return dim < stack.shape.size() ? std::optional(stack.shape[dim]) : std::nullopt;
}

std::optional<std::uint64_t> last_number_in(std::string_view name) {
  std::optional<std::uint64_t> number;
  for (const std::string_view part : split(name, '.')) {
    std::uint64_t value = 0;
    if (is_digits(part) && std::from_chars(part.data(), part.data() + part.size(), value).ec == std::errc())
      number = value;
  }
  return number;
}

}  // namespace mu
