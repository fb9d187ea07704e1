// SPDX-License-Identifier: Apache-2.0
#include "hub/part.h"

#include <fmt/format.h>

#include "os/folder.h"
#include "os/remove_tree.h"

namespace mu {
namespace {

constexpr std::string_view kHashes = "hashes.";

std::vector<FileStamp> stamps_of(const FileChoice& choice) {
  std::vector<FileStamp> stamps;
  for (const LocalFile& file : choice.files) stamps.push_back(file.stamp);
  return stamps;
}

std::string suffix(const Part& part) {
  return fmt::format("{}-of-{}", part.index, part.count);
}

std::vector<std::string> tables_beside(const std::string& journal) {
  std::vector<std::string> tables;
  if (journal.empty()) return tables;
  const std::string folder = parent_of(journal);
  if (!is_in_reach(folder) || !is_folder(folder)) return tables;
  for (const FolderEntry& entry : list_folder(folder)) {
    if (entry.kind == FolderEntry::Kind::kFile && entry.name.starts_with(kHashes))
      tables.push_back(join_path(folder, entry.name));
  }
  return tables;
}

}  // namespace

FileChoice part_of(const FileChoice& choice, const Part& part) {
  std::vector<std::uint64_t> sizes;
  for (const LocalFile& file : choice.files) sizes.push_back(file.stamp.size);
  FileChoice own;
  for (const std::size_t unit : units_of(part, sizes)) own.files.push_back(choice.files[unit]);
  if (part.index == 1) own.left_out = choice.left_out;
  return own;
}

std::string part_journal_path(const std::string& journal, const Part& part) {
  return journal.empty() ? "" : journal + "." + suffix(part);
}

void leave_part_hashes(HashCache& cache, const std::string& journal, const FileChoice& own,
                       const Part& part) {
  if (journal.empty()) return;
  cache.divert(join_path(parent_of(journal), std::string(kHashes) + suffix(part)), stamps_of(own));
}

void adopt_part_hashes(HashCache& cache, const std::string& journal, const FileChoice& choice) {
  for (const std::string& table : tables_beside(journal)) cache.adopt(table, stamps_of(choice));
}

void remove_part_hashes(const std::string& journal) {
  for (const std::string& table : tables_beside(journal)) remove_tree(table);
}

}  // namespace mu
