// SPDX-License-Identifier: Apache-2.0
// Files on other machines, mounted under a name with a scheme ("hf://owner/name"): file.h and folder.h list and
// read them like any other, so that no reader of a format knows about networks.
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
  // Fills `out` from byte `offset`, never beyond `size`. Thread safe: each call has a connection of its own. Throws
  // what the network throws.
  std::function<void(std::uint64_t offset, std::span<std::byte> out)> read;
  std::string_view start{};  // first bytes that were fetched already; they live as long as `read`
  std::string name{};        // as messages show it: "hf://owner/name/model.safetensors"
  std::string sha256{};      // hex, of the whole file, as the other machine reports it; empty: it does not
  std::string
      version{};  // of equal versions the bytes are equal: commit, path, entity tag; empty: nothing is known
  std::string local{};             // a copy on this machine, which is opened instead
  std::function<void()> refuse{};  // throws when it is opened: known to be there, but not to be had; or empty
};

// By path below the name they are mounted under; "" when that name is itself a file.
using FarFolder = std::map<std::string, FarFile, std::less<>>;

// Mounts files for the life of the process. Mounting a name again adds to its files; those that were there stay
// where they are, since they may be open, and get a `start` that they did not have.
void mount_far(const std::string& name, FarFolder files);
// Ends that. None of the files is open any more.
void unmount_far(const std::string& name);

// Whether anything was mounted.
bool has_far();

// True for names that begin with hf://, https:// or http://.
bool is_far_name(std::string_view path);

struct FarPlace {
  const FarFolder* folder;
  std::string below;  // path in it; empty for the name itself
};
// The mounted place that a path leads to; nothing for paths on this machine.
std::optional<FarPlace> find_far(std::string_view path);
// The mounted file of a path; null for other paths.
const FarFile* far_file(std::string_view path);
// The path to open on this machine: that of the copy, for a mounted file that has one; else the path itself.
std::string near_path(const std::string& path);
// Reads a mounted file. What keep_far() has is not read again.
void read_far(const FarFile& file, std::uint64_t offset, std::span<std::byte> out);
// While bytes of far files are kept here (fetch/mirror.h), `kept` fills `out` and returns true if it has all of them.
// Called from several threads. An empty function ends it.
using KeptFar = std::function<bool(const FarFile& file, std::uint64_t offset, std::span<std::byte> out)>;
void keep_far(KeptFar kept);

// Called for a path that was not found: throws kIo with advice if its name says that it is on another machine.
void require_near(std::string_view path);

}  // namespace mu
