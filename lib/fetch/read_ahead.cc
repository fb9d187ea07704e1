// SPDX-License-Identifier: Apache-2.0
// Bytes have a place: their position in the sequence. The reader stands behind the last byte that it read; blocks that
// begin at most kAhead further on are taken into memory, and the threads of fetch() wait with others. This can't hang: a
// block that the reader waits for was requested before all that wait. Behind the reader, blocks are dropped in the order
// of their last use.
#include "fetch/read_ahead.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <list>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

#include "fetch/buffers.h"
#include "fetch/byte_set.h"

namespace mu {
namespace {

constexpr std::uint64_t kAhead = 16ULL << 20, kKept = 24ULL << 20;  // bytes; of both sides

struct Abandoned {};  // ends the fetch of a reader that is gone

// Some bytes of a file, and their place.
struct Piece {
  std::uint64_t place, offset, size;
};

}  // namespace

struct ReadAhead::State {
  struct Block {
    std::shared_ptr<const Buffer> buffer;
    std::list<std::uint64_t>::iterator use;
  };
  using Blocks = std::map<std::uint64_t, Block>;  // by place

  std::vector<FarRange> sequence;
  std::vector<std::uint64_t> places;                                         // of the ranges
  std::unordered_map<const FarFile*, std::map<std::uint64_t, Piece>> files;  // by offset

  std::mutex mutex;  // guards what follows
  std::condition_variable changed;
  Blocks blocks;
  ByteSet taken;                  // places
  std::uint64_t reader = 0;       // place
  std::list<std::uint64_t> uses;  // places of blocks; used last first
  std::uint64_t kept = 0;         // bytes of blocks
  bool is_finishing = false;      // nothing more will be read, but all is to come
  bool is_over = false;           // nothing more is taken
  bool has_ended = false;         // fetch() has
  std::exception_ptr fault;
  std::thread thread;

  explicit State(std::vector<FarRange> ranges) : sequence(std::move(ranges)) {
    std::uint64_t place = 0;
    for (const FarRange& range : sequence) {
      places.push_back(place);
      if (range.size != 0) files[range.file].emplace(range.offset, Piece{place, range.offset, range.size});
      place += range.size;
    }
  }

  void run(FetchOptions options) {
    options.on_fault = [this] {
      const std::lock_guard<std::mutex> lock(mutex);
      is_over = true;
      changed.notify_all();
    };
    std::exception_ptr failed;
    try {
      fetch(
          sequence, options, [this](const FarBlock& block) { take(block); }, [](const FetchMark&) {});
    } catch (...) {
      failed = std::current_exception();
    }
    const std::lock_guard<std::mutex> lock(mutex);
    fault = failed;
    is_over = has_ended = true;
    changed.notify_all();
  }

  void take(const FarBlock& block) {
    const std::uint64_t place = places[block.range] + block.offset - sequence[block.range].offset;
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [&] { return place < reader + kAhead || is_finishing || is_over; });
    if (is_over) throw Abandoned{};
    if (!is_finishing) {
      lock.unlock();
      auto buffer = std::make_shared<const Buffer>(block.bytes.size());
      std::memcpy(buffer->bytes().data(), block.bytes.data(), block.bytes.size());
      lock.lock();
      kept += block.bytes.size();
      uses.push_front(place);
      blocks.emplace(place, Block{std::move(buffer), uses.begin()});
      drop_old();
    }
    taken.add({place, place + block.bytes.size()});
    changed.notify_all();
  }

  // Where these bytes are in the sequence; nothing if not all of them are.
  [[nodiscard]] std::vector<Piece> pieces_of(const FarFile& file, std::uint64_t offset,
                                             std::uint64_t size) const {
    std::vector<Piece> pieces;
    const auto ranges = files.find(&file);
    if (ranges == files.end()) return {};
    for (auto at = ranges->second.upper_bound(offset); size != 0;) {
      if (pieces.empty() && at != ranges->second.begin()) --at;
      if (at == ranges->second.end() || offset < at->first || offset >= at->first + at->second.size)
        return {};
      const Piece& range = at->second;
      const std::uint64_t skipped = offset - range.offset;
      pieces.push_back({range.place + skipped, offset, std::min(size, range.size - skipped)});
      offset += pieces.back().size;
      size -= pieces.back().size;
      ++at;
    }
    return pieces;
  }

