// SPDX-License-Identifier: Apache-2.0
// Files that lie elsewhere, hung in under a name with a scheme ("hf://owner/name"): file.h and folder.h list
// and read them as any other, so that no reader of a format knows of networks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace mu {

struct FarFile {
  std::uint64_t size = 0;  // bytes
  // Fills `out` from byte `offset`, never beyond `size`. Thread safe. Throws what the network throws.
  std::function<void(std::uint64_t offset, std::span<std::byte> out)> read;
  std::string_view start{};  // first bytes that are here already; they live as long as `read`
};

// By path below the name they hang in under; "" where that name is itself a file.
using FarFolder = std::map<std::string, FarFile, std::less<>>;

// For the life of the process. A name that is taken is replaced; nothing read from it may be in use then.
void hang_in(const std::string& name, FarFolder files);

// True for names that begin with hf://, https:// or http://.
bool is_far_name(std::string_view path);

struct FarPlace {
  const FarFolder* folder;
  std::string below;  // path in it; empty for the name itself
};
// Where a path leads; nothing for paths on this machine.
std::optional<FarPlace> find_far(std::string_view path);
// For a path that leads nowhere: throws kIo, with what to do, if its name says that it lies elsewhere.
void require_near(std::string_view path);

}  // namespace mu
