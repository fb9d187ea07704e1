// SPDX-License-Identifier: Apache-2.0
#include "hub/pin.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/bytes.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "base/text.h"
#include "hash/sha256.h"
#include "hub/api.h"
#include "os/far.h"
#include "os/folder.h"
#include "os/parts.h"
#include "os/stage.h"
#include "weights/safetensors.h"

namespace mu {
namespace {

constexpr std::string_view kSchema = "modelutils.pin/1";
constexpr std::uint64_t kFirstLine = 64;                       // bytes, at most
constexpr std::uint64_t kMaxHead = kMaxSafetensorsHeader + 8;  // bytes
constexpr std::uint64_t kMaxList = 64U << 20;                  // bytes: some 100 for each file; bounds memory

std::string read_text(const InputFile& file, std::uint64_t at, std::uint64_t size) {
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read_at(at, std::as_writable_bytes(std::span(text)));
  return text;
}

// What is known of the first bytes; of a copy here, the header of safetensors.
std::string head_of(const PinnedRepo& repo, const RemoteFile& file) {
  const FarFile* const far = far_file(repo.place.name + "/" + file.path);
  if (far == nullptr || far->local.empty()) return far == nullptr ? "" : std::string(far->start);
  std::array<std::byte, 8> length;
  if (!file.path.ends_with(".safetensors") || file.size < length.size()) return "";
  const InputFile copy(far->local);
  copy.read_at(0, length);
  const std::uint64_t size = load_le<std::uint64_t>(length.data());
  return size > kMaxHead - 8 || size + 8 > copy.size() ? "" : read_text(copy, 0, size + 8);
}

std::string list_json(const PinnedRepo& repo) {
  std::string text;
  JsonWriter json(text, 0);
  json.begin_object()
      .member("repository", repo.place.repo.web_path())
      .member("revision", repo.place.revision)
      .member("commit", repo.commit)
      .key("files")
      .begin_array();
  for (const RemoteFile& file : repo.files)
    json.begin_object()
        .member("path", file.path)
        .member("size", file.size)
        .member("blob", file.blob)
        .member("sha256", file.sha256)
        .member("kept", head_of(repo, file).size())
        .end_object();
  json.end_array().end_object();
  return text;
}

Error not_a_pin() {
  return malformed("is not the pin of a commit that this version wrote");
}

std::string text_of(const JsonValue& item, std::string_view key) {
  const std::string* const text = item.find_string(key);
  if (text == nullptr) throw not_a_pin();
  return *text;
}

PinnedRepo parse_pin(const InputFile& file, const RemotePlace& place) {
  const std::string start = file.read_start(kFirstLine);
  const std::size_t line = start.find('\n');
  const std::string first = start.substr(0, std::min(line, start.size()));
  if (line == std::string::npos || !first.starts_with(std::string(kSchema) + " ") ||
      !is_digits(std::string_view(first).substr(kSchema.size() + 1)) || first.size() > kSchema.size() + 10)
    throw not_a_pin();
  const std::uint64_t size = std::stoull(first.substr(kSchema.size() + 1));
  std::uint64_t at = line + 1;
  if (size > kMaxList || size > file.size() - at) throw not_a_pin();
  const JsonDocument list = parse_json(read_text(file, at, size));
  at += size;
  if (text_of(list.root, "repository") != place.repo.web_path() ||
      text_of(list.root, "revision") != place.revision)
    throw refused("is the pin of another repository or revision");
  PinnedRepo repo{place, text_of(list.root, "commit"), {}, {}};
  require_commit_id(repo.commit, "the pin");
  const JsonValue* const files = list.root.find("files");
  if (files == nullptr || !files->is_array()) throw not_a_pin();
  for (const JsonValue& item : files->items()) {
    const std::optional<std::uint64_t> bytes = item.find_u64("size"), kept = item.find_u64("kept");
    if (!bytes || !kept || *kept > std::min({*bytes, file.size() - at, kMaxHead})) throw not_a_pin();
    repo.files.push_back({text_of(item, "path"), *bytes, text_of(item, "blob"), text_of(item, "sha256")});
    if (*kept > 0) repo.heads.emplace(repo.files.back().path, read_text(file, at, *kept));
    at += *kept;
  }
  return repo;
}

}  // namespace

std::string pin_path(const std::string& folder, const RemotePlace& place) {
  Sha256 hash;
  hash.update(as_bytes(place.repo.web_path() + "@" + place.revision));
  return join_path(folder, std::string(kPinPrefix) + to_hex(hash.finish()).substr(0, 16));
}

std::optional<PinnedRepo> read_pin(const std::string& path, const RemotePlace& place) {
  if (!exists(path)) return std::nullopt;
  try {
    return parse_pin(InputFile(path), place);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kIo) throw;
    throw refused(error.message()).in_file(escape_name(path)).hint("remove it, then run all parts again");
  }
}

bool write_pin(const std::string& path, const PinnedRepo& repo) {
  const std::string folder = parent_of(path);
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
    throw io_error("make the folder", errno, escape_name(folder));
  if (exists(path)) return false;
  StagedFile staged(path, false);
  const std::string list = list_json(repo);
  std::uint64_t at = 0;
  const auto write = [&](std::string_view text) {
    staged.file().write_at(at, as_bytes(text));
    at += text.size();
  };
  write(fmt::format("{} {}\n", kSchema, list.size()));
  write(list);
  for (const RemoteFile& file : repo.files) write(head_of(repo, file));
  try {
    staged.commit();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kRefused) throw;
    return false;
  }
  return true;
}

}  // namespace mu
