// SPDX-License-Identifier: Apache-2.0
// Copies bytes from file to file, moving them once: the file system shares them where it can, else the kernel
// copies them, and a fixed buffer is the last resort.
#pragma once

#include <cstdint>
#include <functional>

#include "os/file.h"

namespace mu {

// Called with the size of every piece that has been copied; may be empty.
using OnBytes = std::function<void(std::uint64_t bytes)>;

// Makes `out` share all blocks of `in` (FICLONE). False where the file system can't.
bool clone_file(const InputFile& in, OutputFile& out);

// Copies `size` bytes. Throws kIo, also when `in` has become shorter.
void copy_range(const InputFile& in, std::uint64_t in_offset, OutputFile& out, std::uint64_t out_offset,
                std::uint64_t size, const OnBytes& on_bytes);

// Asks the disk to start on bytes that were just written, so that the sync at the end has little left to do.
void start_writeback(const OutputFile& out, std::uint64_t offset, std::uint64_t size);

// The whole file: clone_file, else copy_range.
void copy_file(const InputFile& in, OutputFile& out, const OnBytes& on_bytes);

}  // namespace mu
