// SPDX-License-Identifier: Apache-2.0
// Threads: workers each read a block and call take(); the caller's thread follows behind in order, hashes and moves
// the mark on; one more calls passed(). All of them meet in the fields below `mutex_`, where bytes are counted by
// their place in the sequence: requested, hashed, passed.
#include "fetch/fetcher.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"
#include "fetch/buffers.h"
#include "fetch/pace.h"
#include "fetch/whole_hashes.h"
#include "os/interrupt.h"

namespace mu {
namespace {

constexpr std::uint64_t kPassed = 4ULL << 20;  // bytes that pass together, if they come within kPassTime
constexpr std::uint64_t kLeast = 256U << 10;   // bytes at the end of a range that are worth a request
constexpr std::chrono::milliseconds kInterruptCheck{100}, kPassTime{1000};
constexpr std::chrono::seconds kGrace{2};  // after a fault, for requests that are under way

struct Abandoned {};  // ends a request that is under way after that

// 4 requests have 4 MiB each, 8 have 3, 16 have 2: more of them are more bytes in flight, for lines that are long, and
// leave less to what waits for passed().
std::uint64_t block_size(unsigned connections) {
  return (48ULL << 20) / (connections + 8) / 4096 * 4096;
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Fetcher {
 public:
  Fetcher(const std::vector<FarRange>& sequence, const FetchOptions& options,
          const std::function<void(const FarBlock&)>& take,
          const std::function<void(const FetchMark&)>& passed)
      : sequence_(sequence),
        options_(options),
        take_(take),
        passed_(passed),
        hashes_(sequence, options.from),
        range_(options.from.range),
        at_(options.from.at),
        connections_(options.connections == 0 ? kFirstConnections : options.connections),
        mark_(options.from) {}

  void run() {
    std::thread passer = start(&Fetcher::pass_marks);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      skip_empty(range_, at_);
      skip_empty(mark_.range, mark_.at);
      start_worker();
    }
    follow();
    for (std::thread& worker : workers_) worker.join();
    passer.join();
    if (fault_) std::rethrow_exception(fault_);
  }

 private:
  struct Block {
    std::size_t range;
    std::uint64_t at, size;  // in the range
    Buffer buffer;           // until it is hashed, or taken if it is not to be hashed
    bool taken = false;
  };

  std::thread start(void (Fetcher::*part)()) try {
    return std::thread(part, this);
  } catch (const std::system_error& error) {
    throw io_error("start a thread", error.code().value());
  }

  void skip_empty(std::size_t& range, std::uint64_t& at) const {
    while (range < sequence_.size() && at == sequence_[range].size) {
      ++range;
      at = 0;
    }
  }

  // The functions up to note_fault() are called under the lock.

  [[nodiscard]] bool is_all_requested() const { return fault_ || range_ == sequence_.size(); }

  [[nodiscard]] std::uint64_t next_size() const {
    const std::uint64_t size = block_size(connections_), rest = sequence_[range_].size - at_;
    return rest <= size + kLeast ? rest : size;
  }

  [[nodiscard]] bool can_request() const {
    return active_ < connections_ && requested_ - passed_bytes_ + next_size() <= kMaxUnpassed;
  }

  Block& request() {
    const std::uint64_t size = next_size();
    blocks_.push_back({range_, at_, size, buffers_.take(static_cast<std::size_t>(size))});
    at_ += size;
    requested_ += size;
    ++active_;
    skip_empty(range_, at_);
    return blocks_.back();
  }

  void end_request(Block& block, bool taken) {
    block.taken = taken;
    --active_;
    changed_.notify_all();
    if (taken && !hashes_.wants(block.range)) drop(block);
  }

  void drop(Block& block) {
    if (!block.buffer.bytes().empty()) buffers_.give_back(std::exchange(block.buffer, Buffer()));
  }

  void start_worker() {
    if (is_all_requested() || workers_.size() >= connections_) return;
    try {
      workers_.push_back(start(&Fetcher::work));
    } catch (const Error&) {
      if (workers_.empty()) note_fault();  // else fewer do the work
    }
  }

  void note_fault() {
    if (fault_) return;
    fault_ = std::current_exception();
    give_up_at_ = std::chrono::steady_clock::now() + kGrace;
    if (options_.on_fault) options_.on_fault();
    changed_.notify_all();
  }

  void work() {
    const AlsoCheck check([this] {
      if (gives_up_) throw Abandoned{};
    });
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      ++waiting_;
      changed_.wait(lock, [this] { return is_all_requested() || can_request(); });
      --waiting_;
      if (is_all_requested()) return;
      try {
        Block& block = request();
        if (waiting_ == 0) start_worker();
        lock.unlock();
        const bool taken = read_and_take(block);
        lock.lock();
        end_request(block, taken);
      } catch (const std::bad_alloc&) {
        note_fault();
      }
    }
  }

