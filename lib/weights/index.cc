// SPDX-License-Identifier: Apache-2.0
#include "weights/index.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <unordered_set>

#include "base/error.h"
#include "base/in_file.h"
#include "base/json_write.h"
#include "base/text.h"

namespace mu {
namespace {

Error broken(std::string_view path, std::string message, std::string_view rule) {
  return malformed(fmt::format("{} [{}]", message, rule)).in_file(escape_name(path));
}

void keep_last_of_equal_names(std::vector<std::pair<std::string, std::string>>& weight_map) {
  std::unordered_set<std::string_view> seen;
  std::vector<std::pair<std::string, std::string>> kept;
  for (auto entry = weight_map.rbegin(); entry != weight_map.rend(); ++entry) {
    if (seen.insert(entry->first).second) kept.push_back(*entry);
  }
  std::reverse(kept.begin(), kept.end());
  weight_map = std::move(kept);
}

void append_map(std::string& out, std::string_view key,
                const std::vector<std::pair<std::string, std::string>>& members, bool quote_values) {
  out += fmt::format("  \"{}\": {{", key);
  for (std::size_t i = 0; i < members.size(); ++i) {
    out += i > 0 ? ",\n    " : "\n    ";
    append_json_string_ascii(out, members[i].first);
    out += ": ";
    if (quote_values) {
      append_json_string_ascii(out, members[i].second);
    } else {
      out += members[i].second;
    }
  }
  out += members.empty() ? "}" : "\n  }";
}

}  // namespace

std::optional<std::string_view> unsafe_name(std::string_view name) {
  if (name.empty()) return "it is empty";
  if (name.front() == '/') return "it is an absolute path";
  if (name.size() > 1 && name[1] == ':') return "it names a drive";
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return "it holds control characters";
    if (c == '\\') return "it holds a backslash";
  }
  if (name.find("://") != std::string_view::npos) return "it is a URL";
  const std::string lower = lower_ascii(name);
  if (lower.find("%2e") != std::string::npos || lower.find("%2f") != std::string::npos)
    return "it hides dots or slashes";
  for (const std::string_view part : split(name, '/')) {
    if (part == "..") return "it leads out of the folder";
    if (part.empty() || part == ".") return "it is not a plain relative name";
  }
  return std::nullopt;
}

ShardIndex parse_shard_index(std::string_view text, std::string_view path, Findings& findings) {
  JsonDocument document;
  in_file(path, [&] { document = parse_json(text); });
  const JsonValue* map = document.root.is_object() ? document.root.find("weight_map") : nullptr;
  if (map == nullptr || !map->is_object()) throw broken(path, "it has no weight_map object", "IX-JSON");
  ShardIndex index;
  index.path = path;
  for (const auto& [key, offset] : document.duplicates) {
    findings.add({"IX-DUP", Level::kSpec, false,
                  "'" + escape_name(key) + "' appears twice; the last one counts", std::string(path),
                  offset});
  }
  for (const JsonValue::Member& member : map->members()) {
    const std::string* shard = member.value.as_string();
    if (shard == nullptr) {
      throw broken(path, "the shard of '" + escape_name(member.key) + "' is not a string", "IX-JSON");
    }
    if (const std::optional<std::string_view> why = unsafe_name(*shard)) {
      throw broken(path, fmt::format("the shard name '{}' is not followed: {}", escape_name(*shard), *why),
                   "IX-PATH");
    }
    index.weight_map.emplace_back(member.key, *shard);
    if (index.shards.empty() || index.shards.back() != *shard) index.shards.push_back(*shard);
  }
  if (!document.duplicates.empty()) keep_last_of_equal_names(index.weight_map);
  std::sort(index.shards.begin(), index.shards.end());
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  if (index.shards.size() > kMaxShards) {
    throw broken(path, fmt::format("it names {} shards, more than {}", index.shards.size(), kMaxShards),
                 "IX-JSON");
  }
  if (const JsonValue* metadata = document.root.find("metadata");
      metadata != nullptr && metadata->is_object()) {
    index.metadata = *metadata;
    if (const JsonValue* total = metadata->find("total_size")) {
      index.total_size = total->as_u64();
      // Older writers left a float.
      const std::optional<double> number = total->as_double();
      if (!index.total_size && number && *number >= 0 && *number < 9e15) {
        index.total_size = static_cast<std::uint64_t>(*number);
      }
    }
  }
  return index;
}

std::string write_shard_index(const std::vector<std::pair<std::string, std::string>>& metadata,
                              const std::vector<std::pair<std::string, std::string>>& weight_map) {
  std::string out = "{\n";
  append_map(out, "metadata", metadata, false);
  out += ",\n";
  append_map(out, "weight_map", weight_map, true);
  out += "\n}";
  return out;
}

}  // namespace mu
