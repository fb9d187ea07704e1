// SPDX-License-Identifier: Apache-2.0
// Is a file of tensors whole? A few bytes at its ends answer that for programs that check thousands of files:
// what a crash or a full disk cuts off is missing there. A sound probe is not a proof; opening the file is.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_set>

#include "os/file.h"

namespace mu {

struct FileProbe {
  std::string fault{};           // what is wrong; empty when nothing is
  std::uint64_t data_bytes = 0;  // of tensors, as far as the ends show
};

// A safetensors file: its length, its header's end, and that the tensors end where the file does. Throws kIo.
FileProbe probe_safetensors(const InputFile& file);

// The names of a safetensors file's tensors, read from its header. Throws kIo, and kMalformed for a header
// that is broken.
std::unordered_set<std::string> safetensors_names(const InputFile& file);

// A file of torch: the end records of its zip archive and that the directory they name lies inside. A legacy
// stream or a plain pickle has no end to look at and passes unless it is empty. Throws kIo.
FileProbe probe_torch(const InputFile& file);

// Reads all of a file as its readers would, tensors included, and every byte of it; members of a zip archive
// whose checksum does not fit are reported in `warning`, since writers may leave it out. Throws kIo.
FileProbe probe_deeply(const std::string& path, std::string& warning);

}  // namespace mu
