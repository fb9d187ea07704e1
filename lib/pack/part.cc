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
#include "os/remove_tree.h"

namespace mu {
namespace {

constexpr std::string_view kShareFile = "share.json";
constexpr std::string_view kSchema = "modelutils.share/1";
constexpr std::uint64_t kMaxShareFile = 256U << 20;  // bytes

std::vector<std::uint64_t> shard_costs(const PackPlan& plan) {
  std::vector<std::uint64_t> costs;
  for (const WeightsOutput& file : plan.weights) {
    std::uint64_t cost = file.size;
    for (const PackedTensor& tensor : file.tensors) cost += tensor.input->size;
    costs.push_back(cost);
  }
  return costs;
}

std::string share_json(const WriteResult& result) {
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
  const JsonDocument document = parse_json(read_whole_file(path, kMaxShareFile));
  const std::string* const schema = document.root.find_string("schema");
  const JsonValue* const list = document.root.find("losses");
  if (schema == nullptr || *schema != kSchema || list == nullptr) throw malformed("is not of this version");
  std::map<std::string, CastReport> losses;
  for (const JsonValue& item : list->items()) {
    const std::string* const tensor = item.find_string("tensor");
    if (tensor == nullptr) throw malformed("names no tensor");
    CastReport report;
    report.overflowed = item.find_u64("overflowed").value_or(0);
    report.clipped = item.find_u64("clipped").value_or(0);
    report.underflowed = item.find_u64("underflowed").value_or(0);
    losses.insert_or_assign(*tensor, report);
  }
  return losses;
}

// A share is whole by its rename; somebody may still have cleaned up in it.
void require_planned(const std::string& path, const WeightsOutput& planned) {
  if (const std::optional<struct stat> status = find_status(path, false); status && S_ISLNK(status->st_mode))
    throw refused("is a link").in_file(escape_name(path));
  const InputFile file(path);
  std::string prefix(planned.prefix.size(), '\0');
  bool same = file.size() == planned.size;
  if (same) file.read_at(0, std::as_writable_bytes(std::span(prefix)));
  same = same && prefix == planned.prefix;
  if (!same) throw refused("is not the shard that was planned").in_file(escape_name(path));
}

FinishedShards read_share(const std::string& path, const PackPlan& share) {
  const std::map<std::string, CastReport> losses = read_losses(join_path(path, kShareFile));
  FinishedShards shards;
  for (const WeightsOutput& planned : share.weights) {
    FinishedShard shard{join_path(path, planned.name), {}};
    require_planned(shard.path, planned);
    for (const PackedTensor& tensor : planned.tensors) {
      const auto loss = losses.find(tensor.output.name);
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
      fingerprint.add(tensor.input->name);
      fingerprint.add(std::uint64_t{tensor.input->source});
    }
  }
  fingerprint.add(input.weights, by);
  if (!recipe.empty()) fingerprint.add(recipe);
  return fingerprint.finish();
}

PackPlan plan_share(const PackPlan& plan, const Share& part, const std::string& fingerprint) {
  PackPlan share;
  share.share = ShareOf{part, fingerprint};
  share.kind = plan.kind;
  for (const std::size_t unit : units_of(part, shard_costs(plan))) {
    share.weights.push_back(plan.weights[unit]);
    share.total_bytes += plan.weights[unit].size;
  }
  return share;
}

FinishedShards find_finished(const PartsFolder& folder, const PackPlan& plan, bool discard_others) {
  FinishedShards finished;
  for (const Share& part : folder.find(discard_others)) {
    const std::string path = folder.path_of(part);
    try {
      finished.merge(read_share(path, plan_share(plan, part, folder.fingerprint())));
    } catch (const Error& error) {
      if (!discard_others)
        throw refused(fmt::format("is no whole share: {}", error.what()))
            .in_file(escape_name(path))
            .hint("--force discards it");
      remove_tree(path);
    }
  }
  return finished;
}

WriteResult write_share(const PackPlan& share, const PartsFolder& folder, const std::string& out,
                        const Input& input, const WriteOptions& options) {
  require_writable(share, input, out, options.force);
  const std::vector<Share> found = folder.find(options.force);
  const std::string path = folder.path_of(share.share->part);
  if (std::find(found.begin(), found.end(), share.share->part) != found.end()) {
    WriteResult result;
    for (const auto& [name, shard] : read_share(path, share))
      result.losses.insert(result.losses.end(), shard.losses.begin(), shard.losses.end());
    return result;
  }
  folder.make();
  return write_shards(share, input, path, std::string(kShareFile), share_json, options);
}

}  // namespace mu
