// SPDX-License-Identifier: Apache-2.0
#include "fetch/whole_hashes.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"

namespace mu {
namespace {

constexpr std::uint64_t kNotWhole = UINT64_MAX;

}  // namespace

WholeHashes::WholeHashes(const std::vector<FarRange>& sequence, const FetchMark& mark) : sequence_(sequence) {
  find_whole_files();
  go_on_from(mark);
}

void WholeHashes::find_whole_files() {
  for (std::size_t i = 0; i < sequence_.size(); ++i) {
    const FarRange& range = sequence_[i];
    if (range.size == 0 || range.file->sha256.empty()) continue;
    const std::uint64_t start = range.file->start.size();
    File& file = files_.try_emplace(range.file, File{i, i, start}).first->second;
    if (range.offset != file.done && range.offset > start) file.done = kNotWhole;
    if (file.done == kNotWhole || range.offset + range.size <= file.done) continue;
    file.done = range.offset + range.size;
    file.last = i;
  }
  std::erase_if(files_, [](const auto& entry) { return entry.second.done != entry.first->size; });
  for (auto& [far, file] : files_) file.done = 0;
}

bool WholeHashes::wants(std::size_t range) const {
  const auto found = files_.find(sequence_[range].file);
  return found != files_.end() && range <= found->second.last;
}

void WholeHashes::go_on_from(const FetchMark& mark) {
  const Error other(ErrorKind::kMalformed, "the mark where an earlier run ended is of other work");
  if (mark.range > sequence_.size() ||
      (mark.at != 0 && (mark.range == sequence_.size() || mark.at >= sequence_[mark.range].size)))
    throw other;
  for (std::size_t i = 0; i <= mark.range && i < sequence_.size(); ++i) {
    const FarRange& range = sequence_[i];
    const std::uint64_t passed = i < mark.range ? range.size : mark.at;
    if (passed == 0 || !wants(i)) continue;
    File& file = files_.at(range.file);
    file.done = std::max<std::uint64_t>({file.done, range.file->start.size(), range.offset + passed});
  }
  for (auto& [far, file] : files_) {
    if (file.done == 0 || file.done == far->size) continue;
    const auto state = mark.hashes.find(file.first);
    std::optional<Sha256> hash =
        state == mark.hashes.end() ? std::nullopt : Sha256::from_state(state->second);
    if (!hash || hash->bytes() != file.done) throw other;
    file.hash = std::move(*hash);
  }
}

void WholeHashes::update(std::size_t range, std::uint64_t at, std::span<const std::byte> bytes,
                         FetchMark& mark) {
  const FarFile& far = *sequence_[range].file;
  File& file = files_.at(&far);
  if (file.done == far.size && far.size != 0) return;
  const auto add = [&file](std::span<const std::byte> more) {
    file.hash.update(more);
    file.done += more.size();
  };
  if (file.done == 0) add(std::as_bytes(std::span(far.start)));
  const std::uint64_t offset = sequence_[range].offset + at;
  if (offset + bytes.size() > file.done) add(bytes.subspan(static_cast<std::size_t>(file.done - offset)));
  if (file.done < far.size) {
    mark.hashes[file.first] = file.hash.state();
    return;
  }
  mark.hashes.erase(file.first);
  if (to_hex(file.hash.finish()) != lower_ascii(far.sha256))
    throw Error(ErrorKind::kRemote, "what came does not have the SHA-256 that the server reports")
        .in_file(escape_name(far.name))
        .hint("try again; if it stays so, the file on the server is damaged");
}

}  // namespace mu
