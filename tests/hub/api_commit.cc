// SPDX-License-Identifier: Apache-2.0
// Commits: all that the Hub refuses, then one new tree.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "base/json_write.h"
#include "base/text.h"
#include "hub/attributes.h"
#include "routes.h"

namespace hub {

namespace {

struct Plan {
  std::string summary, description, parent;
  std::map<std::string, File> added;
  std::set<std::string> deleted_files, deleted_folders;
  std::vector<std::string> too_large, binary, missing;  // offending paths
  std::size_t lines = 0, lfs_lines = 0;
};

void check_path(const Call& call, const std::string& path) {
  const auto refuse = [&](const char* why) {
    return call.refuse(422, fmt::format("Invalid path {}: {}", path, why));
  };
  if (path.empty() || path.starts_with('/')) throw refuse("it must be relative");
  if (mu::find_invalid_utf8(path)) throw refuse("it is not UTF-8");
  for (const char c : path)
    if (c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      throw refuse("a backslash or control character");
  for (const std::string_view name : mu::split(path, '/')) {
    if (name.empty() || name == "." || name == ".." || lower(name) == ".git")
      throw refuse("a component is not allowed");
    if (name.size() > 255) throw refuse("a component is too long");
  }
}

std::string text_of(const Call& call, const mu::JsonValue& value, const char* key) {
  const std::string* text = value.find_string(key);
  if (!text) throw call.refuse(400, fmt::format("\"value.{}\" is required", key));
  return *text;
}

void read_header(const Call& call, const mu::JsonValue& value, Plan& plan) {
  plan.summary = text_of(call, value, "summary");
  if (mu::trim(plan.summary).empty()) throw call.refuse(400, "\"value.summary\" is not allowed to be empty");
  if (const std::string* description = value.find_string("description")) plan.description = *description;
  if (!value.find("parentCommit")) return;
  plan.parent = text_of(call, value, "parentCommit");
  if (plan.parent.size() < 5 || plan.parent.size() > 40 || !is_lower_hex(plan.parent, plan.parent.size()))
    throw call.refuse(400, "\"value.parentCommit\" must be 5 to 40 hex digits");
}

bool holds_token(const Hub& hub, const std::string& bytes) {
  return std::any_of(hub.tokens.begin(), hub.tokens.end(),
                     [&](const auto& token) { return bytes.find(token.first) != std::string::npos; });
}

void read_file(const Call& call, const mu::JsonValue& value, const std::string& path, Plan& plan) {
  const std::string* encoding = value.find_string("encoding");
  std::string bytes = text_of(call, value, "content");
  if (encoding && *encoding == "base64") {
    const auto decoded = base64_decode(bytes);
    if (!decoded) throw call.refuse(400, fmt::format("the content of {} is not base64", path));
    bytes = *decoded;
  } else if (encoding && *encoding != "utf-8") {
    throw call.refuse(400, "\"value.encoding\" must be one of [base64, utf-8]");
  }
  if (bytes.size() > call.hub.config.regular_limit) plan.too_large.push_back(path);
  if (bytes.substr(0, 8000).find('\0') != std::string::npos) plan.binary.push_back(path);
  if (call.hub.config.kohaku && mu::Attributes(mu::default_attributes()).wants_lfs(path))
    throw call.refuse(400, fmt::format("File {} should be uploaded through LFS", path), "BadRequest");
  if (holds_token(call.hub, bytes))
    throw call.refuse(
        400, fmt::format(
                 "Your push was rejected: files contain valid Hugging Face secrets. Offending files:\n  - {}",
                 path));
  if (path == "README.md" && !call.hub.config.kohaku) {
    const CardFindings findings = check_card(bytes);
    if (!findings.errors.empty())
      throw call.refuse(400, "Invalid metadata in README.md: " + findings.errors[0]);
  }
  plan.added[path] = regular_file(std::move(bytes));
}

void read_lfs(const Call& call, const mu::JsonValue& value, const std::string& path, Plan& plan) {
  const std::string oid = text_of(call, value, "oid");
  const std::string* algorithm = value.find_string("algo");
  if (!is_lower_hex(oid, 64)) throw call.refuse(400, "\"value.oid\" must be a SHA-256");
  if (!algorithm || *algorithm != "sha256") throw call.refuse(400, "\"value.algo\" must be sha256");
  ++plan.lfs_lines;
  const auto at = call.hub.objects(*call.repo).find(oid);
  if (at == call.hub.objects(*call.repo).end()) {
    plan.missing.push_back(path);
    return;
  }
  const auto size = value.find_u64("size");
  if (size && *size != at->second->size())
    throw call.refuse(400, fmt::format("the size of {} is another", path));
  plan.added[path] = lfs_file(at->second, oid);
}

void read_line(const Call& call, std::string_view line, Plan& plan) {
  const mu::JsonDocument document = mu::parse_json(line);
  const std::string* key = document.root.find_string("key");
  const mu::JsonValue* value = document.root.find("value");
  if (!key || !value || !value->is_object()) throw call.refuse(400, "each line needs \"key\" and \"value\"");
  const bool first = plan.lines++ == 0;
  if (first != (*key == "header")) throw call.refuse(400, "the first line, and no other, must be the header");
  if (first) return read_header(call, *value, plan);

  std::string path = text_of(call, *value, "path");
  if (*key == "deletedFolder" && path.ends_with('/')) path.pop_back();
  check_path(call, path);
  if (plan.added.contains(path)) throw call.refuse(400, fmt::format("{} stands twice in one commit", path));
  if (*key == "file") {
    read_file(call, *value, path, plan);
  } else if (*key == "lfsFile") {
    read_lfs(call, *value, path, plan);
  } else if (*key == "deletedFile") {
    plan.deleted_files.insert(path);
  } else if (*key == "deletedFolder") {
    plan.deleted_folders.insert(path);
  } else {
    throw call.refuse(400, fmt::format("unknown key {}, need a lfsFile/file/deletedFile line", *key));
  }
}

Plan read_plan(const Call& call) {
  const std::string* type = call.request.header("Content-Type");
  if (!type || !lower(*type).starts_with("application/x-ndjson"))
    throw call.refuse(415, "the content type must be application/x-ndjson");
  Plan plan;
  try {
    for (const std::string_view line : mu::split(call.request.body, '\n'))
      if (!line.empty()) read_line(call, line, plan);
  } catch (const mu::Error& error) {
    throw call.refuse(400, fmt::format("line {}: {}", plan.lines + 1, error.what()));
  }
  if (plan.lines < 2) throw call.refuse(400, "need a lfsFile/file/deletedFile line");
  if (plan.lfs_lines > 25'000) throw call.refuse(400, "more than 25000 LFS files in one commit");
  const auto offend = [&](const std::vector<std::string>& paths, const std::string& why) {
    if (!paths.empty())
      throw call.refuse(400, fmt::format("Your push was rejected because {}. Offending files:\n  - {}", why,
                                         mu::join(paths, "\n  - ")));
  };
  offend(plan.too_large, "it contains files larger than 10 MiB");
  offend(plan.binary, "it contains binary files that must be stored in LFS");
  offend(plan.missing, "an LFS pointer pointed to a file that does not exist");
  return plan;
}

Tree apply(const Call& call, const Plan& plan, const Tree& before) {
  Tree files = before;
  for (const std::string& path : plan.deleted_files) {
    if (files.erase(path) == 0) throw call.refuse(404, path + " does not exist", "EntryNotFound");
  }
  for (const std::string& folder : plan.deleted_folders) {
    const std::string prefix = folder + "/";
    const std::size_t count =
        std::erase_if(files, [&](const auto& file) { return file.first.starts_with(prefix); });
    if (count == 0) throw call.refuse(404, folder + " does not exist", "EntryNotFound");
  }
  for (const auto& [path, file] : plan.added) files[path] = file;

  std::map<std::string, std::set<std::string>> entries;  // of each folder
  for (const auto& [path, file] : files) {
    for (std::size_t slash = path.rfind('/'), end = path.size(); true;) {
      const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash);
      entries[folder].insert(path.substr(slash + 1, end - slash - 1));
      if (slash == std::string::npos) break;
      if (files.contains(folder)) throw call.refuse(400, fmt::format("{} is a file and a folder", folder));
      end = slash;
      slash = path.rfind('/', slash - 1);
    }
  }
  for (const auto& [folder, names] : entries) {
    if (names.size() > call.hub.config.folder_limit)
      throw call.refuse(400,
                        fmt::format("Your push was rejected because a directory has more than {} entries: {}",
                                    call.hub.config.folder_limit, folder.empty() ? "/" : folder));
  }
  if (call.hub.config.kohaku) return files;

  // A line for each LFS path that no pattern covers.
  const auto at = files.find(".gitattributes");
  const std::string stored = at == files.end() ? "" : at->second.content->text();
  std::vector<std::string> paths;
  for (const auto& [path, file] : plan.added) {
    if (file.is_lfs()) paths.push_back(path);
  }
  std::string attributes = mu::attributes_covering(stored, paths);
  if (attributes != stored) files[".gitattributes"] = regular_file(std::move(attributes));
  return files;
}

Answer committed(const Call& call, const std::string& id, std::uint64_t pull) {
  const std::string web = call.hub.url + "/" + call.repo->web_prefix() + call.repo->id;
  std::string body;
  mu::JsonWriter json(body, 0);
  json.begin_object().member("success", true).member("commitOid", id);
  json.member("commitUrl",
              call.plays("commit-url") ? call.fault->message : fmt::format("{}/commit/{}", web, id))
      .member("hookOutput", "")
      .key("pullRequestUrl");
  if (pull != 0) {
    json.value(fmt::format("{}/discussions/{}", web, pull));
  } else {
    json.null();
  }
  json.end_object();
  return json_answer(body);
}

}  // namespace

Answer create_commit(Call& call) {
  Repo& repo = *call.repo;
  const std::string& revision = call.revision();
  const bool create_pr = query_truth(call.query, "create_pr");
  if (call.hub.config.kohaku && create_pr)
    throw call.refuse(501, "Pull requests are not supported", "NotImplemented");
  call.must_write(create_pr || revision.starts_with("refs/pr/"));
  if (call.request.is_chunked() || !call.request.content_length())
    throw call.refuse(411, "Content-Length is needed");
  const Plan plan = read_plan(call);

  std::string* head = repo.head(revision);
  if (!head) {
    call.commit(revision);  // unknown altogether
    throw call.refuse(400, "Only branches and pull requests can be written to, not " + revision);
  }
  std::string parent = *head;
  if (!plan.parent.empty() && !parent.starts_with(plan.parent)) {
    if (!create_pr) throw call.refuse(412, "A commit has happened since. Please refresh and try again.");
    parent = call.commit(plan.parent).id;
  }
  const Tree before = parent.empty() ? Tree{} : *repo.commits.at(parent).files;
  Tree after = apply(call, plan, before);
  const auto same = [](const auto& a, const auto& b) {
    return a.first == b.first && a.second.git_id == b.second.git_id;
  };
  if (call.hub.config.kohaku && after.size() == before.size() &&
      std::equal(after.begin(), after.end(), before.begin(), same))
    return committed(call, parent, 0);

  std::uint64_t pull = 0;
  if (create_pr) {
    pull = open_pull_request(call, revision, parent, plan.summary, plan.description);
    head = &repo.pull_heads[pull];
  }
  *head = repo.add_commit(parent, std::move(after), plan.summary, plan.description, call.caller->user).id;
  return committed(call, *head, pull);
}

}  // namespace hub
