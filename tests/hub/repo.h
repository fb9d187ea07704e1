// SPDX-License-Identifier: Apache-2.0
// A repository in memory: files by path, commits with the ids git would give them, branches, tags, pull
// requests. No locks here; see Hub.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "blob.h"

namespace hub {

struct File {
  std::string git_id;      // of the blob in git: the content, or the LFS pointer
  std::string sha256;      // of the content; LFS files only
  std::uint64_t size = 0;  // of the content
  BlobPointer content;
  [[nodiscard]] bool is_lfs() const { return !sha256.empty(); }
  [[nodiscard]] std::uint64_t pointer_size() const;
};
using Tree = std::map<std::string, File>;  // by path

File regular_file(std::string bytes);
File lfs_file(BlobPointer content, std::string sha256);

struct Commit {
  std::string id, parent;  // parent "" for the first
  std::string title, message, author;
  std::uint64_t time = 0;  // seconds
  std::shared_ptr<const Tree> files;
  std::map<std::string, std::string> folders;  // tree id by path; "" is the root
};

struct Tag {
  std::string commit, message;
};

struct Discussion {
  std::string title, description, author, status = "draft";
  bool is_pull_request = true;
  std::string base = "main";  // branch
  std::string base_commit;    // where it began
};

class Repo {
 public:
  std::string type, id;  // "model", "ada/tiny"
  std::string owner;     // user or organization
  std::string prefix;    // of its keys in storage
  bool is_private = false;
  std::map<std::string, std::string> branches;  // heads by name
  std::map<std::string, Tag> tags;
  std::map<std::uint64_t, Discussion> discussions;
  std::map<std::uint64_t, std::string> pull_heads;
  std::map<std::string, Commit> commits;
  std::map<std::string, BlobPointer> objects;  // LFS storage, by SHA-256
  std::uint64_t next_number = 1;

  [[nodiscard]] std::string web_prefix() const;  // "", "datasets/" or "spaces/"
  // The commit a branch, tag, refs/pr/N or (short) commit id stands for; null: no such revision.
  [[nodiscard]] const Commit* find(std::string_view revision) const;
  // The head that a commit to this revision would move; null: not a branch or pull request.
  std::string* head(std::string_view revision);

  // Adds a commit on `parent` and returns it; the caller moves a head to it. Ids and times depend on contents
  // and order alone.
  const Commit& add_commit(const std::string& parent, Tree files, std::string title, std::string message,
                           std::string author);
};

}  // namespace hub
