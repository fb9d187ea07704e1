// SPDX-License-Identifier: Apache-2.0
#include "model/fingerprint.h"

#include "base/bytes.h"
#include "base/error.h"
#include "base/text.h"
#include "os/far.h"
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

namespace {

// What tells the bytes of a mounted file from others, for every run on every machine, also where one of them has a
// copy here.
std::string identity_of(const FarFile& far, const InputFile& file, KnownBy by) {
  if (!far.sha256.empty()) return far.sha256;
  if (by == KnownBy::kContent) return file_hash(file, [](std::uint64_t) {});
  if (!far.version.empty()) return far.version;
  throw refused("its server says nothing by which another run could recognise it")
      .in_file(escape_name(file.path()))
      .hint("--fingerprint content reads it for that");
}

}  // namespace

void Fingerprint::add(const InputFile& file, KnownBy by) {
  add(base_name(file.path()));
  add(file.size());
  if (const FarFile* const far = far_file(file.path())) {
    add(identity_of(*far, file, by));
  } else if (by == KnownBy::kTime) {
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

void Fingerprint::add(const std::vector<FarRange>& sequence) {
  for (const FarRange& range : sequence) {
    add(range.file->version);
    add(range.offset);
    add(range.size);
  }
}

std::string Fingerprint::finish() {
  return to_hex(hash_.finish()).substr(0, 16);
}

}  // namespace mu
