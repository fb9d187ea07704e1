// SPDX-License-Identifier: Apache-2.0
#include "weights/open/any.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <unordered_map>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/gguf.h"
#include "weights/npy.h"
#include "weights/sniff.h"
#include "weights/torch/file.h"

namespace mu {
namespace {

// Most headers fit the first read (97 % of the thousand most used models stay below 100 kB).
constexpr std::size_t kFirstRead = 128U << 10;

void add_safetensors(Weights& weights, InputFile input, std::string start) {
  const std::string name = input.path();
  const std::uint64_t size = input.size();
  SafetensorsHeader header;
  if (const std::optional<std::uint64_t> bytes =
          safetensors_header_size(start, size, name, weights.findings)) {
    const std::size_t end = 8 + static_cast<std::size_t>(*bytes);
    const std::size_t have = start.size();
    if (have < end) {
      start.resize(end);
      input.read_at(have, std::as_writable_bytes(std::span(start)).subspan(have));
    }
    header = parse_safetensors_header(std::string_view(start).substr(8, end - 8), name, weights.findings);
    if (weights.findings.first_up_to(Level::kLoads) == nullptr) {
      check_safetensors_size(header, size, name, weights.findings);
    }
  }
  WeightsFile file{.name = name, .file = std::move(input), .size = size, .data_begin = 0, .metadata = {}};
  file.is_safetensors = true;
  add_parsed(weights, std::move(file), std::move(header));
}

// Names that torch and others give to pickles; those of the oldest protocols have no signature.
bool is_pickle_name(std::string_view path) {
  return path.ends_with(".pkl") || path.ends_with(".pickle") || path.ends_with(".bin") ||
         path.ends_with(".pt") || path.ends_with(".pth") || path.ends_with(".ckpt");
}

}  // namespace

void add_parsed(Weights& weights, WeightsFile file, SafetensorsHeader header) {
  const auto source = static_cast<std::uint32_t>(weights.files.size());
  file.data_begin = header.data_begin();
  file.metadata = std::move(header.metadata);
  for (Tensor& tensor : header.tensors) tensor.source = source;
  if (weights.tensors.empty()) {
    weights.tensors = std::move(header.tensors);
  } else {
    std::move(header.tensors.begin(), header.tensors.end(), std::back_inserter(weights.tensors));
  }
  weights.files.push_back(std::move(file));
}

void add_any(Weights& weights, InputFile input, std::string_view key) {
  std::string start = input.read_start(kFirstRead);
  // A file of that name must be one: loaders don't look further.
  if (input.path().ends_with(".safetensors"))
    return add_safetensors(weights, std::move(input), std::move(start));
  if (is_npz_start(start, input.path())) return add_npz(weights, std::move(input));
  if (is_torch_start(start)) return add_torch_file(weights, std::move(input), key);
  if (is_npy_start(start)) {
    const std::string_view base = base_name(input.path());
    const std::string name(base.substr(0, base.find_last_of('.')));
    return add_npy(weights, std::move(input), name);
  }
  if (is_gguf_start(start)) return add_gguf(weights, std::move(input));
  if (input.path().ends_with(".nemo"))
    throw malformed("a checkpoint of NeMo: its names and layouts are those of Megatron")
        .in_file(escape_name(input.path()))
        .hint("export it with NeMo");
  if (is_tar_start(start))
    throw malformed("this is a tar archive, as torch wrote before 2017: it is not read")
        .in_file(escape_name(input.path()))
        .hint("load it with an old torch and save it again");
  const bool foreign = describe_foreign_file(std::string_view(start).substr(0, 512)).has_value();
  if (is_pickle_name(input.path()) && !foreign && !looks_like_safetensors(start, input.size()))
    return add_torch_file(weights, std::move(input), key);
  add_safetensors(weights, std::move(input), std::move(start));
}

void allow_open_files(std::size_t count) {
  rlimit limit{};
  if (count < 512 || getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

void check_twice(Weights& weights) {
  if (weights.files.size() < 2) return;
  std::unordered_map<std::string_view, std::uint32_t> holder;
  holder.reserve(weights.tensors.size());
  for (const Tensor& tensor : weights.tensors) {
    const auto [first, fresh] = holder.try_emplace(tensor.name, tensor.source);
    if (fresh || first->second == tensor.source) continue;
    weights.findings.add({"IX-TWICE", Level::kSpec, false,
                          fmt::format("tensor '{}' is in {} too", escape_name(tensor.name),
                                      escape_name(weights.files[first->second].name)),
                          weights.files[tensor.source].name});
  }
}

}  // namespace mu
