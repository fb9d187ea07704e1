// SPDX-License-Identifier: Apache-2.0
// The threads that write a tensor take its stretches in order, so that most are in one strip, and the first of them
// reads it for all. Each thread holds the strip that it used last, and nothing else does, so that a strip goes with
// its last user and memory does not grow with tensors. The buffers of strips that are gone are used again: malloc would keep
// some for each thread that ever read one.
#include "weights/quant/strips.h"

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

namespace mu {
namespace {

constexpr std::uint64_t kStripBytes = 8U << 20;  // a matrix of 4096 x 14336 in four strips

using Buffer = std::vector<std::byte>;

class Spares {
 public:
  static Spares& all() {
    static Spares spares;
    return spares;
  }

  // One of this size.
  Buffer take(std::size_t size) {
    Buffer buffer;
    {
      const std::lock_guard lock(mutex_);
      // The one that fits best, unless it is far too large: a strip has a large source and small ones.
      auto best = buffers_.end();
      for (auto i = buffers_.begin(); i != buffers_.end(); ++i) {
        if (i->capacity() >= size && i->capacity() / 4 <= size &&
            (best == buffers_.end() || i->capacity() < best->capacity()))
          best = i;
      }
      if (best != buffers_.end()) {
        buffer = std::move(*best);
        buffers_.erase(best);
      }
    }
    buffer.resize(size);
    return buffer;
  }

  void give(Buffer buffer) {
    constexpr std::size_t kMost = 4;
    const std::lock_guard lock(mutex_);
    buffers_.push_back(std::move(buffer));
    if (buffers_.size() > kMost) buffers_.erase(buffers_.begin());
  }

 private:
  std::mutex mutex_;
  std::vector<Buffer> buffers_;
};

}  // namespace

Strips::Kept::~Kept() {
  for (Buffer& buffer : bytes) Spares::all().give(std::move(buffer));
}

Strips::Strips(std::uint64_t units, std::vector<std::uint64_t> unit_bytes)
    : units_(units), unit_bytes_(std::move(unit_bytes)) {
  const std::uint64_t unit = std::accumulate(unit_bytes_.begin(), unit_bytes_.end(), std::uint64_t{0});
  per_strip_ = std::max<std::uint64_t>(1, kStripBytes / std::max<std::uint64_t>(1, unit));
}

std::shared_ptr<Strips::Kept> Strips::find(std::uint64_t unit) {
  const std::lock_guard lock(mutex_);
  std::erase_if(kept_, [](const std::weak_ptr<Kept>& strip) { return strip.expired(); });
  for (const std::weak_ptr<Kept>& candidate : kept_) {
    const std::shared_ptr<Kept> strip = candidate.lock();
    if (strip && unit >= strip->first && unit - strip->first < strip->count) return strip;
  }
  auto strip = std::make_shared<Kept>();
  strip->first = unit / per_strip_ * per_strip_;
  strip->count = std::min(per_strip_, units_ - strip->first);
  kept_.push_back(strip);
  return strip;
}

std::shared_ptr<const Strips::Strip> Strips::around(const Sources& sources, std::uint64_t unit) {
  thread_local std::shared_ptr<const Strip> in_use;
  const std::shared_ptr<Kept> strip = find(unit);
  if (in_use != strip) in_use.reset();
  const std::lock_guard lock(strip->reading);
  if (!strip->read) {
    strip->bytes.resize(unit_bytes_.size());
    for (std::size_t i = 0; i < unit_bytes_.size(); ++i) {
      const std::uint64_t begin = strip->first * unit_bytes_[i], size = strip->count * unit_bytes_[i];
      strip->bytes[i] = Spares::all().take(static_cast<std::size_t>(size + kSpare));
      const std::uint64_t stored = std::min(size, sources[i].size - std::min(sources[i].size, begin));
      sources.read(i, begin, std::span(strip->bytes[i]).first(stored));
    }
    strip->read = true;
  }
  in_use = strip;  // what was read may have been made of strips of its own
  return strip;
}

}  // namespace mu
