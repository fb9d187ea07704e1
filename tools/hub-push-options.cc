// SPDX-License-Identifier: Apache-2.0
#include "hub-push-options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/duration.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "hub/guard_rules.h"
#include "hub/web_address.h"
#include "net/environment.h"
#include "net/libcurl_version.h"
#include "net/url.h"

namespace mu {
namespace {

constexpr ProgramText kText = {"hub-push", "Publish a model folder or file on the Hugging Face Hub.",
                               "LOCAL REPO [PATH_IN_REPO]", "hub-push ./out user/repo", describe_libcurl};

std::size_t parse_count(const std::string& text) {
  std::size_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || value == 0)
    throw usage(
        fmt::format("--max-files-per-commit takes a number of 1 or more, not '{}'", escape_name(text)));
  return value;
}

}  // namespace

HubPushOptions parse_hub_push_options(int argc, char** argv) {
  HubPushOptions o;
  std::optional<std::string> part, endpoint;
  App app(kText);
  app.operands(o.operands);
  app.group("Where to");
  app.value("--revision", "NAME", o.revision, "branch (main; made if missing) or refs/pr/N");
  app.value("--type,--repo-type", "TYPE", o.type, "model (default), dataset or space");
  app.flag("--create-pr", o.create_pr, "open a pull request, leave the branch alone");
  app.flag("--private", o.make_private, "make a new repository private");
  app.flag("--no-private", o.make_public, "make a new repository public");
  app.flag("--no-create", o.no_create, "never make a repository");
  app.value("--endpoint", "URL", endpoint, "another hub, or file://DIR for a cache folder");
  app.value("--expect-parent", "SHA", o.expect_parent, "fail unless the branch is at this commit");
  app.value("--tag", "NAME", o.tag, "tag the commit");
  app.flag("--link", o.link, "with file://: hard links instead of copies");
  app.flag("--prune-revisions", o.prune, "with file://: remove snapshots without a ref");
  app.group("What");
  app.list("--include", "GLOB", o.include, "push only matching paths (repeatable)");
  app.list("--exclude", "GLOB", o.exclude, "skip matching paths (repeatable)");
  app.list("--delete", "GLOB", o.deletions, "delete matching paths there (repeatable)");
  app.flag("--all", o.all, "push training state, too");
  app.flag("--follow-symlinks", o.follow_symlinks, "follow links to folders");
  app.list("--allow", "RULE", o.allow, "push in spite of this rule (repeatable)");
  app.value("-m,--message,--commit-message", "TEXT", o.message, "title of the commit");
  app.value("--description,--commit-description", "TEXT", o.description, "description of the commit");
  app.group("How");
  app.value("--every", "TIME", o.every, "every TIME, push the newest complete checkpoint");
  app.flag("--verify", o.verify, "compare hashes after the push, print a manifest");
  app.value("--limit-rate", "SIZE", o.limit_rate, "send at most SIZE a second");
  app.value("--max-wait", "TIME", o.max_wait, "wait at most TIME for a failing hub (120s)");
  app.value("--timeout", "TIME", o.timeout, "give up a transfer that stalls for TIME (60s)");
  app.value("--max-files-per-commit", "N", o.max_commit_files,
            "split larger pushes into several commits (20000)");
  app.value("--part", "I/N|auto", part, "store part I of N; a run without it commits");
  app.flag("--insecure-http", o.insecure_http, "allow the token over plain http");
  app.common(o.common, "njpt", fmt::format("requests at once (default: {})", PushOptions().jobs));
  app.parse(argc, argv);
  if (o.operands.size() < 2 || o.operands.size() > 3)
    throw usage("name LOCAL and REPO").hint("see hub-push --help");
  o.endpoint = endpoint ? parse_endpoint(*endpoint, "--endpoint") : hub_endpoint();
  if (o.make_private && o.make_public) throw usage("--private and --no-private exclude each other");
  if (o.every && (o.create_pr || o.common.dry_run))
    throw usage("--every can't be combined with --create-pr or --dry-run");
  if (part) o.part = parse_part_option(*part);
  if (o.part && (o.every || o.operands[0] == "-"))
    throw usage("--part can't be combined with --every or standard input");
  if (o.create_pr && o.revision) throw usage("--create-pr and --revision exclude each other");
  return o;
}

std::vector<std::string> rule_names() {
  std::vector<std::string> names;
  for (const GuardRule& rule : guard_rules()) {
    if (rule.stops) names.emplace_back(rule.id);
  }
  return names;
}

