// SPDX-License-Identifier: Apache-2.0
#include "hub/plan.h"

#include <doctest/doctest.h>

#include <map>
#include <random>
#include <set>

#include "base/error.h"
#include "hub/attributes.h"
#include "hub/guard.h"
#include "hub/ignored.h"
#include "hub/name_key.h"
#include "hub/repo.h"

using namespace mu;

namespace {

const std::string kSha(64, 'a'), kOtherSha(64, 'b'), kBlob(40, 'c'), kOtherBlob(40, 'd');

LocalFile file(const std::string& name, std::uint64_t size = 5) {
  LocalFile local{"/x/" + name, name, {}};
  local.stamp.size = size;
  return local;
}

PushAction action_of(const PreuploadAnswer& answer, const FileHashes& hashes) {
  FileChoice choice;
  choice.files.push_back(file("f"));
  return plan_push(choice, {answer}, {hashes}, {}, {}, "").items.at(0).action;
}

}  // namespace

TEST_CASE("push plan: what the hub has decides, by the hash of the storage it chose") {
  const FileHashes hashes{kSha, kBlob};
  CHECK(action_of({true, false, ""}, hashes) == PushAction::kNew);
  CHECK(action_of({true, false, kSha}, hashes) == PushAction::kSame);
  CHECK(action_of({true, false, kOtherSha}, hashes) == PushAction::kChanged);
  CHECK(action_of({false, false, kBlob}, hashes) == PushAction::kSame);
  CHECK(action_of({false, false, kOtherBlob}, hashes) == PushAction::kChanged);
  // From git to LFS and back: the same bytes, kept in another way.
  CHECK(action_of({true, false, kBlob}, hashes) == PushAction::kChanged);
  CHECK(action_of({false, false, kSha}, hashes) == PushAction::kChanged);
  CHECK(action_of({true, true, ""}, hashes) == PushAction::kIgnored);
}

TEST_CASE("push plan: only hashes that can be compared or sent are made") {
  CHECK(wanted_hashes({true, false, ""}).sha256);
  CHECK_FALSE(wanted_hashes({true, false, kBlob}).blob);
  CHECK_FALSE(wanted_hashes({false, false, ""}).blob);
  CHECK(wanted_hashes({false, false, kBlob}).blob);
  CHECK_FALSE(wanted_hashes({false, false, kSha}).sha256);
  CHECK_FALSE(wanted_hashes({true, true, ""}).sha256);
}

TEST_CASE("push plan: deletions stay below the prefix, spare what is pushed and the root's attributes") {
  FileChoice choice;
  choice.files.push_back(file("d/kept.txt"));
  const std::vector<RemoteFile> remote = {{".gitattributes", 1, kBlob, ""},   {"a.txt", 1, kBlob, ""},
                                          {"d/kept.txt", 5, kBlob, ""},       {"d/old.bin", 7, kBlob, kSha},
                                          {"d/.gitattributes", 1, kBlob, ""}, {"dd/x", 1, kBlob, ""}};
  const auto deleted = [&](const std::vector<std::string>& globs, const std::string& prefix) {
    std::set<std::string> names;
    for (const PushItem& item :
         plan_push(choice, {{false, false, kBlob}}, {{"", kBlob}}, remote, globs, prefix).items) {
      if (item.action == PushAction::kDelete) names.insert(item.name);
    }
    return names;
  };
  CHECK(deleted({"*"}, "") == std::set<std::string>{"a.txt", "d/old.bin", "d/.gitattributes", "dd/x"});
  CHECK(deleted({"*"}, "d") == std::set<std::string>{"d/old.bin", "d/.gitattributes"});
  CHECK(deleted({"*.txt"}, "d").empty());
  CHECK(deleted({"d/"}, "") == std::set<std::string>{"d/old.bin", "d/.gitattributes"});
  CHECK(deleted({}, "").empty());
}

