// SPDX-License-Identifier: Apache-2.0
#include "model/hf_cache.h"

#include <doctest/doctest.h>

#include <filesystem>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

const std::string kCommit = "0123456789012345678901234567890123456789";

}  // namespace

TEST_CASE("hf_cache: ids") {
  for (const char* id : {"gpt2", "a/b", "A-1/b.c_d", "_a/b_"}) CHECK(is_repo_id(id));
  for (const char* id : {"", "/a", "a/b/c", "a b", "a--b", "a..b", "a.git", "./a", "-a", "a-", "a/", "a/b.",
                         "~/x", "C:\\x", "ä"}) {
    CAPTURE(id);
    CHECK_FALSE(is_repo_id(id));
    CHECK_FALSE(repo_id_fault(id)->empty());
  }
  CHECK(is_repo_id(std::string(96, 'a')));
  CHECK_FALSE(is_repo_id(std::string(97, 'a')));
}

TEST_CASE("hf_cache: an id becomes a folder, and a path an id") {
  CHECK(cached_repo_name("model", "gpt2") == "models--gpt2");
  CHECK(cached_repo_name("dataset", "ada/x") == "datasets--ada--x");
  struct Row {
    std::string path, id, commit;
  };
  const Row rows[] = {
      {"/c/models--ada--x/snapshots/" + kCommit, "ada/x", kCommit},
      {"/c/models--ada--x/snapshots/" + kCommit + "/model.safetensors", "ada/x", kCommit},
      {"models--gpt2", "gpt2", ""},
      {"/c/models--ada--x/refs/" + kCommit, "ada/x", ""},
      {"/c/models--ada--x/snapshots/main", "ada/x", ""},
      {"/c/models--ada--x/snapshots/z123456789012345678901234567890123456789", "ada/x", ""},
  };
  for (const Row& row : rows) {
    CAPTURE(row.path);
    const std::optional<CachedModel> model = cached_model_at(row.path);
    REQUIRE(model);
    CHECK(model->id == row.id);
    CHECK(model->commit == row.commit);
  }
  for (const char* path : {"", "/c/ada/x", "/c/datasets--ada--x", "/c/models--", "/c/models--a--b--c",
                           "/c/models---a", "/c/xmodels--a--b", "/c/models--a b"}) {
    CAPTURE(path);
    CHECK_FALSE(cached_model_at(path));
  }
}

TEST_CASE("hf_cache: a blob of a cache is told by its folders and its name") {
  const std::string hash(64, 'a');
  CHECK(is_cache_blob("/c/models--a--b/blobs/" + hash));
  CHECK(is_cache_blob("/c/datasets--a--b/blobs/" + kCommit));
  for (const std::string& path :
       {"/c/blobs/" + hash, "/c/models--a--b/" + hash, "/c/models--a--b/blobs/x/" + hash,
        std::string("/c/models--a--b/blobs/short"), std::string("/")})
    CHECK_FALSE(is_cache_blob(path));
}

TEST_CASE("hf_cache: links out of a snapshot climb as deep as their names") {
  CHECK(blob_link("a", "12") == "../../blobs/12");
  CHECK(blob_link("x/y/a", "12") == "../../../../blobs/12");
  const CachedRepo repo("/c", "models--ada--x");
  CHECK(repo.lock_path("push") == "/c/.locks/models--ada--x/push.lock");
  CHECK(repo.missing_files_path("12") == "/c/models--ada--x/.no_exist/12");
}

TEST_CASE("hf_cache: revisions lead to snapshots, and links out are refused") {
  const TempFolder temp;
  const std::string folder = join_path(temp.path(), "models--ada--x"), hash(40, 'a');
  for (const char* part : {"refs/pr", "blobs", "snapshots/sub"}) make_folders(join_path(folder, part));
  make_folders(join_path(folder, "snapshots/" + kCommit + "/sub"));
  put(join_path(folder, "refs/main"), kCommit + "\n");
  put(join_path(folder, "refs/pr/1"), "gone");
  put(join_path(folder, "refs/bad"), "../..");
  put(join_path(folder, "blobs/" + hash), "x");
  const auto link = [&](const std::string& name, const std::string& target) {
    std::filesystem::create_symlink(target, join_path(folder, "snapshots/" + kCommit + "/" + name));
  };
  link("sub/a", "../../../blobs/" + hash);
  link("b", "../../blobs/" + std::string(40, 'b'));

  const CachedRepo repo(temp.path(), "models--ada--x");
  CHECK(repo.is_there());
  CHECK(repo.name() == "models--ada--x");
  CHECK(repo.find_revision("main") == kCommit);
  CHECK(repo.find_revision(kCommit.substr(0, 7)) == kCommit);
  CHECK_FALSE(repo.find_revision(kCommit.substr(0, 6)));
  CHECK_FALSE(repo.find_revision("pr/1"));
  CHECK_FALSE(repo.find_revision("none"));
  CHECK_THROWS_AS(static_cast<void>(repo.find_revision("bad")), Error);
  CHECK_THROWS_AS(static_cast<void>(repo.find_revision("a/../../b")), Error);
  CHECK_FALSE(repo.is_exact("main", kCommit));
  CHECK(repo.is_exact("pr/1", "gone"));
  CHECK(repo.refs().size() == 3);
  CHECK(repo.snapshots().size() == 2);

  std::string missing;
  const std::vector<CachedFile> files = repo.files(kCommit, [&](const std::string& text) { missing = text; });
  REQUIRE(files.size() == 1);
  CHECK(files[0].name == "sub/a");
  CHECK(files[0].hash == hash);
  CHECK(files[0].size == 1);
  CHECK(missing == "b");
  CHECK(missing_blob_text(missing).starts_with("b: "));
  link("c", "/etc/passwd");
  CHECK_THROWS_AS(static_cast<void>(repo.files(kCommit, [](const std::string&) {})), Error);
  std::filesystem::create_directory_symlink("blobs", join_path(folder, "refs/away"));
  CHECK_THROWS_AS(static_cast<void>(repo.find_revision("away/x")), Error);
  std::filesystem::create_directory(join_path(temp.path(), "models--b"));
  std::filesystem::create_directory_symlink("/", join_path(temp.path(), "models--b/refs"));
  CHECK_THROWS_AS(CachedRepo(temp.path(), "models--b"), Error);
}