  bool read_and_take(const Block& block) try {
    const std::span<std::byte> bytes = block.buffer.bytes();
    const FarRange& range = sequence_[block.range];
    const double began_s = now_s();
    range.file->read(range.offset + block.at, bytes);
    if (options_.on_bytes) options_.on_bytes(bytes.size());
    adapt(bytes.size(), began_s);
    take_({block.range, range.offset + block.at, bytes});
    return true;
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    note_fault();
    return false;
  }

  void adapt(std::uint64_t bytes, double began_s) {
    if (options_.connections != 0) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    const double ended_s = now_s();
    connections_ = pace_.note(ended_s, bytes, ended_s - began_s);
  }

  // Hashes in order what was taken, until all is, or nothing more comes.
  void follow() {
    FetchMark mark = options_.from;
    std::unique_lock<std::mutex> lock(mutex_);
    while (blocks_.empty() ? !is_all_requested() : !fault_ || active_ != 0 || blocks_.front().taken) {
      note_interrupt();
      if (blocks_.empty() || !blocks_.front().taken) {
        gives_up_ = fault_ && std::chrono::steady_clock::now() >= give_up_at_;
        changed_.wait_for(lock, kInterruptCheck);
        continue;
      }
      Block& block = blocks_.front();
      lock.unlock();
      const bool right = hash(block, mark);
      lock.lock();
      if (!right) {
        block.taken = false;  // the mark stays before it
        continue;
      }
      drop(block);
      mark_ = mark;
      hashed_ += block.size;
      blocks_.pop_front();
      changed_.notify_all();
    }
    ended_ = true;
    changed_.notify_all();
  }

  bool hash(const Block& block, FetchMark& mark) try {
    if (hashes_.wants(block.range)) hashes_.update(block.range, block.at, block.buffer.bytes(), mark);
    mark.range = block.range;
    mark.at = block.at + block.size;
    skip_empty(mark.range, mark.at);
    return true;
  } catch (const Error&) {
    const std::lock_guard<std::mutex> lock(mutex_);
    note_fault();
    return false;
  }

  void note_interrupt() try { check_interrupt(); } catch (const Interrupted&) {
    note_fault();
  }

  // Passes the newest mark whenever there is one, and the mark of the end.
  void pass_marks() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait_for(lock, kPassTime, [this] { return ended_ || hashed_ - passed_bytes_ >= kPassed; });
      if (!ended_ && hashed_ == passed_bytes_) continue;
      const bool is_last = ended_;
      if (hashed_ == passed_bytes_ && fault_) return;
      const FetchMark mark = mark_;
      const std::uint64_t bytes = hashed_;
      lock.unlock();
      const bool done = pass(mark);
      lock.lock();
      if (done) passed_bytes_ = bytes;
      changed_.notify_all();
      if (!done || is_last || mark.range == sequence_.size()) return;
    }
  }

  bool pass(const FetchMark& mark) try {
    passed_(mark);
    return true;
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    note_fault();
    return false;
  }

  const std::vector<FarRange>& sequence_;
  const FetchOptions& options_;
  const std::function<void(const FarBlock&)>& take_;
  const std::function<void(const FetchMark&)>& passed_;
  WholeHashes hashes_;  // the caller's thread alone updates it

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::size_t range_;  // the next byte to be requested
  std::uint64_t at_;
  unsigned connections_, active_ = 0, waiting_ = 0;  // workers that read or take, and that wait
  PaceMeter pace_{now_s()};
  BufferPool buffers_{kMaxUnpassed};
  std::deque<Block> blocks_;  // in order, from the first that is not hashed
  std::uint64_t requested_ = 0, hashed_ = 0, passed_bytes_ = 0;  // bytes of the sequence
  FetchMark mark_;                                               // behind what is hashed
  std::atomic<bool> gives_up_ = false;
  std::chrono::steady_clock::time_point give_up_at_{};  // if there is a fault
  std::exception_ptr fault_;                            // the first
  bool ended_ = false;                                  // nothing more will be hashed
  std::vector<std::thread> workers_;
};

}  // namespace

void fetch(const std::vector<FarRange>& sequence, const FetchOptions& options,
           const std::function<void(const FarBlock&)>& take,
           const std::function<void(const FetchMark&)>& passed) {
  Fetcher(sequence, options, take, passed).run();
}

}  // namespace mu
