// SPDX-License-Identifier: Apache-2.0
// st-inspect: what is in this file? Options choose views; every view prints one input after the other.
#include <fmt/format.h>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/run.h"
#include "inspect/check.h"
#include "inspect/diff.h"
#include "inspect/listing.h"
#include "inspect/object.h"
#include "inspect/report.h"
#include "inspect/safety.h"
#include "inspect/slice.h"
#include "model/prepare.h"
#include "os/file.h"
#include "os/folder.h"
#include "remote.h"
#include "st-inspect-measure.h"
#include "st-inspect-options.h"
#include "st-inspect-plain.h"
#include "weights/open/open.h"

namespace {

using namespace mu;

using Options = InspectOptions;

constexpr std::uint64_t kMaxConfig = 16U << 20;  // bytes: real ones have some KB; bounds memory

double tolerance_of(const std::optional<std::string>& text, std::string_view option) {
  if (!text) return 0;
  char* end = nullptr;
  const double value = std::strtod(text->c_str(), &end);
  if (text->empty() || *end != '\0' || !(value >= 0))
    throw usage(fmt::format("{} takes a number of 0 or more, not '{}'", option, escape_name(*text)));
  return value;
}

int diff(const Options& o) {
  DiffOptions options;
  for (const std::string& rule : o.maps) options.map.emplace_back(rule);
  options.tolerance = {tolerance_of(o.rtol, "--rtol"), tolerance_of(o.atol, "--atol")};
  options.ignore_dtype = o.ignore_dtype;
  options.names_as_is = o.names_as_is;
  const FolderOptions folder_options{.components = FolderOptions::Components::kBeside};
  Input a = open_operand(o.paths[0], StreamData::kSpool, folder_options);
  require_loadable(a);
  Input b = open_operand(o.paths[1], StreamData::kSpool, folder_options);
  require_loadable(b);
  const PlainSides plain = prepare_sides(o, a, b);
  Progress progress("comparing", a.weights.total_bytes(), o.common.show_progress());
  options.same_files = same_files(a.weights, b.weights);
  const Diff result = diff_inputs(a, b, options, o.common.thread_count(), progress);
  if (const std::string seen = seen_through_text(result.names); !seen.empty()) print_note(seen);
  out(o.common.json ? diff_json(a, b, plain, result) : diff_text(result, out_width()));
  warn_of_danger(a);
  warn_of_danger(b);
  return is_refused(a) || is_refused(b) ? 4 : result.same() ? 0 : 1;
}

void print_metadata(const Options& o, const Input& input) {
  const std::string end = o.common.null ? std::string(1, '\0') : "\n";
  if (const TorchObject* const object = shown_object(input)) {
    return in_file(input.name, [&] {
      return out(*o.metadata == kAllKeys ? object_fields_text(*object)
                                         : object_field_text(*object, *o.metadata) + end);
    });
  }
  const Metadata metadata = input.weights.merged_metadata();
  if (*o.metadata == kAllKeys) return out(metadata_text(metadata));
  const auto found = metadata.find(*o.metadata);
  if (found == metadata.end())
    throw Error(ErrorKind::kAnswerNo, "has no metadata key '" + escape_name(*o.metadata) + "'")
        .in_file(escape_name(input.name));
  out(found->second + end);
}

StreamData stdin_data(const Options& o) {
  if (o.header || (o.names && !o.dequantize)) return StreamData::kLeave;
  return o.stats || o.hash || o.print || o.dequantize ? StreamData::kSpool : StreamData::kCount;
}

// The model of --base, with the names that loaders see. Only headers are read, and its config, which lies beside a
// file.
Input open_base(const std::string& path) {
  Input base = open_operand(path, StreamData::kLeave);
  require_loadable(base);
  require_model(base, "--base takes the model that the adapter is for");
  for (const WeightsFile& file : base.weights.files) {
    if (!file.read_only.empty()) throw malformed(std::string(file.read_only)).in_file(escape_name(file.name));
  }
  const std::string config = join_path(parent_of(path), "config.json");
  if (!base.folder && exists(config))
    in_file(config, [&] { base.config = parse_model_config(read_whole_file(config, kMaxConfig)); });
  prepare_model(base, {});
  return base;
}

int inspect(const Options& o, const std::string& path, const Input* base) {
  Input input =
      open_operand(path, stdin_data(o),
                   {.everything = o.tree.has_value(), .components = FolderOptions::Components::kBeside});
  if (!o.check) require_loadable(input);
  std::optional<Dtype> plain;
  if (o.dequantize) plain = dequantize(o, input);
  if (o.print && !o.dequantize) prepare_print(o, input);
  const std::vector<const Tensor*> tensors = choose_tensors(input.weights, o.globs, o.sort_key);
  if (o.part) return measure_part(o, input, tensors, plain);
  if (o.print) {
    print_slice(input.weights, *o.print, o.common.json);
  } else if (o.header) {
    for (const WeightsFile& file : input.weights.files) {
      if (!file.is_safetensors) throw malformed("has no safetensors header").in_file(escape_name(file.name));
      out(read_safetensors_header(file));
    }
  } else if (o.metadata) {
    print_metadata(o, input);
  } else if (o.names) {
    print_names(tensors, o.common.null);
  } else if (o.stats || o.hash || o.check || o.common.json) {
    return measure(o, input, tensors, base);
  } else if (o.tensors) {
    print_tensors(input, tensors);
  } else if (o.tree) {
    if (input.weights.from_ranks && !input.weights.from_ranks->not_listed.empty())
      print_warning("the optimizer is not listed: " + input.weights.from_ranks->not_listed);
    const TorchObject* const object = shown_object(input);
    out(object != nullptr ? object_tree_text(*object, o.depth, out_width())
                          : tree_text(tensors, o.depth, out_width()));
  } else {
    if (path != o.paths.front()) out("\n");
    const Findings findings = check_input(input);
    out(overview_text(input, gather_facts(input), findings, tensors, out_width()));
    if (console().verbose > 0) out("\n" + safety_text(input) + check_text(input, findings, Level::kHub));
  }
  if (views_of(o) > 0) warn_of_danger(input);  // the overview shows it
  return is_refused(input) ? 4 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  return mu::run("st-inspect", [&] {
    const Options o = parse_inspect_options(argc, argv);
    if (o.diff) return diff(o);
    if (o.combine) return combine(o);
    std::optional<Input> base;
    if (o.base) base = open_base(*o.base);
    return for_each_operand(
        o.paths, [&](const std::string& path) { return inspect(o, path, base ? &*base : nullptr); });
  });
}
