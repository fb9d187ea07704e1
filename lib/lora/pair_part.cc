// SPDX-License-Identifier: Apache-2.0
#include "lora/pair_part.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"
#include "lora/pair_entry.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/stage.h"

namespace mu {
namespace {

constexpr std::string_view kSchema = "modelutils.lora-share/1";
constexpr std::string_view kReport = "share.json", kFactors = "factors";
constexpr std::uint64_t kMaxReport = 1U << 30;  // bytes: bounds memory; some KB for each matrix
constexpr std::size_t kPiece = 1U << 20;        // bytes

std::string report_json(const std::vector<FoundTensor>& found) {
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("schema", kSchema).key("tensors").begin_array();
  std::uint64_t offset = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    FoundTensor one = found[i];
    if (!one.done) continue;
    one.kept = 0;  // the last run reads it
    write_found(json, i, one, offset);
    offset += factor_bytes(one);
  }
  json.end_array().end_object();
  return text + "\n";
}

void read_part(const std::string& path, const PairPlan& plan, std::vector<FoundTensor>& found) {
  const JsonDocument document = parse_json(read_whole_file(join_path(path, kReport), kMaxReport));
  const std::string* schema = document.root.find_string("schema");
  const JsonValue* tensors = document.root.find("tensors");
  if (schema == nullptr || *schema != kSchema || tensors == nullptr)
    throw malformed("is not a part written by this version");
  const auto factors = std::make_shared<const InputFile>(join_path(path, kFactors));
  const FoundFile file{factors->size(),
                       [factors](std::uint64_t at, std::span<std::byte> out) { factors->read_at(at, out); }};
  for (const JsonValue& item : tensors->items()) read_found(item, plan, file, found);
}

}  // namespace

std::string pair_fingerprint(const PairPlan& plan, const PairRunOptions& o, const Input& base,
                             const Input& tuned, KnownBy by) {
  Fingerprint fingerprint("lora-extract 1");
  fingerprint.add(fmt::format("{} {} {} {} {} {} {} {}", static_cast<int>(o.rank.by), o.rank.rank,
                              o.rank.energy, o.rank.most, o.alpha.value_or(0), o.dtype ? name(*o.dtype) : "",
                              o.exact, o.kernel));
  for (const PairTensor& pair : plan.tensors) {
    fingerprint.add(pair.name);
    fingerprint.add(pair.first);
    fingerprint.add(std::uint64_t{static_cast<std::uint8_t>(pair.kind)});
    fingerprint.add(pair.base == nullptr ? "" : pair.base->name);
    // Added with the names of modules and the comparing of other types by value: plans without them stay the same.
    if (pair.parameter != pair.name) fingerprint.add(pair.parameter);
    if (!is_matrix(pair) && pair.base != nullptr && pair.base->dtype != pair.tuned->dtype)
      fingerprint.add("by value");
  }
  fingerprint.add(base.weights, by);
  fingerprint.add(tuned.weights, by);
  for (const std::string* const plain : {&o.plain.first, &o.plain.second}) {
    if (!plain->empty()) fingerprint.add(*plain);
  }
  return fingerprint.finish();
}

std::vector<std::size_t> pair_units(const PairPlan& plan, const Part& part) {
  // A matrix costs a few hundred products for each element, any other tensor only its reading.
  std::vector<std::uint64_t> costs;
  for (const PairTensor& pair : plan.tensors)
    costs.push_back(is_matrix(pair) ? pair.count : pair.count / 64 + 1);
  return units_of(part, costs);
}

void write_pair_part(const PartsFolder& folder, const Part& part, const std::vector<FoundTensor>& found) {
  folder.make();
  StagedFolder stage(folder.path_of(part), true);  // commit_if_first leaves an existing one alone
  {
    OutputFile out = stage.create(std::string(kFactors));
    std::uint64_t offset = 0;
    std::vector<std::byte> buffer;
    for (const FoundTensor& one : found) {
      if (one.rank == 0) continue;
      for (std::uint64_t at = 0; at < factor_bytes(one); at += kPiece) {
        buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, factor_bytes(one) - at)));
        one.read(one.offset + at, buffer);
        out.write_at(offset + at, buffer);
      }
      offset += factor_bytes(one);
    }
    out.sync();
  }
  OutputFile report = stage.create(std::string(kReport));
  const std::string text = report_json(found);
  report.write_at(0, std::as_bytes(std::span(text)));
  report.sync();
  stage.commit_if_first();
}

std::vector<FoundTensor> read_pair_parts(const PartsFolder& folder, const PairPlan& plan,
                                         bool discard_others) {
  std::vector<FoundTensor> found(plan.tensors.size());
  folder.read_each(discard_others,
                   [&](const Part&, const std::string& path) { read_part(path, plan, found); });
  return found;
}

}  // namespace mu
