// SPDX-License-Identifier: Apache-2.0
// lora-extract --resize and --compare: adapters without a base.
#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "cli/console.h"
#include "fetch/read_ahead.h"
#include "lora-extract-options.h"
#include "lora/report.h"
#include "os/folder.h"
#include "pack/report.h"
#include "remote.h"
#include "weights/open/open.h"

namespace mu {

namespace {

Adapter open_reached(const std::string& path) {
  return with_hub_hint(path, [&path] { return open_adapter(path); });
}

// Calls `work`, for which what it reads of other machines is read ahead.
template <typename Work>
auto with_read_ahead(const LoraExtractOptions& o, const std::vector<FarRange>& reads, const Work& work) {
  std::optional<ReadAhead> ahead;
  FetchOptions options;
  options.connections = o.remote.connections;
  if (!reads.empty()) ahead.emplace(reads, options);
  auto result = work();
  if (ahead) ahead->finish();
  return result;
}

}  // namespace

int resize_mode(const LoraExtractOptions& o) {
  const std::string& path = o.operands.front();
  const auto adapter = std::make_shared<const Adapter>(open_reached(path));
  in_file(join_path(path, "adapter_config.json"), [&] { require_effect(adapter->config); });
  const Resized resized = with_read_ahead(o, far_reads({adapter.get()}), [&] {
    return resize_adapter(adapter, open_input(path, StreamData::kCount), *o.resize);
  });
  PackOptions options = lora_pack_options(o, resized.config_text);
  options.selection.dtype = o.dtype;
  const PackPlan plan = plan_pack(resized.input, {}, options, OutputKind::kFolder);
  if (!o.common.dry_run)
    write_pack(plan, resized.input, o.output,
               lora_write_options(o, plan, resized.input, fmt::format("rank {}", *o.resize)));
  out(o.common.json ? resized_json(resized, path, o.output, !o.common.dry_run) : resized_text(resized));
  if (!o.common.dry_run)
    print_note(fmt::format("{}: {} of rank {}", escape_name(o.output),
                           plural(resized.modules.size(), "module"), *o.resize));
  return 0;
}

int compare_mode(const LoraExtractOptions& o) {
  const Adapter a = open_reached(o.operands[0]), b = open_reached(o.operands[1]);
  const AdapterComparison found =
      with_read_ahead(o, far_reads({&a, &b}), [&] { return compare_adapters(a, b); });
  out(o.common.json ? comparison_json(found, a.name, b.name) : comparison_text(found));
  const double tolerance = o.tolerance.value_or(1e-6);
  std::uint64_t differing = 0;
  for (const ModuleComparison& module : found.modules)
    differing += module.deltas.distance <= tolerance ? 0 : 1;
  for (const TensorComparison& tensor : found.tensors) differing += tensor.distance <= tolerance ? 0 : 1;
  std::string all = plural(found.modules.size(), "module");
  if (!found.tensors.empty()) all += fmt::format(" and {}", plural(found.tensors.size(), "other tensor"));
  print_note(differing == 0 ? fmt::format("same to {:g}: {}", tolerance, all)
                            : fmt::format("{} of {} differ by more than {:g}", differing, all, tolerance));
  return differing == 0 ? 0 : 1;
}

}  // namespace mu
