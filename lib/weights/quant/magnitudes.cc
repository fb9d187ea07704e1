// SPDX-License-Identifier: Apache-2.0
#include "weights/quant/magnitudes.h"

#include <algorithm>

#include "tensor/decode.h"
#include "tensor/dtype.h"
#include "weights/quant/encoded.h"

namespace mu {
namespace {

constexpr std::size_t kMostValues = 2U << 20;         // that are kept: 8 MiB
constexpr std::uint64_t kPieceElements = 256U << 10;  // that one thread looks at

float magnitude_of(const Sources& sources, std::size_t source, std::uint64_t at, std::uint64_t size) {
  const Tensor& weight = sources[source];
  thread_local std::vector<std::byte> bytes;
  thread_local std::vector<float> values;
  bytes.resize(static_cast<std::size_t>(size));
  values.resize(value_count(weight.dtype, bytes.size()));
  sources.read(source, at, bytes);
  decode(weight.dtype, bytes, values);
  return largest_magnitude(values, weight);
}

}  // namespace

std::shared_ptr<MagnitudeCache::Entry> MagnitudeCache::entry(const Key& key) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<Entry>& entry = entries_[key];
  if (!entry) entry = std::make_shared<Entry>();
  return entry;
}

void MagnitudeCache::keep(const Key& key, std::size_t count) {
  const std::lock_guard lock(mutex_);
  order_.emplace_back(key, count);
  kept_ += count;
  while (kept_ > kMostValues) {
    kept_ -= order_.front().second;
    entries_.erase(order_.front().first);
    order_.pop_front();
  }
}

MagnitudeCache::Values MagnitudeCache::get(std::uint64_t weight, std::uint64_t strip,
                                           const std::function<std::vector<float>()>& find) {
  const Key key(weight, strip);
  const std::shared_ptr<Entry> found = entry(key);
  const std::lock_guard lock(found->mutex);
  if (!found->values) {
    found->values = std::make_shared<const std::vector<float>>(find());
    keep(key, found->values->size());
  }
  return found->values;
}

void SharedMagnitude::begin(const Sources& sources, std::size_t count) {
  if (begun_) return;
  begun_ = true;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t step = kPieceElements * (bits(sources[i].dtype) / 8);
    for (std::uint64_t at = 0; at < sources[i].size; at += step)
      pieces_.push_back({i, at, std::min(step, sources[i].size - at)});
  }
}

float SharedMagnitude::get(const Sources& sources, std::size_t count) {
  std::unique_lock lock(mutex_);
  begin(sources, count);
  while (next_ < pieces_.size() && !fault_) {
    const Piece piece = pieces_[next_++];
    lock.unlock();
    float largest = 0;
    std::exception_ptr fault;
    try {
      largest = magnitude_of(sources, piece.source, piece.at, piece.size);
    } catch (...) {
      fault = std::current_exception();
    }
    lock.lock();
    largest_ = std::max(largest_, largest);
    if (fault) fault_ = fault;
    ++done_;
    if (fault_ || done_ == pieces_.size()) finished_.notify_all();
  }
  finished_.wait(lock, [&] { return fault_ || done_ == pieces_.size(); });
  if (fault_) std::rethrow_exception(fault_);
  return largest_;
}

}  // namespace mu
