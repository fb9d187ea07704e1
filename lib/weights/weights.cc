// SPDX-License-Identifier: Apache-2.0
#include "weights/weights.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "os/interrupt.h"
#include "os/spool.h"
#include "weights/gather.h"
#include "weights/gguf.h"
#include "weights/npy.h"
#include "weights/sniff.h"
#include "weights/torch/file.h"

namespace mu {
namespace {

// Most headers fit the first read (97 % of the thousand most used models stay below 100 kB).
constexpr std::size_t kFirstRead = 128U << 10;

std::span<std::byte> writable(std::string& text, std::size_t from) {
  return std::as_writable_bytes(std::span(text)).subspan(from);
}

// Appends a parsed file and its tensors to the set.
void add_file(Weights& weights, WeightsFile file, SafetensorsHeader header) {
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
      input.read_at(have, writable(start, have));
    }
    header = parse_safetensors_header(std::string_view(start).substr(8, end - 8), name, weights.findings);
    if (weights.findings.first_up_to(Level::kLoads) == nullptr) {
      check_safetensors_size(header, size, name, weights.findings);
    }
  }
  WeightsFile file{.name = name, .file = std::move(input), .size = size, .data_begin = 0, .metadata = {}};
  file.is_safetensors = true;
  add_file(weights, std::move(file), std::move(header));
}

// Names that torch and others give to pickles; those of the oldest protocols have no signature.
bool is_pickle_name(std::string_view path) {
  return path.ends_with(".pkl") || path.ends_with(".pickle") || path.ends_with(".bin") ||
         path.ends_with(".pt") || path.ends_with(".pth") || path.ends_with(".ckpt");
}

// Told by the first bytes, and by the name where these say nothing.
void add_any(Weights& weights, InputFile input) {
  std::string start = input.read_start(kFirstRead);
  // What is called so must be so: loaders don't look further.
  if (input.path().ends_with(".safetensors"))
    return add_safetensors(weights, std::move(input), std::move(start));
  if (is_npz_start(start, input.path())) return add_npz(weights, std::move(input));
  if (is_torch_start(start)) return add_torch_file(weights, std::move(input));
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
    return add_torch_file(weights, std::move(input));
  add_safetensors(weights, std::move(input), std::move(start));
}

// Sets of thousands of shards need more descriptors than the usual soft limit.
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
                          fmt::format("tensor '{}' stands in {} too", escape_name(tensor.name),
                                      escape_name(weights.files[first->second].name)),
                          weights.files[tensor.source].name});
  }
}

// "model-00002-of-00003.safetensors" -> 3.
std::optional<std::uint64_t> shard_count_in_name(std::string_view name) {
  const std::size_t of = name.rfind("-of-");
  if (of == std::string_view::npos) return std::nullopt;
  std::uint64_t count = 0;
  const std::string_view digits = name.substr(of + 4);
  if (std::from_chars(digits.data(), digits.data() + digits.size(), count).ec != std::errc())
    return std::nullopt;
  return count;
}

// Index against shards, in both directions.
void check_index(Weights& weights, const std::vector<std::optional<std::uint32_t>>& source_of_shard) {
  const ShardIndex& index = *weights.index;
  const auto odd = [&](std::string_view rule, bool warning, std::string message, std::string file) {
    weights.findings.add({rule, Level::kSpec, warning, std::move(message), std::move(file)});
  };
  std::unordered_map<std::string_view, std::uint32_t> holder;
  holder.reserve(weights.tensors.size());
  for (const Tensor& tensor : weights.tensors) holder.emplace(tensor.name, tensor.source);
  std::unordered_map<std::string_view, std::string_view> listed;
  listed.reserve(index.weight_map.size());
  for (const auto& [tensor, shard] : index.weight_map) {
    listed.emplace(tensor, shard);
    const auto at = std::lower_bound(index.shards.begin(), index.shards.end(), shard) - index.shards.begin();
    const std::optional<std::uint32_t> expected = source_of_shard[static_cast<std::size_t>(at)];
    if (!expected) continue;  // reported as a missing shard
    const auto found = holder.find(tensor);
    if (found != holder.end() && found->second == *expected) continue;
    odd("IX-MISSING", false,
        fmt::format("tensor '{}' should be in {} but {}", escape_name(tensor), escape_name(shard),
                    found == holder.end()
                        ? "is in no shard"
                        : "is in " + escape_name(base_name(weights.files[found->second].name))),
        index.path);
  }
  for (const Tensor& tensor : weights.tensors) {
    if (listed.contains(tensor.name)) continue;
    odd("IX-EXTRA", false,
        fmt::format("tensor '{}' is not in the index; loaders ignore it", escape_name(tensor.name)),
        weights.files[tensor.source].name);
  }
  if (index.total_size && *index.total_size != weights.total_bytes()) {
    odd("IX-TOTAL", true,
        fmt::format("total_size says {} bytes, the tensors have {}", *index.total_size,
                    weights.total_bytes()),
        index.path);
  }
  for (const std::string& shard : index.shards) {
    const std::optional<std::uint64_t> count = shard_count_in_name(shard);
    if (!count || *count == index.shards.size()) continue;
    odd("IX-COUNT", true,
        fmt::format("{} counts {} shards, the index names {}", escape_name(shard), *count,
                    index.shards.size()),
        index.path);
    break;
  }
}

Weights spool_stdin() {
  Weights weights;
  add_any(weights, spool_stream(STDIN_FILENO, "-"));
  return weights;
}

}  // namespace

std::uint64_t Weights::total_bytes() const {
  std::uint64_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.size;
  return total;
}

std::uint64_t Weights::total_elements() const {
  std::uint64_t total = 0;
  for (const Tensor& tensor : tensors) total += tensor.element_count();
  return total;
}

