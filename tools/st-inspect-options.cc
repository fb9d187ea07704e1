// SPDX-License-Identifier: Apache-2.0
#include "st-inspect-options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/text.h"
#include "cli/part.h"
#include "model/dequantise.h"
#include "net/libcurl_version.h"

namespace mu {
namespace {

constexpr ProgramText kText = {
    "st-inspect", "Show what weights, a model folder or a checkpoint hold, and whether it is sound.",
    "PATH...", "st-inspect --check=hub out", describe_libcurl};

// What --names means with --diff; there the value may be an argument of its own, as with st-pack.
constexpr std::array<std::string_view, 2> kDiffNames = {"auto", "as-is"};

bool is_of_diff(std::string_view value) {
  return std::find(kDiffNames.begin(), kDiffNames.end(), value) != kDiffNames.end();
}

// The arguments with "--names as-is" as one, which `joined` holds.
std::vector<const char*> join_names(int argc, char** argv, std::string& joined) {
  std::vector<const char*> arguments(argv, argv + argc);
  const auto end = std::find(arguments.begin(), arguments.end(), std::string_view("--"));
  const auto names = std::find(arguments.begin(), end, std::string_view("--names"));
  const bool is_diff = std::find(arguments.begin(), end, std::string_view("--diff")) != end;
  if (!is_diff || end - names < 2 || !is_of_diff(names[1])) return arguments;
  joined = std::string("--names=") + names[1];
  *names = joined.c_str();
  arguments.erase(names + 1);
  return arguments;
}

void set_names(InspectOptions& o, const std::optional<std::string>& value) {
  o.names = value == "list";
  o.names_as_is = value == "as-is";
  if (value && is_of_diff(*value) && !o.diff)
    throw usage("--names=" + *value + " needs --diff").hint("--names alone prints names");
}

}  // namespace

int views_of(const InspectOptions& o) {
  return int{o.tensors} + int{o.names} + int{o.header} + int{o.tree.has_value()} +
         int{o.metadata.has_value()} + int{o.print.has_value()} + int{o.diff} +
         int{o.stats || o.hash || o.check};
}

void derive(InspectOptions& o) {
  for (const std::string& glob : o.filters) o.globs.emplace_back(glob);
  if (o.sort) o.sort_key = sort_key_of(*o.sort).value_or(SortKey::kOffset);
  if (o.check) o.level = *o.check == "loads" ? Level::kLoads : *o.check == "hub" ? Level::kHub : Level::kSpec;
  if (o.tree && *o.tree != kAllKeys) {
    if (!is_digits(*o.tree) || o.tree->size() > 5 || *o.tree == "0")
      throw usage("--tree takes a depth of 1 or more, not '" + escape_name(*o.tree) + "'");
    o.depth = std::stoul(*o.tree);
  }
  if (o.fail_on) {
    for (const std::string_view what : split(*o.fail_on, ',')) {
      if (what != "nan" && what != "inf")
        throw usage("--fail-on takes nan, inf or nan,inf, not '" + escape_name(what) + "'");
      (what == "nan" ? o.fail_on_nan : o.fail_on_inf) = true;
    }
    o.stats = true;
  }
  if (views_of(o) > 1)
    throw usage("these views exclude one another").hint("only --stats, --hash and --check can be combined");
  if (o.part && (o.paths.size() != 1 || o.paths[0] == "-" || o.combine || o.check || !(o.stats || o.hash)))
    throw usage("--part needs one PATH and --stats or --hash");
  if (o.common.dry_run && !o.part) throw usage("-n needs --part");
  if (o.combine &&
      (views_of(o) > (o.stats || o.hash || o.check ? 1 : 0) || o.sort || !o.filters.empty() || o.dequantize))
    throw usage("--combine takes no other view, --sort, --filter or --dequantize")
        .hint("give them to the runs with --part");
  if (o.base && (!o.check || o.combine)) throw usage("--base needs --check, and excludes --combine");
  if (o.dequantize && (o.header || o.metadata || o.check))
    throw usage("--dequantize has no meaning for --header, --metadata and --check");
  if (o.base && *o.base == "-") throw usage("--base can't be standard input");
  if (o.diff && o.paths.size() != 2)
    throw usage(fmt::format("--diff compares two inputs, not {}", o.paths.size()));
  if (!o.diff && (!o.maps.empty() || o.rtol || o.atol || o.ignore_dtype))
    throw usage("--map, --rtol, --atol and --ignore-dtype need --diff");
  if (std::count(o.paths.begin(), o.paths.end(), "-") > 1)
    throw usage("standard input can be read only once");
}

InspectOptions parse_inspect_options(int argc, char** argv) {
  InspectOptions o;
  std::optional<std::string> names, part, dequantize;
  App app(kText);
  app.operands(o.paths);
  app.group("Views (default: an overview)");
  app.flag("-t,--tensors", o.tensors, "TSV: name dtype shape parameters bytes file offset");
  app.optional_value("--names", "KIND", "list", names,
                     "names, one per line (list); with --diff: auto or as-is", {"list", "auto", "as-is"});
  app.optional_value("--tree", "DEPTH", std::string(kAllKeys), o.tree, "a tree of dotted names, with sums");
  app.flag("--header", o.header, "the header's exact bytes");
  app.optional_value("--metadata", "KEY", std::string(kAllKeys), o.metadata,
                     "all metadata, or one value verbatim");
  app.value("--print", "NAME[0:4,:8]", o.print, "values of a tensor or a slice");
  app.flag("--stats", o.stats, "min, max, mean, std, zeros, NaN, Inf");
  app.flag("--hash", o.hash, "SHA-256 of files, tensors and content");
  app.optional_value("--check", "LEVEL", "spec", o.check, "check against loads, spec (default) or hub",
                     {"loads", "spec", "hub"});
  app.value("--base", "BASE", o.base, "with --check: what an adapter changes in BASE");
  app.flag("--diff", o.diff, "compare two inputs");
  app.group("Selection");
  app.list("--filter", "GLOB", o.filters, "only tensors with matching names (repeatable)");
  app.value("--sort", "KEY", o.sort, "name, size, offset (default) or dtype",
            {"name", "size", "offset", "dtype"});
  app.value("--fail-on", "nan,inf", o.fail_on, "exit 1 when --stats finds any");
  app.value("--part", "I/N|auto", part, "measure part I of N (--stats, --hash), as JSON");
  app.flag("--combine", o.combine, "join parts (PATHs) into what one run prints");
  app.optional_value("--dequantize", "TYPE", "", dequantize,
                     "show quantised weights plain, in bf16, f16 or f32");
  app.group("With --diff");
  app.list("--map", "s/ERE/NEW/", o.maps, "rename the first input's tensors (repeatable)");
  app.value("--rtol", "X", o.rtol, "relative tolerance (0), as in torch.allclose");
  app.value("--atol", "X", o.atol, "absolute tolerance (0)");
  app.flag("--ignore-dtype", o.ignore_dtype, "equal values in another dtype are the same");
  app.common(o.common, "nj0pt");
  std::string joined;
  const std::vector<const char*> arguments = join_names(argc, argv, joined);
  app.parse(static_cast<int>(arguments.size()), arguments.data());
  set_names(o, names);
  if (o.paths.empty()) throw usage("name a PATH").hint("see st-inspect --help");
  o.dequantize = dequantize.has_value();
  if (dequantize && !dequantize->empty()) o.plain_dtype = parse_plain_dtype(*dequantize);
  if (part) o.part = parse_part_option(*part);
  derive(o);
  return o;
}

}  // namespace mu
