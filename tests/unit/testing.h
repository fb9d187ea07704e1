// SPDX-License-Identifier: Apache-2.0
// What unit tests share: a folder that goes away, files in it, errors by kind, small safetensors files.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"
#include "os/folder.h"
#include "os/remove_tree.h"

namespace mu::testing {

// A fresh folder, removed with everything in it.
class TempFolder {
 public:
  TempFolder() {
    const char* const base = std::getenv("TMPDIR");
    path_ = std::string(base == nullptr ? "/tmp" : base) + "/mu-test-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) throw io_error("make a folder", errno, path_);
  }
  ~TempFolder() { remove_tree(path_); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return join_path(path_, name); }

 private:
  std::string path_;
};

inline void put(const std::string& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline std::string get(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// The kind of the error that `action` ends with, or nothing when it does not.
template <typename Action>
std::optional<ErrorKind> error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.kind();
  }
  return std::nullopt;
}

// Length, header and `data` zero bytes.
inline std::string safetensors(std::string_view header, std::size_t data) {
  std::string file(8, '\0');
  store_le(reinterpret_cast<std::byte*>(file.data()), std::uint64_t{header.size()});
  return file.append(header).append(data, '\0');
}

}  // namespace mu::testing