TEST_CASE("push plan: commits hold every change once, none beyond its bounds") {
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    PushPlan plan;
    for (std::size_t i = random() % 50; i > 0; --i) {
      PushItem item;
      item.name = std::to_string(i);
      item.action = static_cast<PushAction>(random() % 5);
      item.storage = random() % 2 == 0 ? Storage::kLfs : Storage::kRegular;
      item.size = random() % 100'000'000;
      static const LocalFile kLocal = file("x");
      if (item.action != PushAction::kDelete) item.local = &kLocal;
      plan.items.push_back(item);
    }
    const std::size_t most = 1 + random() % 10;
    std::map<const PushItem*, int> seen;
    for (const CommitItems& commit : split_commits(plan, most)) {
      CHECK_FALSE(commit.empty());
      CHECK(commit.size() <= most);
      std::uint64_t regular = 0;
      for (const PushItem* item : commit) {
        ++seen[item];
        const bool deletes = item->action == PushAction::kDelete;
        if (!deletes && item->storage == Storage::kRegular) regular += item->size;
      }
      CHECK(regular <= kMaxRegularBytes);
    }
    for (const PushItem& item : plan.items) {
      const bool changes = item.action != PushAction::kSame && item.action != PushAction::kIgnored;
      CHECK(seen[&item] == (changes ? 1 : 0));
    }
  }
}

TEST_CASE("push plan: what a loader begins with becomes visible after what it leads to, README.md last") {
  PushPlan plan;
  const auto add = [&plan](const char* name, PushAction action = PushAction::kNew) {
    PushItem item;
    item.name = name;
    item.action = action;
    plan.items.push_back(item);
  };
  for (const char* name :
       {"README.md", "config.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
        "model.safetensors.index.json", "onnx/README.md", "pytorch_model.bin.index.json", "q/model.gguf",
        "tokenizer.json"})
    add(name);
  add("a/b", PushAction::kNew);
  add("c", PushAction::kNew);
  add("a", PushAction::kDelete);    // a file where a folder is to be
  add("c/d", PushAction::kDelete);  // in a folder where a file is to be
  add("model.safetensors", PushAction::kDelete);
  add("same.txt", PushAction::kSame);
  std::vector<std::string> order;
  for (const CommitItems& commit : split_commits(plan, 1)) order.push_back(commit.front()->name);
  CHECK(order == std::vector<std::string>{"a", "c/d", "tokenizer.json", "a/b", "c",
                                          "model-00001-of-00002.safetensors",
                                          "model-00002-of-00002.safetensors", "q/model.gguf", "config.json",
                                          "model.safetensors.index.json", "pytorch_model.bin.index.json",
                                          "model.safetensors", "README.md", "onnx/README.md"});
}

TEST_CASE("push plan: halves hold all in order, and stop at the floor") {
  struct Row {
    std::vector<std::size_t> before, after;
  };
  for (const Row& row : {Row{{}, {}}, Row{{1}, {1}}, Row{{100}, {100}}, Row{{101}, {51, 50}},
                         Row{{1500}, {750, 750}}, Row{{150, 100, 3}, {75, 75, 100, 3}}}) {
    std::vector<PushItem> items(2000);
    std::vector<CommitItems> commits;
    std::size_t next = 0;
    for (const std::size_t size : row.before) {
      commits.emplace_back();
      for (std::size_t i = 0; i < size; ++i) commits.back().push_back(&items[next++]);
    }
    std::vector<std::size_t> sizes;
    std::size_t at = 0;
    for (const CommitItems& commit : halve_commits(commits)) {
      sizes.push_back(commit.size());
      for (const PushItem* item : commit) CHECK(item == &items[at++]);
    }
    CHECK(sizes == row.after);
    CHECK(at == next);
  }
}

TEST_CASE("push plan: what has landed stays what was done, after planning again") {
  const auto item = [](const char* name, PushAction action, bool landed = false) {
    PushItem made;
    made.name = name;
    made.action = action;
    made.landed = landed;
    return made;
  };
  PushPlan plan;
  plan.items = {item("a", PushAction::kSame), item("c", PushAction::kChanged), item("d", PushAction::kSame)};
  keep_landed(plan, {item("a", PushAction::kNew, true), item("b", PushAction::kDelete, true),
                     item("c", PushAction::kNew, true), item("d", PushAction::kNew)});
  std::string text;
  for (const PushItem& left : plan.items)
    text += left.name + std::string(push_action_name(left.action)) + (left.landed ? "+ " : " ");
  // c was changed by somebody else meanwhile, and goes out again.
  CHECK(text == "aNEW+ bDELETE+ cCHANGED dSAME ");
  const std::vector<CommitItems> commits = split_commits(plan, 10);
  REQUIRE(commits.size() == 1);
  CHECK(commits.front().size() == 1);
}

