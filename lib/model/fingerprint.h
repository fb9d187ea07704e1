// SPDX-License-Identifier: Apache-2.0
// The fingerprint of a plan, which tells the parts of one piece of work from the parts of another. Two runs
// have the same one when they would write the same bytes: same program, same options, same inputs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fetch/ranges.h"
#include "hash/sha256.h"
#include "weights/weights.h"

namespace mu {

// How an input is recognised: by size and time of change, which costs nothing, or by its bytes, for copies
// whose times differ.
enum class KnownBy : std::uint8_t { kTime, kContent };

// Reads "time" or "content", the values of --fingerprint. Throws kUsage.
KnownBy parse_known_by(std::string_view text);

class Fingerprint {
 public:
  // `program` with the version of its plans, "st-pack 1".
  explicit Fingerprint(std::string_view program) { add(program); }

  void add(std::string_view text);
  void add(std::uint64_t number);
  // The file's own name and its size, with its time or its bytes. Folders above it may differ between
  // machines. One on a hub by its SHA-256, or by what the server calls its version: copies of it have other times.
  void add(const InputFile& file, KnownBy by);
  // All files of a set, in their order.
  void add(const Weights& weights, KnownBy by);

  // Which bytes of which versions of files are read, in order.
  void add(const std::vector<FarRange>& sequence);

  // 16 hex digits. The object can't be used after it.
  std::string finish();

 private:
  Sha256 hash_;
};

}  // namespace mu
