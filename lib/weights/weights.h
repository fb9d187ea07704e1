// SPDX-License-Identifier: Apache-2.0
// Weights on disk behind one interface: whatever the format and however many files, a list of tensors, each a
// description and a place to read its bytes from. Opening reads headers only. Listing, statistics, hashes,
// comparing, casting and packing are written against this and know no format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/finding.h"
#include "os/file.h"
#include "tensor/cast.h"
#include "tensor/tensor.h"
#include "weights/index.h"
#include "weights/layout.h"
#include "weights/metadata.h"

namespace mu {

struct TorchObject;  // weights/torch/object.h

// One file that holds tensors.
struct WeightsFile {
  std::string name;  // as messages show it: the path given, or the folder's path and the shard's name
  std::optional<InputFile> file;  // absent for a stream whose data were not kept
  std::uint64_t size = 0;         // bytes
  std::uint64_t data_begin = 0;   // where its tensors' bytes begin
  std::optional<Metadata> metadata;
  std::string stream_header{};  // of a stream only: the header's bytes, which can't be read again
  std::shared_ptr<const TorchObject> object{};  // of a pickle or torch file: what it holds beside tensors
  std::string read_only{};                      // why tensors of this file can't be packed
  bool is_safetensors = false;
};

// A tensor, and the pieces of it that further ranks hold, too. Each begins where a box of the tensor does and has its
// size.
struct RankCopies {
  Tensor tensor;
  std::vector<Box> boxes;
};

// Only for a set that was put together from the files of several ranks.
struct FromRanks {
  std::string origin;              // "DeepSpeed ZeRO stage 3, 2 ranks, …"
  std::vector<std::string> notes;  // what a user should know about it
  std::vector<std::string> lost;   // names of parameters whose values are in no file, sorted
  // By name, the 16-bit copies that a run kept beside fp32 masters.
  std::map<std::string, Tensor> training_copies;
  bool lacks_alpha = false;          // a LoRA run without a config that says lora_alpha
  std::vector<RankCopies> copies{};  // must have the same bits (ranks/copies.h)
  std::string not_listed{};  // why the optimizer's tensors are not listed, though asked for; empty: they are
};

struct Weights {
  std::vector<WeightsFile> files;
  std::vector<Tensor>
      tensors;  // files in order, in each by the order of bytes; Tensor::source indexes `files`
  std::optional<ShardIndex> index;
  std::optional<FromRanks> from_ranks{};
  Findings findings;  // of all files; level kLoads among them means that the tensors must not be trusted

  [[nodiscard]] std::uint64_t total_bytes() const;  // of the tensors
  // Keys of all files; where they differ the first file's value counts, then those of the index.
  [[nodiscard]] Metadata merged_metadata() const;

  // Fills `out` from byte `at` of a tensor. Adds to `losses` what is lost where its values are computed. Thread safe.
  // Throws kIo.
  void read(const Tensor& tensor, std::uint64_t at, std::span<std::byte> out,
            CastReport* losses = nullptr) const;
};

// Adds the files and tensors of another set.
void append_weights(Weights& weights, Weights more);

// The exact bytes of a file's header, without the length before it.
std::string read_safetensors_header(const WeightsFile& file);

using TensorsByName = std::unordered_map<std::string_view, const Tensor*>;
TensorsByName tensors_by_name(const Weights& weights);

}  // namespace mu
