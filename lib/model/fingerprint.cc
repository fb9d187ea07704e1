// SPDX-License-Identifier: Apache-2.0
#include "model/fingerprint.h"

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "os/folder.h"
#include "weights/digest.h"

namespace mu {

KnownBy parse_known_by(std::string_view text) {
  if (text == "time") return KnownBy::kTime;
  if (text == "content") return KnownBy::kContent;
  throw usage("--fingerprint takes time or content, not '" + escape_name(text) + "'");
}

// The length before the text keeps "ab", "c" apart from "a", "bc".
void Fingerprint::add(std::string_view text) {
  add(std::uint64_t{text.size()});
  hash_.update(as_bytes(text));
}

void Fingerprint::add(std::uint64_t number) {
  std::byte bytes[sizeof number];
  store_le(bytes, number);
  hash_.update(bytes);
}

void Fingerprint::add(const InputFile& file, KnownBy by) {
  add(base_name(file.path()));
  add(file.size());
  if (by == KnownBy::kTime) {
    add(static_cast<std::uint64_t>(file.stamp().mtime_ns));
  } else {
    add(file_hash(file, [](std::uint64_t) {}));
  }
}

void Fingerprint::add(const Weights& weights, KnownBy by) {
  add(std::uint64_t{weights.files.size()});
  for (const WeightsFile& file : weights.files) {
    if (file.file) {
      add(*file.file, by);
    } else {
      add(file.name);
    }
  }
}

std::string Fingerprint::finish() {
  return to_hex(hash_.finish()).substr(0, 16);
}

}  // namespace mu