TEST_CASE("attributes: what a hub adds to a file of ours is not a change") {
  const std::string rule = " filter=lfs diff=lfs merge=lfs -text";
  const std::string ours = "*.txt" + rule + "\n";
  CHECK(is_amended(ours, ours));
  CHECK(is_amended(ours, ours + "model.safetensors" + rule + "\nd/x y.bin" + rule + "\n"));
  CHECK(is_amended("*.txt" + rule, ours + "a" + rule + "\n"));
  CHECK(is_amended(ours, attributes_covering(ours, {"a.bin", "b.txt", "c/d.bin"})));
  CHECK_FALSE(is_amended(ours, ours + "*.bin" + rule + "\n"));
  CHECK_FALSE(is_amended(ours, ours + "a.txt -filter\n"));
  CHECK_FALSE(is_amended(ours, "a" + rule + "\n" + ours));
  CHECK_FALSE(is_amended(ours, "*.txt" + rule + "x\n"));
  CHECK_FALSE(is_amended("", default_attributes()));
}

TEST_CASE("attributes: patterns as git reads them") {
  struct Row {
    std::string_view pattern, path;
    bool covers;
  };
  for (const Row& row : {
           Row{"*.bin", "a.bin", true},
           {"*.bin", "d/e/a.bin", true},
           {"/*.bin", "a.bin", true},
           {"/*.bin", "d/a.bin", false},
           {"d/*.bin", "d/a.bin", true},
           {"d/*.bin", "d/e/a.bin", false},
           {"d/*.bin", "x/d/a.bin", false},
           {"**/a", "a", true},
           {"**/a", "d/e/a", true},
           {"**/a", "d/ab", false},
           {"d/**", "d/a", true},
           {"d/**", "d/e/a", true},
           {"d/**", "d", false},
           {"d/**/a", "d/a", true},
           {"d/**/a", "d/e/f/a", true},
           {"d/**/a", "a", false},
           {"a?c", "abc", true},
           {"[ab].txt", "b.txt", true},
           {"d/**/**/a", "d/a", true},
           {"**", "x/y", true},
       }) {
    CAPTURE(row.pattern);
    CAPTURE(row.path);
    CHECK(PathPattern(row.pattern).covers(row.path) == row.covers);
  }
}

TEST_CASE("ignored: files of a model stop a push, other files are named") {
  PushPlan plan;
  static const LocalFile kLocal = file("x");
  for (const char* name : {"README.md", "config.json", "d/model-00001-of-00002.safetensors", "notes.log",
                           "tokenizer.json", "train.py"}) {
    plan.items.push_back({name, PushAction::kNew, Storage::kUnknown, 1, "", &kLocal});
  }
  mark_ignored(plan, IgnoreRules("*.safetensors\n*.log\n/config.json\n!tokenizer.json\n"));
  CHECK(missing_model_files(plan) ==
        std::vector<std::string>{"config.json", "d/model-00001-of-00002.safetensors"});
  std::vector<std::string> notes, warnings;
  const auto tell = [&](const std::vector<std::string>& allowed) {
    report_ignored(
        plan, allowed, [&](const std::string& line) { notes.push_back(line); },
        [&](const std::string& line) { warnings.push_back(line); });
  };
  CHECK_THROWS_AS(tell({}), FilesRefused);
  CHECK(notes.size() == 1);
  CHECK(notes.front().starts_with("notes.log: "));
  warnings.clear();
  tell({"ignored"});
  CHECK(warnings.size() == 2);
  CHECK_THROWS_AS(require_model_files(plan), Error);
  CHECK_NOTHROW(require_model_files(PushPlan{}));
  PushPlan others;
  const std::vector<std::string> files = {"1_Pooling/config.json",
                                          "bpe.model",
                                          "model.onnx_data",
                                          "model_index.json",
                                          "modules.json",
                                          "params.json",
                                          "scheduler/scheduler_config.json",
                                          "sentence_bert_config.json",
                                          "vocab.bpe",
                                          "weights.npz"};
  for (const std::string& name : files)
    others.items.push_back({name, PushAction::kIgnored, Storage::kUnknown, 1, "", &kLocal});
  CHECK(missing_model_files(others) == files);
  for (const char* name : {"a.png", "data.json", "log.txt", "model.py", "optimizer.pt", "rng_state.pth"})
    others.items.push_back({name, PushAction::kIgnored, Storage::kUnknown, 1, "", &kLocal});
  CHECK(missing_model_files(others) == files);
  CHECK(is_deleted({"*"}, "", ".gitignore"));
  CHECK_FALSE(is_deleted({"*"}, "d", ".gitignore"));
  CHECK_FALSE(is_deleted({"*.txt"}, "", ".gitignore"));
}