  // The functions up to read() are called under the lock.

  Blocks::iterator block_at(std::uint64_t place) {
    auto after = blocks.upper_bound(place);
    if (after == blocks.begin()) return blocks.end();
    --after;
    return place < after->first + after->second.buffer->bytes().size() ? after : blocks.end();
  }

  // How many bytes from here on must be read on their own, since they are gone or too far ahead.
  std::uint64_t apart(std::uint64_t place, std::uint64_t size) {
    const std::vector<ByteRun> missing = taken.missing_of({place, place + size});
    if (!missing.empty() && missing.front().begin == place)
      return place < reader + kAhead && !has_ended ? 0 : size;
    const std::uint64_t end = missing.empty() ? place + size : missing.front().begin;
    const auto next = blocks.upper_bound(place);
    return std::min(end, next == blocks.end() ? end : next->first) - place;
  }

  void drop_old() {
    for (auto use = uses.end(); kept > kKept && use != uses.begin();) {
      const auto block = blocks.find(*--use);
      const std::uint64_t size = block->second.buffer->bytes().size();
      if (block->first + size > reader) continue;
      kept -= size;
      blocks.erase(block);
      use = uses.erase(use);
    }
  }

  void advance(std::uint64_t place) {
    if (place <= reader) return;
    reader = place;
    drop_old();
    changed.notify_all();
  }

  bool read(const FarFile& file, std::uint64_t offset, std::span<std::byte> out) {
    if (out.empty()) return true;
    const std::vector<Piece> pieces = pieces_of(file, offset, out.size());
    for (const Piece& piece : pieces) {
      for (std::uint64_t done = 0; done < piece.size;) {
        const std::span<std::byte> rest = out.subspan(static_cast<std::size_t>(piece.offset - offset + done),
                                                      static_cast<std::size_t>(piece.size - done));
        done += read_some(file, piece.offset + done, piece.place + done, rest);
      }
    }
    return !pieces.empty();
  }

  // Reads the first of these bytes, at least one; returns how many.
  std::uint64_t read_some(const FarFile& file, std::uint64_t offset, std::uint64_t place,
                          std::span<std::byte> out) {
    std::unique_lock<std::mutex> lock(mutex);
    Blocks::iterator block;
    std::uint64_t alone = 0;
    changed.wait(lock, [&] {
      block = block_at(place);
      return fault || block != blocks.end() || (alone = apart(place, out.size())) != 0;
    });
    if (fault) std::rethrow_exception(fault);
    if (block == blocks.end()) {
      lock.unlock();
      file.read(offset, out.first(static_cast<std::size_t>(alone)));
      return alone;
    }
    uses.splice(uses.begin(), uses, block->second.use);
    const std::shared_ptr<const Buffer> buffer = block->second.buffer;
    const std::size_t skipped = static_cast<std::size_t>(place - block->first);
    const std::size_t size = std::min(out.size(), buffer->bytes().size() - skipped);
    lock.unlock();
    std::memcpy(out.data(), buffer->bytes().data() + skipped, size);
    lock.lock();
    advance(place + size);
    return size;
  }

  void end(bool& how) {
    {
      const std::lock_guard<std::mutex> lock(mutex);
      how = true;
      changed.notify_all();
    }
    if (thread.joinable()) thread.join();
  }
};

ReadAhead::ReadAhead(std::vector<FarRange> sequence, FetchOptions options)
    : state_(std::make_unique<State>(std::move(sequence))) {
  keep_far([state = state_.get()](const FarFile& file, std::uint64_t offset, std::span<std::byte> out) {
    return state->read(file, offset, out);
  });
  state_->thread = std::thread([state = state_.get(), options = std::move(options)] { state->run(options); });
}

ReadAhead::~ReadAhead() {
  keep_far({});
  state_->end(state_->is_over);
}

void ReadAhead::finish() {
  state_->end(state_->is_finishing);
  if (state_->fault) std::rethrow_exception(state_->fault);
}

}  // namespace mu