Metadata Weights::merged_metadata() const {
  Metadata merged;
  for (const WeightsFile& file : files) {
    if (file.metadata) merged.insert(file.metadata->begin(), file.metadata->end());
  }
  if (index) {
    for (const JsonValue::Member& member : index->metadata.members()) {
      const std::string* text = member.value.as_string();
      if (text != nullptr) merged.emplace(member.key, *text);
    }
  }
  return merged;
}

void Weights::read(const Tensor& tensor, std::uint64_t at, std::span<std::byte> out) const {
  const auto read_file = [this](std::uint32_t source, std::uint64_t offset, std::span<std::byte> bytes) {
    const WeightsFile& file = files[source];
    if (!file.file) throw malformed("the data of this stream went by unread").in_file(file.name);
    file.file->read_at(offset, bytes);
  };
  if (tensor.layout) return gather(tensor, at, out, read_file);
  read_file(tensor.source, tensor.offset + at, out);
}

Weights open_weights(const std::string& path) {
  Weights weights;
  add_any(weights, InputFile(path));
  return weights;
}

Weights open_files(const std::vector<std::string>& paths) {
  allow_open_files(paths.size());
  Weights weights;
  for (const std::string& path : paths) add_any(weights, InputFile(path));
  check_twice(weights);
  return weights;
}

void append_weights(Weights& weights, Weights more) {
  const auto first = static_cast<std::uint32_t>(weights.files.size());
  for (Tensor& tensor : more.tensors) {
    tensor.source += first;
    if (!tensor.layout) continue;
    Layout layout = *tensor.layout;
    for (Box& box : layout.boxes) box.source += first;
    tensor.layout = std::make_shared<Layout>(std::move(layout));
  }
  std::move(more.files.begin(), more.files.end(), std::back_inserter(weights.files));
  std::move(more.tensors.begin(), more.tensors.end(), std::back_inserter(weights.tensors));
  weights.findings.add_all(more.findings);
}

Weights open_sharded(const std::string& index_path) {
  Weights weights;
  weights.index =
      parse_shard_index(read_whole_file(index_path, kMaxIndexBytes), index_path, weights.findings);
  const std::string folder = parent_of(index_path);
  allow_open_files(weights.index->shards.size());
  std::vector<std::optional<std::uint32_t>> source_of_shard;
  for (const std::string& shard : weights.index->shards) {
    const std::string path = join_path(folder, shard);
    if (!exists(path)) {
      weights.findings.add({"IX-SHARD", Level::kLoads, false,
                            "the shard " + escape_name(shard) + " is missing; fetch or copy it again",
                            index_path});
      source_of_shard.emplace_back(std::nullopt);
      continue;
    }
    source_of_shard.emplace_back(static_cast<std::uint32_t>(weights.files.size()));
    add_any(weights, InputFile(path));
  }
  if (weights.findings.first_up_to(Level::kLoads) == nullptr) {
    check_twice(weights);
    check_index(weights, source_of_shard);
  }
  return weights;
}

Weights open_stdin(StreamData data) {
  struct stat status {};
  if (::fstat(STDIN_FILENO, &status) == 0 && S_ISREG(status.st_mode)) {
    Weights weights;
    add_any(weights, InputFile::adopt(Fd(::dup(STDIN_FILENO)), "-"));
    return weights;
  }
  if (data == StreamData::kSpool) return spool_stdin();
  Weights weights;
  std::string start(8, '\0');
  start.resize(read_stream(STDIN_FILENO, writable(start, 0), "standard input"));
  const std::optional<std::uint64_t> bytes =
      safetensors_header_size(start, std::nullopt, "-", weights.findings);
  SafetensorsHeader header;
  std::string json;
  std::uint64_t size = start.size();
  if (bytes) {
    // In pieces: a short stream must not cost the 100 MB that its first bytes may promise.
    while (json.size() < *bytes) {
      const std::size_t have = json.size();
      json.resize(static_cast<std::size_t>(std::min<std::uint64_t>(*bytes, have + (1U << 20))));
      const std::size_t got = read_stream(STDIN_FILENO, writable(json, have), "standard input");
      if (have + got < json.size()) {
        json.resize(have + got);
        break;
      }
    }
    size += json.size();
    if (json.size() < *bytes) {
      safetensors_header_size(start + json.substr(0, 512), size, "-", weights.findings);
    } else {
      header = parse_safetensors_header(json, "-", weights.findings);
    }
  }
  if (data == StreamData::kCount) {
    std::vector<std::byte> buffer(1U << 20);
    while (const std::size_t got = read_stream(STDIN_FILENO, buffer, "standard input")) size += got;
    if (weights.findings.first_up_to(Level::kLoads) == nullptr) {
      check_safetensors_size(header, size, "-", weights.findings);
    }
  } else if (bytes) {
    size = header.data_begin() + header.data_bytes;
  }
  WeightsFile file{.name = "-", .file = std::nullopt, .size = size, .data_begin = 0, .metadata = {}};
  file.stream_header = std::move(json);
  file.is_safetensors = true;
  add_file(weights, std::move(file), std::move(header));
  return weights;
}

std::string read_safetensors_header(const WeightsFile& file) {
  if (!file.file) return file.stream_header;
  std::string json(static_cast<std::size_t>(file.data_begin - 8), '\0');
  file.file->read_at(8, writable(json, 0));
  return json;
}

TensorsByName tensors_by_name(const Weights& weights) {
  TensorsByName names;
  names.reserve(weights.tensors.size());
  for (const Tensor& tensor : weights.tensors) names.emplace(tensor.name, &tensor);
  return names;
}

}  // namespace mu
