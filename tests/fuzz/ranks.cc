// SPDX-License-Identifier: Apache-2.0
// The pickles of an FSDP run's ranks, one after the other: DTensors and ShardedTensors, their meshes and placements.
// Each becomes the file of one rank, with storages as long as it says, in which every element is its own number.
#include "weights/ranks/fsdp.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "../unit/weights/assembler.h"
#include "fuzz_file.h"
#include "weights/ranks/copies.h"
#include "weights/torch/file.h"
#include "weights/torch/tensors.h"

namespace mu {
namespace {

constexpr std::size_t kRanks = 4;
constexpr std::uint64_t kStorage = 1U << 16;  // bytes: larger ones are cut

std::string storage(const StorageReference& reference) {
  const std::uint64_t width = reference.type ? reference.type->bytes : 1;
  std::string data(static_cast<std::size_t>(std::min(kStorage, reference.elements) * width), '\0');
  for (std::size_t i = 0; i < data.size(); i += static_cast<std::size_t>(width))
    data[i] = static_cast<char>(i / width);
  return data;
}

// The file of torch.save for a pickle.
std::string archive(const Pickle& pickle, std::string_view data, const std::string& stem) {
  std::vector<testing::ZipMember> members = {{.name = stem + "/data.pkl", .data = std::string(data)}};
  std::set<std::string_view> keys;
  for (PickleId id = 0; id < pickle.node_count() && keys.size() < 64; ++id) {
    if (pickle.kind(id) != PickleKind::kPersistent) continue;
    const std::optional<StorageReference> reference = find_storage_reference(pickle, id);
    if (!reference || !keys.insert(reference->key).second) continue;
    members.push_back({.name = stem + "/data/" + std::string(reference->key), .data = storage(*reference)});
  }
  members.push_back({.name = stem + "/version", .data = "3\n"});
  return testing::zip(members);
}

void read_all(const Weights& weights) {
  for (const Tensor& tensor : weights.tensors) {
    if (tensor.size > kStorage) continue;
    std::vector<std::byte> buffer(static_cast<std::size_t>(tensor.size));
    weights.read(tensor, 0, buffer);
  }
}

}  // namespace
}  // namespace mu

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string folder = [] {
    std::string path = "/dev/shm/mu-fuzz-XXXXXX";
    return std::string(::mkdtemp(path.data()) == nullptr ? "." : path);
  }();
  std::vector<std::string> files;
  std::string_view left = mu::fuzzing::as_view(data, size);
  while (!left.empty() && files.size() < mu::kRanks) {
    const mu::Pickle pickle(left);
    if (pickle.fault()) break;
    files.push_back(
        mu::archive(pickle, left.substr(0, pickle.size()), "rank" + std::to_string(files.size())));
    left.remove_prefix(pickle.size());
  }
  if (files.size() == 1) files.push_back(files.front());
  std::vector<std::string> names;
  for (const std::string& file : files) {
    names.push_back(folder + "/model_world_size_" + std::to_string(files.size()) + "_rank_" +
                    std::to_string(names.size()) + ".pt");
    std::ofstream(names.back(), std::ios::binary) << file;
    mu::fuzzing::read_weights(
        reinterpret_cast<const std::uint8_t*>(file.data()), file.size(),
        [](mu::Weights& weights, mu::InputFile input) { mu::add_torch_file(weights, std::move(input)); });
  }
  try {
    const mu::Weights weights = mu::open_fsdp(folder);
    mu::require_equal_copies(weights, 1);
    mu::read_all(weights);
  } catch (const mu::Error&) {
  }
  for (const std::string& name : names) std::remove(name.c_str());
  return 0;
}
