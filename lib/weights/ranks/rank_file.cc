// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/rank_file.h"

#include <fmt/format.h>

#include <array>
#include <span>

#include "base/bytes.h"
#include "base/text.h"
#include "weights/pickle/safety.h"
#include "weights/torch/tensors.h"

namespace mu {

Error rule_error(std::string_view rule, std::string message) {
  return malformed(fmt::format("{} [{}]", message, rule));
}

void require_harmless(const Pickle& pickle) {
  const PickleReport report = report_pickle(pickle);
  if (report.worst != Verdict::kDangerous) return;
  throw malformed(report.globals.empty() || report.globals.front().verdict != Verdict::kDangerous
                      ? "its pickle calls something that is dangerous to load"
                      : fmt::format("its pickle names '{}', which is dangerous to load",
                                    escape_name(report.globals.front().name)));
}

TorchArchive open_rank_archive(const InputFile& file, std::string_view prefix, Findings& findings) {
  const bool is_zero = prefix == "ZR";
  const std::string_view torn = is_zero ? "ZR-TORN" : "FS-TORN", kind = is_zero ? "ZR-KIND" : "FS-KIND";
  std::array<char, 2> start{};
  if (file.size() < start.size()) throw rule_error(torn, "the file is empty: the save did not finish");
  file.read_at(0, std::as_writable_bytes(std::span(start)));
  if (start[0] != 'P' || start[1] != 'K')
    throw rule_error(
        kind, start[0] == '\x80' ? "a torch file from before version 1.6, as a stream" : "not a torch file")
        .hint("load it with torch and save it again");
  try {
    return open_torch_archive(file, 0, file.size(), findings);
  } catch (Error& error) {
    if (error.kind() == ErrorKind::kMalformed && error.message().find("no end record") != std::string::npos)
      throw rule_error(torn, fmt::format("the file is cut at {} bytes: the save did not finish",
                                         group_digits(file.size())));
    throw;
  }
}

std::optional<double> optimizer_step(const Pickle& pickle, PickleId entry, TorchStorages& storages,
                                     const InputFile& file) {
  const PickleId node = pickle_find(pickle, entry, "step");
  if (node == kNoNode) return std::nullopt;
  if (pickle.kind(node) == PickleKind::kInt) return static_cast<double>(pickle.integer(node));
  if (pickle.kind(node) == PickleKind::kFloat) return pickle.real(node);
  if (!is_tensor_node(pickle, node)) return std::nullopt;
  const Tensor tensor = read_torch_tensor(pickle, storages, 0, "step", node);
  if (tensor.dtype != Dtype::kF32 || tensor.element_count() != 1 || tensor.layout) return std::nullopt;
  std::array<std::byte, 4> bytes{};
  file.read_at(tensor.offset, bytes);
  return load_le<float>(bytes.data());
}

void add_rank_file(Weights& weights, InputFile file) {
  constexpr std::size_t kMaxOpen = 64;
  if (weights.files.size() >= kMaxOpen) file.park();
  std::string name = file.path();
  const std::uint64_t size = file.size();
  weights.files.push_back(
      {.name = std::move(name), .file = std::move(file), .size = size, .data_begin = 0, .metadata = {}});
}

}  // namespace mu
