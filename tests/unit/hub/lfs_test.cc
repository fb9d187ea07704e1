// SPDX-License-Identifier: Apache-2.0
#include "hub/lfs.h"

#include <doctest/doctest.h>

#include "hub/hashes.h"
#include "os/folder.h"
#include "testing.h"

using namespace mu;

namespace {

const std::string kOid(64, 'a'), kOther(64, 'b');

std::vector<LfsUpload> parse(const std::string& objects, std::uint64_t size = 25) {
  return parse_batch(parse_json("{\"transfer\":\"basic\",\"objects\":[" + objects + "]}").root,
                     {{kOid, size, nullptr}}, 1000);
}
std::string object(const std::string& rest) {
  return "{\"oid\":\"" + kOid + "\",\"size\":25" + rest + "}";
}
std::string upload(const std::string& header) {
  return object(R"(,"actions":{"upload":{"href":"https://h/done","header":)" + header + "}}");
}

}  // namespace

TEST_CASE("lfs batch: no action means stored, a plain one a PUT, chunk_size pieces") {
  CHECK(parse(object("")).at(0).href.empty());
  CHECK(parse(object(",\"actions\":{}")).at(0).href.empty());
  const LfsUpload basic = parse(upload(R"({"x-amz-acl":"private"})")).at(0);
  CHECK(basic.href == "https://h/done");
  CHECK(basic.pieces.empty());
  REQUIRE(basic.headers.size() == 1);
  CHECK(basic.headers[0].name == "x-amz-acl");
  // Keys come in any order and width, with others between.
  for (const char* chunk : {"\"10\"", "10"}) {
    const LfsUpload pieces =
        parse(upload(std::string(R"({"00003":"c","1":"a","upload_id":"u","002":"b","chunk_size":)") + chunk +
                     "}"))
            .at(0);
    CHECK(pieces.pieces == std::vector<std::string>{"a", "b", "c"});
    CHECK(pieces.chunk_size == 10);
    CHECK(pieces.headers.empty());
  }
}

TEST_CASE("lfs batch: unexpected answers are refused") {
  for (const std::string& wrong :
       {std::string(), "{\"oid\":\"" + kOther + "\"}", object(",\"error\":{\"code\":422,\"message\":\"no\"}"),
        upload(R"({"chunk_size":"10","1":"a","2":"b"})"),
        upload(R"({"chunk_size":"10","1":"a","2":"b","4":"d"})"),
        upload(R"({"chunk_size":"10","0":"z","1":"a","2":"b"})"), upload(R"({"chunk_size":"0"})"),
        upload(R"({"chunk_size":"ten"})"), upload(R"({"x":"a\r\nb"})"),
        object(R"(,"actions":{"upload":{}})")})
    CHECK_THROWS_AS(parse(wrong), Error);
  CHECK_THROWS_AS(parse(upload(R"({"chunk_size":"1","1":"a"})"), 1ULL << 40), Error);
}

TEST_CASE("lfs batch: how long links live") {
  const auto expires = [](const std::string& rest) {
    return parse(object(R"(,"actions":{"upload":{"href":"https://s/x?X-Amz-Expires=900&b=1")" + rest + "}}"))
        .at(0)
        .expires;
  };
  CHECK(expires("") == 1900);
  CHECK(expires(",\"expires_in\":60") == 1060);
  CHECK(expires(",\"expires_at\":\"1970-01-01T01:00:00Z\"") == 3600);
}

TEST_CASE("journal: pieces outlive a process, broken and expired entries don't") {
  const testing::TempFolder folder;
  const std::string path = folder.path() + "/deep/journal";
  LfsUpload upload;
  upload.oid = kOid;
  upload.size = 25;
  upload.chunk_size = 10;
  upload.href = "https://h/done";
  upload.pieces = {"a", "b", "c"};
  upload.expires = 5000;
  {
    Journal journal(path);
    CHECK(journal.fault().empty());
    CHECK_FALSE(journal.find(kOid, 0));
    journal.begin(upload);
    journal.add_piece(kOid, 2, "\"etag\"");
    CHECK_THROWS_AS(Journal{path}, Error);  // a second push to the same place
  }
  std::string text = read_whole_file(path, 1 << 20);
  {
    Journal journal(path);
    const std::optional<Journal::Saved> saved = journal.find(kOid, 4000);
    REQUIRE(saved);
    CHECK(saved->upload.pieces == upload.pieces);
    CHECK(saved->etags == std::map<std::size_t, std::string>{{2, "\"etag\""}});
    CHECK_FALSE(journal.find(kOid, 4941));
    journal.forget(kOid);
    CHECK_FALSE(journal.find(kOid, 0));
  }
  CHECK_FALSE(Journal(path).find(kOid, 0));
  // Cut anywhere, a journal is still read; what is left of it is true.
  for (std::size_t size = 0; size < text.size(); ++size) {
    testing::put(path, text.substr(0, size));
    const std::optional<Journal::Saved> saved = Journal(path).find(kOid, 0);
    if (saved) CHECK(saved->etags.size() <= 1);
  }
  Journal(path).remove();
  CHECK_FALSE(exists(path));
}

TEST_CASE("hashes: remembered for the very file, and only once it has settled") {
  const testing::TempFolder folder;
  const std::string path = folder.path() + "/file", table = folder.path() + "/cache/hashes";
  testing::put(path, "hello\n");
  const FileStamp stamp = stamp_of(path);
  const FileHashes hashes = hash_file(path, stamp, {true, true}, {});
  CHECK(hashes.sha256 == "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03");
  CHECK(hashes.blob == "ce013625030ba8dba906f756967f9e9ca394464a");
  FileStamp other = stamp;
  other.size += 1;
  CHECK_THROWS_AS(hash_file(path, other, {true, false}, {}), Error);
  HashCache cache(table);
  cache.add(stamp, hashes);
  CHECK_FALSE(cache.find(stamp));  // younger than two seconds
  FileStamp settled = stamp;
  settled.mtime_ns = settled.ctime_ns = 1'000'000'000;
  cache.add(settled, hashes);
  cache.save();
  const HashCache again(table);
  REQUIRE(again.find(settled));
  CHECK(again.find(settled)->sha256 == hashes.sha256);
  CHECK_FALSE(again.find(stamp));
  // Another machine numbers the device of a network file system differently; size and times must still fit.
  FileStamp elsewhere = settled, changed = settled;
  elsewhere.id.device += 1;
  changed.ctime_ns += 1;
  HashCache adopting(folder.path() + "/own");
  adopting.adopt(table, {elsewhere, changed});
  REQUIRE(adopting.find(elsewhere));
  CHECK(adopting.find(elsewhere)->blob == hashes.blob);
  CHECK_FALSE(adopting.find(changed));
  // A part saves what it knows of its own files alone.
  adopting.add(changed, hashes);
  adopting.divert(folder.path() + "/part", {elsewhere});
  adopting.save();
  CHECK_FALSE(exists(folder.path() + "/own"));
  CHECK(HashCache(folder.path() + "/part").find(elsewhere));
  CHECK_FALSE(HashCache(folder.path() + "/part").find(changed));
  FileHashes verdict;
  verdict.clean = 7;
  adopting.add(elsewhere, verdict);
  adopting.save();
  CHECK(HashCache(folder.path() + "/part").find(elsewhere)->clean == 7);
  CHECK(HashCache(folder.path() + "/part").find(elsewhere)->blob == hashes.blob);
  // A table of 0.1 knows no verdicts.
  testing::put(table, "modelutils hashes 1\n1 2 3 1000000000 1000000000 - " + hashes.blob + "\n");
  const FileStamp known{{1, 2}, 3, 1'000'000'000, 1'000'000'000};
  REQUIRE(HashCache(table).find(known));
  CHECK(HashCache(table).find(known)->blob == hashes.blob);
  CHECK(HashCache(table).find(known)->clean == 0);
  testing::put(table, "modelutils hashes 1\nnonsense\n1 2 3 4 5 zz zz\n");
  CHECK_FALSE(HashCache(table).find(settled));
}
