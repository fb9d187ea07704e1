// SPDX-License-Identifier: Apache-2.0
#include "fetch/buffers.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace mu {

Buffer::Buffer(std::size_t size) {
  if (size == 0) return;
  void* const memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  bytes_ = {static_cast<std::byte*>(memory), size};
}

Buffer::~Buffer() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Buffer BufferPool::take(std::size_t size) {
  const auto same = std::find_if(idle_.begin(), idle_.end(),
                                 [size](const Buffer& buffer) { return buffer.bytes().size() == size; });
  Buffer buffer;
  if (same != idle_.end()) {
    buffer = std::move(*same);
    idle_.erase(same);
    idle_bytes_ -= size;
  } else {
    while (!idle_.empty() && out_ + idle_bytes_ + size > limit_) {
      idle_bytes_ -= idle_.back().bytes().size();
      idle_.pop_back();
    }
    buffer = Buffer(size);
  }
  out_ += size;
  return buffer;
}

void BufferPool::give_back(Buffer buffer) {
  const std::size_t size = buffer.bytes().size();
  out_ -= size;
  idle_bytes_ += size;
  idle_.push_back(std::move(buffer));
}

}  // namespace mu
