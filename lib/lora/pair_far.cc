// SPDX-License-Identifier: Apache-2.0
// The record of the partial output has two kinds of lines: marks of the fetch, and what was found for a tensor. In the
// folder are the mirror and a file of factors. A thread takes the next pair whose bytes have passed. What it found goes to
// the disk, then into the record, and only then the mirror gives up the bytes that nobody needs any more; for small
// tensors, of which there may be thousands, this is done for many at a time.
#include "lora/pair_far.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "fetch/fetcher.h"
#include "fetch/mirror.h"
#include "lora/pair_entry.h"
#include "lora/pair_jobs.h"
#include "lora/pair_work.h"
#include "os/folder.h"

namespace mu {
namespace {

constexpr std::uint64_t kPiece = 1U << 20;  // bytes

// Factors and kept tensors, one after the other.
class FactorFile : public FactorStore {
 public:
  explicit FactorFile(const std::string& path) : out_(open(path), path) {
    size_ = next_ = find_status(path)->st_size;
  }

  [[nodiscard]] std::uint64_t size() const { return size_; }  // when it was opened
  std::uint64_t add(std::uint64_t size, const Read& read) override {
    const std::uint64_t offset = next_.fetch_add(size);
    std::vector<std::byte> piece;
    for (std::uint64_t at = 0; at < size; at += piece.size()) {
      piece.resize(static_cast<std::size_t>(std::min(kPiece, size - at)));
      read(at, piece);
      const std::lock_guard<std::mutex> lock(mutex_);
      out_.write_at(offset + at, piece);
    }
    return offset;
  }
  void sync() {
    const std::lock_guard<std::mutex> lock(mutex_);
    out_.sync();
  }
  // Nothing more will be added.
  void finish() { in_.emplace(out_.path()); }
  void read_at(std::uint64_t at, std::span<std::byte> out) const override { in_->read_at(at, out); }

 private:
  static Fd open(const std::string& path) {
    Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666));
    if (fd.get() < 0) throw io_error("write", errno, escape_name(path));
    return fd;
  }

  std::mutex mutex_;
  OutputFile out_;
  std::uint64_t size_ = 0;
  std::atomic<std::uint64_t> next_{0};
  std::optional<InputFile> in_;
};

std::vector<const FarFile*> files_of(const std::vector<FarRange>& sequence) {
  std::vector<const FarFile*> files;
  for (const FarRange& range : sequence) {
    if (std::find(files.begin(), files.end(), range.file) == files.end()) files.push_back(range.file);
  }
  return files;
}

// What earlier runs left.
struct Before {
  FetchMark mark;
  std::vector<FoundTensor> found;
};

// Throws kMalformed if the record does not fit.
Before read_record(const PartialOutput& partial, const PairPlan& plan, const PairFetch& fetch,
                   const std::shared_ptr<FactorFile>& store) {
  Before before{.mark = {}, .found = std::vector<FoundTensor>(plan.tensors.size())};
  const FoundFile file{store->size(),
                       [store](std::uint64_t at, std::span<std::byte> out) { store->read_at(at, out); }};
  for (const std::string& line : partial.lines()) {
    if (const std::optional<FetchMark> mark = FetchMark::parse(line))
      before.mark = *mark;
    else
      read_found(parse_json(line).root, plan, file, before.found);
  }
  if (before.mark.range > fetch.sequence.size()) throw malformed("has a mark of another sequence");
  return before;
}

// What the mirror has of needs that are open.
void adopt(Mirror& mirror, const Needs& needs, const PairFetch& fetch, const FetchMark& mark) {
  for (std::size_t i = 0; i <= mark.range && i < fetch.sequence.size(); ++i) {
    FarRange there = fetch.sequence[i];
    if (i == mark.range) there.size = mark.at;
    for (const FarRange& need : needs.within(there)) mirror.adopt(need);
  }
}

}  // namespace

void factorise_far(const Input& base, const Input& tuned, const PairPlan& plan, const PairFetch& fetched,
                   const PairRunOptions& options, const PairFetchRun& run, PartialOutput& partial,
                   std::vector<FoundTensor>& found) {
  const auto open_store = [&] { return std::make_shared<FactorFile>(join_path(partial.path(), "factors")); };
  std::shared_ptr<FactorFile> store = open_store();
  Before before;
  try {
    before = read_record(partial, plan, fetched, store);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMalformed) throw;
    partial.restart();
    store = open_store();
    before.found.resize(plan.tensors.size());
  }
  PairWork work(base, tuned, plan, options, store, true);
  std::vector<PairFetch::Job> open;
  std::vector<std::vector<FarRange>> open_needs;
  for (const PairFetch::Job& job : fetched.jobs) {
    FoundTensor& earlier = before.found[job.unit];
    if (!earlier.done) {
      open.push_back(job);
      open_needs.push_back(job.needs);
      continue;
    }
    work.know(earlier);
    found[job.unit] = std::move(earlier);
    if (options.on_bytes) options.on_bytes(size_of(plan.tensors[job.unit], plan.tensors[job.unit].tuned));
  }
  if (run.on_found) run.on_found();
  const std::string folder = join_path(partial.path(), "mirror");
  make_folders(folder);
  Mirror mirror(folder, files_of(fetched.sequence));
  Needs needs(open_needs);
  adopt(mirror, needs, fetched, before.mark);
  PairJobs jobs(
      open, plan, work, options, found,
      [&](const std::vector<std::size_t>& done) {
        store->sync();
        for (const std::size_t k : done) {
          std::string line;
          JsonWriter json(line, 0);
          write_found(json, open[k].unit, found[open[k].unit], found[open[k].unit].offset);
          partial.note(line);
        }
        for (const std::size_t k : done) {
          for (const FarRange& range : needs.finish(open[k].needs)) mirror.release(range);
        }
      },
      run.on_found);
  jobs.ready_until({before.mark.range, before.mark.at});
  fetch(
      fetched.sequence, {.connections = run.connections, .from = before.mark, .on_bytes = run.on_read},
      [&](const FarBlock& block) {
        const FarRange all{fetched.sequence[block.range].file, block.offset, block.bytes.size()};
        for (const FarRange& need : needs.within(all))
          mirror.write(*need.file, need.offset,
                       block.bytes.subspan(static_cast<std::size_t>(need.offset - block.offset),
                                           static_cast<std::size_t>(need.size)));
      },
      [&](const FetchMark& mark) {
        mirror.sync();
        partial.note(mark.text());
        jobs.ready_until({mark.range, mark.at});
      });
  jobs.finish();
  store->finish();
}

}  // namespace mu
