// SPDX-License-Identifier: Apache-2.0
// Preupload: which files go where, which are ignored, which are there already.
#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/json_write.h"
#include "base/text.h"
#include "hash/git_blob.h"
#include "hub/attributes.h"
#include "routes.h"

namespace hub {

namespace {

constexpr std::uint64_t kSampleSize = 512;

struct Asked {
  std::string path, sample, sha256;
  std::uint64_t size = 0;
};

Asked read_file(const Call& call, const mu::JsonValue& item) {
  Asked asked;
  const std::string* path = item.find_string("path");
  const std::string* sample = item.find_string("sample");
  const auto size = item.find_u64("size");
  if (!path || path->empty() || !size) throw call.refuse(400, "files need a path and a size");
  if (!sample) throw call.refuse(400, fmt::format("\"sample\" is missing for {}", *path));
  const auto bytes = base64_decode(*sample);
  if (!bytes) throw call.refuse(400, fmt::format("the sample of {} is not base64", *path));
  if (bytes->size() != std::min(*size, kSampleSize)) {
    throw call.refuse(400, fmt::format("the sample of {} has {} bytes, not {}", *path, bytes->size(),
                                       std::min(*size, kSampleSize)));
  }
  asked.path = *path;
  asked.size = *size;
  asked.sample = *bytes;
  if (const std::string* sha256 = item.find_string("sha256")) asked.sha256 = *sha256;
  return asked;
}

std::string stored_text(const Commit* commit, const std::string& path) {
  if (!commit) return {};
  const auto at = commit->files->find(path);
  return at == commit->files->end() || at->second.is_lfs() ? "" : at->second.content->text();
}

// KohakuHub says of a file with the same content that it should be ignored.
bool has_same_content(const Asked& asked, const File& file) {
  if (file.is_lfs()) return file.sha256 == asked.sha256;
  if (!asked.sha256.empty()) return sha256_hex(file.content->text()) == asked.sha256;
  return asked.size <= kSampleSize && file.size == asked.size && file.content->text() == asked.sample;
}

}  // namespace

Answer preupload(Call& call) {
  const mu::JsonDocument document = call.json();
  const bool create_pr = query_truth(call.query, "create_pr");
  call.must_write(create_pr || call.revision().starts_with("refs/pr/"));
  const bool kohaku = call.hub.config.kohaku;
  if (kohaku && create_pr) throw call.refuse(501, "Pull requests are not supported", "NotImplemented");
  const bool empty_main = call.revision() == "main" && call.repo->branches.at("main").empty();
  const Commit* commit = empty_main ? nullptr : &call.commit(call.revision());

  const mu::JsonValue* files = document.root.find("files");
  if (!files || !files->is_array() || files->items().empty())
    throw call.refuse(400, "\"files\" must be a list");
  if (files->items().size() > 256)
    throw call.refuse(400, "\"files\" must contain less than or equal to 256 items");
  const std::string* own_ignore = document.root.find_string("gitIgnore");
  const std::string* own_attributes = document.root.find_string("gitAttributes");
  const mu::IgnoreRules ignore(own_ignore ? *own_ignore : stored_text(commit, ".gitignore"));
  const mu::Attributes attributes(kohaku           ? mu::default_attributes()
                                  : own_attributes ? *own_attributes
                                                   : stored_text(commit, ".gitattributes"));

  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object().member("commitOid", commit ? commit->id : "").key("files").begin_array();
  std::size_t left_out = call.plays("missing-path") ? 1 : 0;
  for (auto item = files->items().rbegin(); item != files->items().rend();
       ++item) {  // matched by path, not place
    const Asked asked = read_file(call, *item);
    if (left_out > 0 && left_out-- > 0) continue;
    const bool lfs = asked.size >= call.hub.config.lfs_threshold || attributes.wants_lfs(asked.path) ||
                     asked.sample.find('\0') != std::string::npos;
    const File* there = nullptr;
    if (commit) {
      const auto at = commit->files->find(asked.path);
      if (at != commit->files->end()) there = &at->second;
    }
    const bool ignored = kohaku ? there && has_same_content(asked, *there) : ignore.ignores(asked.path);
    json.begin_object().member("path", asked.path).member("uploadMode", lfs ? "lfs" : "regular");
    json.member("shouldIgnore", ignored);
    if (there && !kohaku) json.member("oid", there->is_lfs() ? there->sha256 : there->git_id);
    json.end_object();
  }
  json.end_array().end_object();
  return json_answer(body);
}

}  // namespace hub
