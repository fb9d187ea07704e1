// SPDX-License-Identifier: Apache-2.0
// The record of the partial output has two kinds of lines: marks of the fetch, and what was found for some tensors. In the
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
    size_ = next_ = static_cast<std::uint64_t>(find_status(path)->st_size);
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

class FarFactoriser {
 public:
  FarFactoriser(const Input& base, const Input& tuned, const PairPlan& plan, const PairFetch& fetch,
                const PairRunOptions& options, const PairFetchRun& run, PartialOutput& partial)
      : plan_(plan), fetch_(fetch), options_(options), run_(run), partial_(partial) {
    continue_from_record();
    work_.emplace(base, tuned, plan, options, store_, true);
  }

  void run(std::vector<FoundTensor>& found) {
    take_earlier(found);
    std::vector<std::vector<FarRange>> open;
    for (const PairFetch::Job& job : open_) open.push_back(job.needs);
    needs_.emplace(open);
    const std::string folder = join_path(partial_.path(), "mirror");
    make_folders(folder);
    mirror_.emplace(folder, files_of(fetch_.sequence));
    adopt_needed(*mirror_, *needs_, fetch_.sequence, mark_);
    PairJobs jobs(
        open_, plan_, *work_, options_, found,
        [&](const std::vector<std::size_t>& done) { settle(done, found); }, run_.on_found);
    jobs.ready_until({mark_.range, mark_.at});
    fetch(
        fetch_.sequence, {.connections = run_.connections, .from = mark_, .on_bytes = run_.on_read},
        [&](const FarBlock& block) {
          keep_needed(*mirror_, *needs_, *fetch_.sequence[block.range].file, block.offset, block.bytes);
        },
        [&](const FetchMark& mark) {
          mirror_->sync();
          partial_.note(mark.text());
          jobs.ready_until({mark.range, mark.at});
        });
    jobs.finish();
    store_->finish();
  }

 private:
  [[nodiscard]] std::shared_ptr<FactorFile> open_store() const {
    return std::make_shared<FactorFile>(join_path(partial_.path(), "factors"));
  }

  // The record of an earlier run counts as a whole or not at all.
  void continue_from_record() {
    store_ = open_store();
    try {
      read_record();
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      partial_.restart();
      store_ = open_store();
      mark_ = {};
      earlier_.assign(plan_.tensors.size(), {});
    }
  }

  void read_record() {
    earlier_.resize(plan_.tensors.size());
    const FoundFile file{store_->size(), [store = store_](std::uint64_t at, std::span<std::byte> out) {
                           store->read_at(at, out);
                         }};
    for (const std::string& line : partial_.lines()) {
      if (const std::optional<FetchMark> mark = FetchMark::parse(line)) {
        mark_ = *mark;
        continue;
      }
      const JsonDocument found = parse_json(line);
      if (found.root.items().empty()) throw malformed("has a line of another program");
      for (const JsonValue& one : found.root.items()) read_found(one, plan_, file, earlier_);
    }
    if (mark_.range > fetch_.sequence.size()) throw malformed("has a mark of another sequence");
  }

  // What earlier runs found need not be done.
  void take_earlier(std::vector<FoundTensor>& found) {
    for (const PairFetch::Job& job : fetch_.jobs) {
      FoundTensor& earlier = earlier_[job.unit];
      if (!earlier.done) {
        open_.push_back(job);
        continue;
      }
      work_->know(earlier);
      found[job.unit] = std::move(earlier);
      const PairTensor& pair = plan_.tensors[job.unit];
      if (options_.on_bytes) options_.on_bytes(size_of(pair, pair.tuned));
    }
    if (run_.on_found) run_.on_found();
  }

  void settle(const std::vector<std::size_t>& done, const std::vector<FoundTensor>& found) {
    store_->sync();
    std::string line;
    JsonWriter json(line, 0);
    json.begin_array();
    for (const std::size_t i : done)
      write_found(json, open_[i].unit, found[open_[i].unit], found[open_[i].unit].offset);
    json.end_array();
    partial_.note(line);
    for (const std::size_t i : done) {
      for (const FarRange& range : needs_->finish(open_[i].needs)) mirror_->release(range);
    }
  }

  const PairPlan& plan_;
  const PairFetch& fetch_;
  const PairRunOptions& options_;
  const PairFetchRun& run_;
  PartialOutput& partial_;
  std::shared_ptr<FactorFile> store_;
  FetchMark mark_;
  std::vector<FoundTensor> earlier_;
  std::vector<PairFetch::Job> open_;  // not done by earlier runs
  std::optional<PairWork> work_;
  std::optional<Needs> needs_;
  std::optional<Mirror> mirror_;
};

}  // namespace

void factorise_far(const Input& base, const Input& tuned, const PairPlan& plan, const PairFetch& fetch,
                   const PairRunOptions& options, const PairFetchRun& run, PartialOutput& partial,
                   std::vector<FoundTensor>& found) {
  FarFactoriser(base, tuned, plan, fetch, options, run, partial).run(found);
}

}  // namespace mu
