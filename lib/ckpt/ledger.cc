// SPDX-License-Identifier: Apache-2.0
#include "ckpt/ledger.h"

#include <set>

namespace mu {

Ledger::Ledger(const std::vector<RunFacts>& runs) : runs_(runs) {
  for (const RunFacts& run : runs) {
    for (const CheckpointFacts& checkpoint : run.checkpoints) {
      if (checkpoint.is_staging) continue;
      used_ += checkpoint.bytes;
      for (const SharedFile& file : checkpoint.shared) {
        Shared& shared = shared_[file.id];
        if (shared.left++ == 0) used_ += file.bytes;
        shared.bytes = file.bytes;
        shared.links = file.links;
      }
    }
  }
}

std::uint64_t Ledger::used_by(const RunFacts& run) {
  std::uint64_t sum = 0;
  std::set<FileId> seen;
  for (const CheckpointFacts& checkpoint : run.checkpoints) {
    if (checkpoint.is_staging) continue;
    sum += checkpoint.bytes;
    for (const SharedFile& file : checkpoint.shared) {
      if (seen.insert(file.id).second) sum += file.bytes;
    }
  }
  return sum;
}

std::uint64_t Ledger::freed(dev_t device) const {
  const auto found = freed_.find(device);
  return found == freed_.end() ? 0 : found->second;
}

std::uint64_t Ledger::strike(std::size_t run, std::size_t index, bool only_training) {
  const CheckpointFacts& checkpoint = runs_[run].checkpoints[index];
  if (checkpoint.is_staging) {  // in no total
    freed_[runs_[run].device] += checkpoint.bytes;
    return checkpoint.bytes;
  }
  const auto [slimmed, fresh] = slimmed_.try_emplace({run, index}, only_training);
  std::uint64_t bytes = checkpoint.bytes;
  if (only_training)
    bytes = checkpoint.training_bytes;
  else if (!fresh)
    bytes -= checkpoint.training_bytes;
  std::uint64_t& freed = freed_[runs_[run].device];
  freed += bytes;
  for (const SharedFile& file : checkpoint.shared) {
    const bool concerned = only_training ? file.is_training : fresh || !file.is_training;
    if (!concerned) continue;
    Shared& shared = shared_[file.id];
    ++shared.struck;
    if (--shared.left == 0) bytes += shared.bytes;
    if (shared.struck == shared.links) freed += shared.bytes;
  }
  used_ -= bytes;
  return bytes;
}

}  // namespace mu
