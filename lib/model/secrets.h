// SPDX-License-Identifier: Apache-2.0
// Access tokens and private keys in texts, recognised by the form that services give them. Secrets without a
// form of their own (passwords, cloud secrets) can't be seen, nor can anything that is compressed, encrypted
// or encoded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "os/file.h"

namespace mu {

enum class SecretKind : std::uint8_t { kToken, kPrivateKey };

struct Secret {
  SecretKind kind;
  std::size_t begin, size;  // bytes of the text
};
// The first secret at or after `from`. Placeholders of documentation ("hf_xxxx…", "AKIA…EXAMPLE", a key that
// is cut out) don't count.
std::optional<Secret> find_secret(std::string_view text, std::size_t from = 0);

// A text with everything in it that has the form of a token replaced by "***", placeholders too.
std::string mask_secrets(std::string_view text);

// Raised whenever a file could be judged differently than before.
inline constexpr unsigned kSecretsVersion = 2;

struct SecretInFile {
  SecretKind kind;
  std::uint64_t line;  // from 1
};
// The first secret in the first `limit` bytes of a file, of whatever kind it is. If the file
// holds NULs, it is searched as UTF-16 (or UTF-32), too. Reads piece by piece; throws kIo.
std::optional<SecretInFile> search_file(const InputFile& file, std::uint64_t limit);

}  // namespace mu
