// SPDX-License-Identifier: Apache-2.0
#include "fetch/mirror.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "fetch/byte_set.h"
#include "os/file.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::uint64_t kPage = 4096;  // bytes; the least that file systems give back

Fd open_or_make(const std::string& path) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
  if (fd.get() < 0) throw io_error("write", errno, escape_name(path));
  return fd;
}

// An open sparse file.
struct Sparse {
  explicit Sparse(const std::string& path) : out(open_or_make(path), path), in(path) {}
  OutputFile out;
  InputFile in;
};

struct Mirrored {
  std::string path;
  std::shared_ptr<Sparse> open{};  // while there is anything in it
  ByteSet begun{}, whole{};        // bytes that are being written, or are there; bytes that are there
  bool is_dirty = false;
};

ByteRun run_of(std::uint64_t offset, std::uint64_t size) {
  return {offset, offset + size};
}

}  // namespace

struct Mirror::State {
  std::string folder;
  std::unordered_map<const FarFile*, Mirrored> files;
  std::mutex mutex;  // guards what is in `files`, and the next field
  bool is_folder_dirty = false;

  // Under the lock.
  std::shared_ptr<Sparse> open(Mirrored& file) {
    if (!file.open) {
      file.open = std::make_shared<Sparse>(file.path);
      is_folder_dirty = true;
    }
    return file.open;
  }

  bool read(const FarFile& far, std::uint64_t offset, std::span<std::byte> out) {
    const auto found = files.find(&far);
    if (found == files.end()) return false;
    std::shared_ptr<Sparse> sparse;
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!found->second.open || !found->second.whole.has(run_of(offset, out.size()))) return false;
      sparse = found->second.open;
    }
    sparse->in.read_at(offset, out);
    return true;
  }
};

Mirror::Mirror(std::string folder, const std::vector<const FarFile*>& files)
    : state_(std::make_unique<State>()) {
  state_->folder = std::move(folder);
  for (std::size_t i = 0; i < files.size(); ++i)
    state_->files.emplace(files[i], Mirrored{join_path(state_->folder, std::to_string(i))});
  keep_far([state = state_.get()](const FarFile& file, std::uint64_t offset, std::span<std::byte> out) {
    return state->read(file, offset, out);
  });
}

Mirror::~Mirror() {
  keep_far({});
}

void Mirror::write(const FarFile& file, std::uint64_t offset, std::span<const std::byte> bytes) {
  Mirrored& mirrored = state_->files.at(&file);
  const ByteRun run = run_of(offset, bytes.size());
  std::shared_ptr<Sparse> sparse;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    sparse = state_->open(mirrored);
    mirrored.begun.add(run);
  }
  sparse->out.write_at(offset, bytes);
  const std::lock_guard<std::mutex> lock(state_->mutex);
  mirrored.whole.add(run);
  mirrored.is_dirty = true;
}

void Mirror::adopt(const FarRange& range) {
  const ByteRun run = run_of(range.offset, range.size);
  const std::lock_guard<std::mutex> lock(state_->mutex);
  Mirrored& mirrored = state_->files.at(range.file);
  if (state_->open(mirrored)->in.stamp().size < run.end)
    throw malformed("is shorter than the record of the partial output says")
        .in_file(escape_name(mirrored.path))
        .hint("run this again: it starts anew");
  mirrored.begun.add(run);
  mirrored.whole.add(run);
}

void Mirror::sync() {
  std::vector<std::shared_ptr<Sparse>> dirty;
  bool is_folder_dirty = false;
  {
    const std::lock_guard<std::mutex> lock(state_->mutex);
    for (auto& [far, file] : state_->files)
      if (std::exchange(file.is_dirty, false) && file.open) dirty.push_back(file.open);
    is_folder_dirty = std::exchange(state_->is_folder_dirty, false);
  }
  for (const std::shared_ptr<Sparse>& file : dirty) file->out.sync();
  if (is_folder_dirty) sync_folder(state_->folder);
}

void Mirror::release(const FarRange& range) {
  const ByteRun run = run_of(range.offset, range.size);
  const std::lock_guard<std::mutex> lock(state_->mutex);
  Mirrored& file = state_->files.at(range.file);
  file.begun.remove(run);
  file.whole.remove(run);
  if (!file.open) return;
  if (file.begun.bytes() == 0) {
    file.open.reset();
    file.is_dirty = false;
    ::unlink(file.path.c_str());
    return;
  }
  // Pages at both ends that nothing else is in, too.
  const ByteRun around = file.begun.widened(run);
  const std::uint64_t begin = std::max((around.begin + kPage - 1) / kPage * kPage, run.begin / kPage * kPage);
  const std::uint64_t end = std::min(around.end / kPage * kPage, (run.end + kPage - 1) / kPage * kPage);
  // Where holes can't be made, the bytes stay until the end.
  if (begin < end)
    ::fallocate(file.open->out.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                static_cast<off_t>(end - begin));
}

std::uint64_t Mirror::bytes() const {
  std::uint64_t bytes = 0;
  const std::lock_guard<std::mutex> lock(state_->mutex);
  for (const auto& [far, file] : state_->files) bytes += file.begun.bytes();
  return bytes;
}

void keep_needed(Mirror& mirror, const Needs& needs, const FarFile& file, std::uint64_t offset,
                 std::span<const std::byte> bytes) {
  for (const FarRange& need : needs.within({&file, offset, bytes.size()}))
    mirror.write(
        file, need.offset,
        bytes.subspan(static_cast<std::size_t>(need.offset - offset), static_cast<std::size_t>(need.size)));
}

void adopt_needed(Mirror& mirror, const Needs& needs, const std::vector<FarRange>& sequence,
                  const FetchMark& mark) {
  for (std::size_t i = 0; i <= mark.range && i < sequence.size(); ++i) {
    FarRange there = sequence[i];
    if (i == mark.range) there.size = mark.at;
    for (const FarRange& need : needs.within(there)) mirror.adopt(need);
  }
}

}  // namespace mu
