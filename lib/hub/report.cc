// SPDX-License-Identifier: Apache-2.0
#include "hub/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/json_write.h"
#include "base/sizes.h"
#include "base/text.h"

namespace mu {
namespace {

struct Counts {
  std::array<std::uint64_t, 5> files{};  // by PushAction

  explicit Counts(const PushPlan& plan) {
    for (const PushItem& item : plan.items) ++files[static_cast<std::size_t>(item.action)];
  }
  [[nodiscard]] std::uint64_t of(PushAction action) const { return files[static_cast<std::size_t>(action)]; }
};

}  // namespace

std::string push_plan_text(const PushResult& result) {
  std::string text;
  for (const PushItem& item : result.plan.items)
    text += fmt::format("{:<8}{:<9}{:>10}  {}\n", push_action_name(item.action), storage_name(item.storage),
                        format_size(item.size), escape_name(item.name));
  const Counts counts(result.plan);
  if (!result.asked) {
    std::uint64_t bytes = 0;
    for (const PushItem& item : result.plan.items) bytes += item.size;
    return text + fmt::format("{}, {}; without a token it is not known what the hub has already\n",
                              plural(result.plan.items.size(), "file"), format_size(bytes));
  }
  text += fmt::format("{} new, {} changed, {} the same, {} ignored, {} deleted; {} to send\n",
                      counts.of(PushAction::kNew), counts.of(PushAction::kChanged),
                      counts.of(PushAction::kSame), counts.of(PushAction::kIgnored),
                      counts.of(PushAction::kDelete), format_size(result.bytes_to_send));
  return text;
}

std::string push_json(const PushResult& result, const PushOptions& options) {
  const Counts counts(result.plan);
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("schema", "modelutils.hub-push/1");
  json.member("repo", result.repo.id).member("type", repo_type_name(result.repo.type));
  json.member("revision", options.revision).member("dry_run", options.dry_run);
  if (options.part)
    json.key("share")
        .begin_object()
        .member("index", options.part->index)
        .member("count", options.part->count)
        .end_object();
  json.key("url");
  if (result.url.empty()) {
    json.null();
  } else {
    json.value(result.url);
  }
  json.key("commits").begin_array();
  for (const std::string& commit : result.commits) json.value(commit);
  json.end_array();
  if (!options.dry_run) json.member("complete", !result.failure);
  if (result.failure) json.member("error", result.failure->what());
  if (result.pull_request != 0) json.member("pull_request", result.pull_request);
  json.key("counts").begin_object();
  json.member("added", counts.of(PushAction::kNew)).member("changed", counts.of(PushAction::kChanged));
  json.member("same", counts.of(PushAction::kSame)).member("ignored", counts.of(PushAction::kIgnored));
  json.member("deleted", counts.of(PushAction::kDelete)).end_object();
  json.key("bytes").begin_object();
  if (options.dry_run) {
    json.key("to_send");
    if (result.asked) {
      json.value(result.bytes_to_send);
    } else {
      json.null();
    }
  } else {
    json.member("sent", result.counts.sent).member("stored_before", result.counts.stored_before);
  }
  json.end_object();
  json.key("files").begin_array();
  for (const PushItem& item : result.plan.items) {
    json.begin_object().member("path", item.name).member("action", push_action_name(item.action));
    json.member("storage", storage_name(item.storage)).member("size", item.size);
    if (!item.oid.empty()) json.member("oid", item.oid);
    if (result.failure) json.member("committed", item.landed);
    json.end_object();
  }
  json.end_array().key("left_out").begin_array();
  for (const LeftOutFile& file : result.plan.left_out)
    json.begin_object().member("path", file.name).member("reason", file.reason).end_object();
  json.end_array().end_object();
  return text + "\n";
}

std::string push_summary(const PushResult& result) {
  const Counts counts(result.plan);
  if (result.commits.empty()) return "nothing to do: everything is already there";
  std::string text = fmt::format("{} added, {} changed, {} deleted, {} the same", counts.of(PushAction::kNew),
                                 counts.of(PushAction::kChanged), counts.of(PushAction::kDelete),
                                 counts.of(PushAction::kSame));
  text += fmt::format("; {} sent", format_size(result.counts.sent));
  if (result.counts.stored_before > 0)
    text += fmt::format(", {} stored before", format_size(result.counts.stored_before));
  return text;
}

std::string part_summary(const PushResult& result, const Part& part) {
  return fmt::format("part {}/{}: {} in storage, {} of it sent now; nothing is committed", part.index,
                     part.count, format_size(result.counts.sent + result.counts.stored_before),
                     format_size(result.counts.sent));
}

std::string push_manifest(const PushResult& result) {
  std::string text;
  for (const PushItem& item : result.verified) {
    // A backslash before the hash says that the name is escaped (coreutils, sha256sum).
    std::string name;
    for (const char c : item.name) {
      if (c == '\\') {
        name += "\\\\";
      } else if (c == '\n') {
        name += "\\n";
      } else if (c == '\r') {
        name += "\\r";
      } else {
        name += c;
      }
    }
    text += fmt::format("{}{}  {}\n", name == item.name ? "" : "\\", item.oid, name);
  }
  return text;
}

}  // namespace mu