TEST_CASE("names: what other systems take for one has one key") {
  struct Row {
    std::string_view a, b;
    bool same_form, same_folded;
  };
  for (const Row& row : {
           Row{"a/b.txt", "a/b.txt", true, true},
           {"README.md", "Readme.MD", false, true},
           {"caf\u00e9", "cafe\u0301", true, true},
           {"CAF\u00c9", "cafe\u0301", false, true},
           {"\u1ec7", "e\u0302\u0323", true, true},  // marks in another order
           {"\ud55c", "\u1112\u1161\u11ab", true, true},
           {"\uac00", "\u1100\u1161", true, true},
           {"\u00e4", "\u00c4", false, true},
           {"stra\u00dfe", "STRASSE", false, true},
           {"\u0394", "\u03b4", false, true},
           {"\u212b", "\u00c5", true, true},
           {"a", "\u00e4", false, false},
           {"a\xff", "a\xfe", false, false},
           {"\ufb01", "fi", false, true},
           {"\u00b2", "2", false, false},
       }) {
    CAPTURE(row.a);
    CAPTURE(row.b);
    CHECK((canonical_name(row.a, false) == canonical_name(row.b, false)) == row.same_form);
    CHECK((canonical_name(row.a, true) == canonical_name(row.b, true)) == row.same_folded);
  }
  CHECK(canonical_name("a\xff", true) == "a\xff");
}

TEST_CASE("repo: names Windows can't have") {
  for (const char* name : {"con", "d/NUL.txt", "com1", "LPT9.x", "a?b", "x.", "d /y", "a|b", "ab:c"})
    CHECK(portable_fault(name));
  for (const char* name : {"config.json", "com0", "com10", "console", ".gitattributes", "a b", "d.d/x"})
    CHECK_FALSE(portable_fault(name));
}

TEST_CASE("repo: names, types and paths") {
  CHECK(parse_repo("ada/x", {}).id == "ada/x");
  CHECK(parse_repo("datasets/ada/x", {}).type == RepoType::kDataset);
  CHECK(parse_repo("hf://spaces/ada/x", {}).api_path() == "/api/spaces/ada/x");
  CHECK(parse_repo("datasets/ada/x", {}).web_path() == "/datasets/ada/x");
  CHECK(parse_repo("ada/x", RepoType::kDataset).type == RepoType::kDataset);
  CHECK(parse_repo("_x_", {}).id == "_x_");
  for (const char* wrong : {"", "/", "a/", "/a", "a/b/c", "a--b", "a..b", "a/b.git", "-a/b", "a/b-", ".a",
                            "a/b@main", "a b", "a/\xC3\xA9"})
    CHECK_THROWS_AS(parse_repo(wrong, {}), Error);
  CHECK_THROWS_AS(parse_repo("models/ada/x", RepoType::kSpace), Error);
  CHECK(parse_repo(std::string(96, 'a'), {}).id.size() == 96);
  CHECK_THROWS_AS(parse_repo(std::string(97, 'a'), {}), Error);
  CHECK(parse_repo_path("/a/b/") == "a/b");
  CHECK(parse_repo_path("./a") == "a");
  CHECK(parse_repo_path(".").empty());
  for (const char* wrong : {"../a", "a/../b", "a//b", ".git/x", "a/.cache", "a\\b", "a\nb", "a/./b", "a:b",
                            "x/C:", "C:/x", "\xC3\xA9:b", ".GIT/x", ".git./x", ".git /x", "GIT~1",
                            ".git::$INDEX", ".g\xE2\x80\x8Cit/x", "x/.Cache"})
    CHECK_THROWS_AS(parse_repo_path(wrong), Error);
  for (const char* right : {"ab:c", ".gitignore", ".gitattributes", ".github/x", "git", "cache", "\xC3\xA9"})
    CHECK(parse_repo_path(right) == right);
  CHECK(parse_revision("refs%2Fpr%2F1") == "refs/pr/1");
  CHECK(parse_revision("refs/pr/1") == "refs/pr/1");
  for (const char* wrong : {"", "a\nb", "a%0Ab", " a", "a\t"}) CHECK_THROWS_AS(parse_revision(wrong), Error);
}