// REPO as a name: an address that was copied from a browser becomes the name of what it shows.
std::string repo_name(const HubPushOptions& o) {
  std::string text = o.operands[1];
  // Some copy it without the scheme. No name has two slashes.
  const bool bare = text.starts_with("huggingface.co/") || text.starts_with("hf.co/");
  if (bare && std::count(text.begin(), text.end(), '/') > 1) text.insert(0, "https://");
  if (text.starts_with("hf://") || text.find("://") == std::string::npos) return text;
  const std::optional<WebAddress> address = read_web_address(text, o.endpoint);
  if (!address)
    throw usage(fmt::format("'{}' is not the address of a repository on {}", printable_url(text),
                            escape_name(o.endpoint)))
        .hint("to use another hub, give --endpoint URL and REPO as owner/name");
  if (!address->page.empty() && address->page != "tree" && address->page != "discussions")
    throw usage(fmt::format("'{}' is the page of a file or commit", printable_url(text)))
        .hint("name the repository as owner/name");
  return address->place;
}

// REPO as a place (hf://owner/name@revision/path), which says what --revision and PATH_IN_REPO else say.
void take_place(const HubPushOptions& o, const RemotePlace& place, PushOptions& push) {
  push.repo = place.repo;
  if (o.type && parse_repo_type(*o.type) != place.repo.type)
    throw usage(fmt::format("'{}' is a {}, but --type says {}", escape_name(o.operands[1]),
                            repo_type_name(place.repo.type), *o.type));
  if (place.name.find('@') != std::string::npos) {
    if (o.revision && push.revision != place.revision)
      throw usage(fmt::format("--revision says {}, but REPO says {}", escape_name(push.revision),
                              escape_name(place.revision)));
    if (o.create_pr && place.revision != "main")
      throw usage("--create-pr and a revision in REPO exclude each other");
    push.revision = place.revision;
  }
  if (!place.path.empty()) {
    if (o.operands.size() > 2) throw usage("REPO and PATH_IN_REPO both name a path");
    push.prefix = place.path;
  }
}

PushOptions push_options(const HubPushOptions& o) {
  PushOptions push;
  const std::string repo = repo_name(o);
  push.revision = parse_revision(o.revision.value_or("main"));
  push.prefix = o.operands.size() > 2 ? parse_repo_path(o.operands[2]) : "";
  if (repo.starts_with("hf://") &&
      (repo.find('@') != std::string::npos || std::count(repo.begin(), repo.end(), '/') > 3)) {
    take_place(o, parse_place(repo), push);
  } else {
    push.repo = parse_repo(repo, o.type ? std::optional(parse_repo_type(*o.type)) : std::nullopt);
  }
  if (push.revision == "refs")
    throw usage("'refs' can't be a branch")
        .hint("give only the name of the branch, as in hf://owner/name@main");
  push.message = {o.message.value_or("Upload with hub-push"), o.description.value_or("")};
  if (trim(push.message.title).empty()) throw usage("the commit message is empty");
  push.deletions = o.deletions;
  push.allowed = o.allow;
  for (const std::string& id : o.allow) {
    const bool known = std::any_of(guard_rules().begin(), guard_rules().end(),
                                   [&id](const GuardRule& rule) { return rule.id == id; });
    if (!known)
      throw usage(fmt::format("--allow: there is no rule '{}'", escape_name(id)))
          .hint("the rules are " + join(rule_names(), ", "));
  }
  if (o.make_private || o.make_public) push.make_private = o.make_private;
  push.create = !o.no_create;
  push.create_pr = o.create_pr;
  push.expected_parent = o.expect_parent.value_or("");
  if (o.tag) push.tag = parse_revision(*o.tag);
  push.dry_run = o.common.dry_run;
  push.verify = o.verify;
  push.part = o.part;
  if (o.max_commit_files) push.max_commit_files = parse_count(*o.max_commit_files);
  if (o.common.threads > 0) push.jobs = o.common.threads;
  return push;
}

std::optional<CacheTarget> cache_target(const HubPushOptions& o) {
  const std::optional<std::string> folder = cache_of_endpoint(o.endpoint);
  if (!folder && (o.link || o.prune)) throw usage("--link and --prune-revisions need a file:// endpoint");
  if (!folder) return std::nullopt;
  return CacheTarget{*folder, o.link, o.prune};
}

ConnectionOptions connection_options(const HubPushOptions& o) {
  ConnectionOptions connection;
  connection.user_agent = "hub-push/" MU_VERSION;
  connection.endpoint = o.endpoint;
  connection.insecure_http = o.insecure_http;
  if (o.limit_rate) connection.rate = parse_rate(*o.limit_rate);
  if (o.max_wait) connection.max_wait_s = parse_duration(*o.max_wait);
  if (o.timeout) {
    connection.timeout_s = parse_duration(*o.timeout);
    if (connection.timeout_s == 0U) throw usage("--timeout must be more than 0");
  }
  connection.warn = print_warning;
  if (console().verbose >= 2) connection.trace = [](const std::string& line) { print_detail(line); };
  return connection;
}

}  // namespace mu
