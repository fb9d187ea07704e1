// SPDX-License-Identifier: Apache-2.0
#include "pack/part.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::string_view kPartFile = "share.json";
constexpr std::string_view kSchema = "modelutils.share/1";
constexpr std::uint64_t kMaxPartFile = 256U
                                       << 20;  // bytes: a line of some 100 for each tensor that lost values

std::vector<std::uint64_t> shard_costs(const PackPlan& plan) {
  std::vector<std::uint64_t> costs;
  for (const WeightsOutput& file : plan.weights) {
    std::uint64_t cost = file.size;
    for (const PackedTensor& tensor : file.tensors) cost += tensor.input->size;
    costs.push_back(cost);
  }
  return costs;
}

std::string part_json(const WriteResult& result) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("schema", kSchema).key("losses").begin_array();
  for (const auto& [name, report] : result.losses)
    json.begin_object()
        .member("tensor", name)
        .member("overflowed", report.overflowed)
        .member("clipped", report.clipped)
        .member("underflowed", report.underflowed)
        .end_object();
  json.end_array().end_object();
  return text + "\n";
}

std::map<std::string, CastReport> read_losses(const std::string& path) {
  const JsonDocument document = parse_json(read_whole_file(path, kMaxPartFile));
  const std::string* const schema = document.root.find_string("schema");
  const JsonValue* const list = document.root.find("losses");
  if (schema == nullptr || *schema != kSchema || list == nullptr)
    throw malformed("is not a part written by this version");
  std::map<std::string, CastReport> losses;
  for (const JsonValue& item : list->items()) {
    const std::string* const tensor = item.find_string("tensor");
    if (tensor == nullptr) throw malformed("has an entry that names no tensor");
    CastReport report;
    report.overflowed = item.find_u64("overflowed").value_or(0);
    report.clipped = item.find_u64("clipped").value_or(0);
    report.underflowed = item.find_u64("underflowed").value_or(0);
    losses.insert_or_assign(*tensor, report);
  }
  return losses;
}

// A part is complete once it has been renamed; but somebody may have deleted files in it since.
void require_planned(const std::string& path, const WeightsOutput& planned) {
  if (const std::optional<struct stat> status = find_status(path, false); status && S_ISLNK(status->st_mode))
    throw refused("is a link").in_file(escape_name(path));
  const InputFile file(path);
  std::string prefix(planned.prefix.size(), '\0');
  bool same = file.size() == planned.size;
  if (same) file.read_at(0, std::as_writable_bytes(std::span(prefix)));
  same = same && prefix == planned.prefix;
  if (!same) throw refused("is not the planned shard").in_file(escape_name(path));
}

FinishedShards read_part(const std::string& path, const PackPlan& plan) {
  const std::map<std::string, CastReport> losses = read_losses(join_path(path, kPartFile));
  FinishedShards shards;
  for (const WeightsOutput& planned : plan.weights) {
    FinishedShard shard{join_path(path, planned.name), {}};
    require_planned(shard.path, planned);
    for (const PackedTensor& tensor : planned.tensors) {
      const auto loss = losses.find(planned.label(tensor));
      if (loss != losses.end()) shard.losses.push_back(*loss);
    }
    shards.emplace(planned.name, std::move(shard));
  }
  return shards;
}

}  // namespace

std::string pack_fingerprint(const PackPlan& plan, const Input& input, KnownBy by, std::string_view recipe) {
  Fingerprint fingerprint("st-pack 1");
  for (const WeightsOutput& file : plan.weights) {
    fingerprint.add(file.name);
    fingerprint.add(file.prefix);
    for (const PackedTensor& tensor : file.tensors) {
      for (const Tensor* source : tensor.sources()) {
        fingerprint.add(source->name);
        fingerprint.add(std::uint64_t{source->source});
      }
    }
  }
  fingerprint.add(input.weights, by);
  for (const Component& component : input.components) {
    if (component.input.has_weights) fingerprint.add(component.input.weights, by);
  }
  if (!plan.recipe.empty()) fingerprint.add(plan.recipe);
  if (!recipe.empty()) fingerprint.add(recipe);
  return fingerprint.finish();
}

PackPlan plan_part(const PackPlan& plan, const Part& part, const std::string& fingerprint) {
  PackPlan own;
  own.part = PlannedPart{part, fingerprint};
  own.kind = plan.kind;
  own.announced = plan.announced;
  own.plain = plan.plain;
  own.names = plan.names;
  own.quantize = plan.quantize;
  own.component_names = plan.component_names;
  for (const std::size_t unit : units_of(part, shard_costs(plan))) {
    own.weights.push_back(plan.weights[unit]);
    own.total_bytes += plan.weights[unit].size;
  }
  return own;
}

FinishedShards find_finished(const PartsFolder& folder, const PackPlan& plan, bool discard_others) {
  FinishedShards finished;
  folder.read_each(discard_others, [&](const Part& part, const std::string& path) {
    finished.merge(read_part(path, plan_part(plan, part, folder.fingerprint())));
  });
  return finished;
}

WriteResult write_part(const PackPlan& plan, const PartsFolder& folder, const std::string& out,
                       const Input& input, const WriteOptions& options) {
  require_writable(plan, input, out, options.force);
  const std::vector<Part> found = folder.find(options.force);
  const std::string path = folder.path_of(plan.part->number);
  if (std::find(found.begin(), found.end(), plan.part->number) != found.end()) {
    WriteResult result;
    for (const auto& [name, shard] : read_part(path, plan))
      result.losses.insert(result.losses.end(), shard.losses.begin(), shard.losses.end());
    return result;
  }
  folder.make();
  return write_shards(plan, path, std::string(kPartFile), part_json, options);
}

}  // namespace mu
