// SPDX-License-Identifier: Apache-2.0
#include "lora/pair_far.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <numeric>

#include "base/error.h"
#include "fetch/far_files.h"
#include "fetch/fetcher.h"
#include "lora/pair.h"
#include "testing.h"
#include "weights/open/open.h"

using namespace mu;
using namespace mu::testing;

namespace {

constexpr std::uint64_t kRows = 160, kColumns = 128, kMatrices = 9;
constexpr std::uint64_t kMatrixBytes = kRows * kColumns * 4;

// A model of some matrices and a norm. `change` is added to every element of the matrices but the first.
std::string model(float change, const std::string& last = "lm_head.weight") {
  std::string header = "{", values;
  const auto add = [&](const std::string& name, const std::string& shape, std::vector<float> numbers) {
    const std::size_t begin = values.size();
    values.append(reinterpret_cast<const char*>(numbers.data()), 4 * numbers.size());
    header += (header.size() > 1 ? ",\"" : "\"") + name + R"(":{"dtype":"F32","shape":)" + shape +
              R"(,"data_offsets":[)" + std::to_string(begin) + "," + std::to_string(values.size()) + "]}";
  };
  for (std::uint64_t i = 0; i < kMatrices; ++i) {
    std::vector<float> numbers(kRows * kColumns);
    for (std::size_t k = 0; k < numbers.size(); ++k) {
      const auto row = static_cast<float>(k / kColumns % 7), column = static_cast<float>(k % kColumns % 5);
      numbers[k] =
          static_cast<float>((k * 7 + i) % 97) / 97.0F + (i > 0 ? change * (row - 3) * (column + 1) : 0.0F);
    }
    add("model.layers." + std::to_string(i) + ".q_proj.weight", "[160,128]", numbers);
  }
  add("model.norm.weight", "[128]", std::vector<float>(kColumns, 1 + change));
  add(last, "[1000,128]", std::vector<float>(1000 * kColumns, 2 + change));
  header += "}";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string size(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(size.data(), &length, 8);
  return size + header + values;
}

// The pair as files of this machine, or of another one.
struct Models {
  std::string base_text = model(0), tuned_text = model(0.01F);
  Requests requests;
  Input base, tuned;
  PairPlan plan;
  std::vector<std::size_t> units;

  explicit Models(const std::string& place, PairOptions options = {}) {
    base = open(place, "base", base_text);
    tuned = open(place, "tuned", tuned_text);
    options.embeddings = PairOptions::Embeddings::kFull;
    plan = plan_pair(base, tuned, options);
    units.resize(plan.tensors.size());
    std::iota(units.begin(), units.end(), 0U);
  }

 private:
  Input open(const std::string& place, const std::string& name, const std::string& text) {
    const std::string path = place + "/" + name + ".safetensors";
    if (!place.starts_with("hf://")) {
      put(path, text);
      return open_input(path, StreamData::kCount);
    }
    files.push_back(std::make_unique<TestFile>(path, text, requests));
    files.back()->version = sha256_of(text);
    mount_far(path, {{"", *files.back()}});
    Input input = open_input(path, StreamData::kCount);
    requests.all.clear();
    return input;
  }
  std::vector<std::unique_ptr<TestFile>> files;
};

PairRunOptions run_options(unsigned threads = 2) {
  PairRunOptions options;
  options.rank.rank = 4;
  options.kernel = "baseline";
  options.threads = threads;
  return options;
}

void check_same(const std::vector<FoundTensor>& found, const std::vector<FoundTensor>& expected) {
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    const FoundTensor &one = found[i], &other = expected[i];
    CHECK(one.done == other.done);
    CHECK(one.changed == other.changed);
    REQUIRE(one.rank == other.rank);
    CHECK(one.report.error == other.report.error);
    CHECK(one.report.values == other.report.values);
    std::vector<std::byte> left(factor_bytes(one)), right(left.size());
    if (one.rank == 0) continue;
    one.read(one.offset, left);
    other.read(other.offset, right);
    CHECK(left == right);
  }
}

// Bytes that were asked for more than once, over these requests.
std::uint64_t bytes_again(const Requests& requests) {
  std::map<const FarFile*, std::vector<std::pair<std::uint64_t, std::uint64_t>>> runs;
  for (const Requests::One& one : requests.all) runs[one.file].emplace_back(one.offset, one.size);
  std::uint64_t again = 0;
  for (auto& [file, list] : runs) {
    std::sort(list.begin(), list.end());
    std::uint64_t end = 0;
    for (const auto& [offset, size] : list) {
      if (offset < end) again += std::min(end, offset + size) - offset;
      end = std::max(end, offset + size);
    }
  }
  return again;
}

struct Work {
  Models& models;
  PairFetch fetch;
  PairRunOptions options;
  std::string target, identity;

  Work(Models& of, const std::string& out, unsigned threads = 2)
      : models(of),
        fetch(plan_pair_fetch(of.base, of.tuned, of.plan, of.units)),
        options(run_options(threads)),
        target(out),
        identity(pair_fetch_identity(fetch, "plan")) {}

  std::vector<FoundTensor> run(const std::function<void()>& on_found = {}, unsigned connections = 2) {
    PartialOutput partial(target, identity, false);
    std::vector<FoundTensor> found(models.plan.tensors.size());
    factorise_far(models.base, models.tuned, models.plan, fetch, options,
                  {.connections = connections, .on_read = {}, .on_found = on_found}, partial, found);
    return found;
  }
};

std::vector<FoundTensor> expected_of(const Models& here) {
  return factorise(here.base, here.tuned, here.plan, here.units, run_options());
}

}  // namespace

TEST_CASE("pairs on other machines: what is found is the same, and every byte comes once") {
  const TempFolder folder;
  const Models here(folder.path());
  Models there("hf://pairs/same");
  const std::vector<FoundTensor> expected = expected_of(here);
  for (const unsigned threads : {1U, 3U}) {
    there.requests.all.clear();
    Work work(there, folder.path() + "/out" + std::to_string(threads), threads);
    CHECK(work.fetch.files == 2);
    check_same(work.run(), expected);
    CHECK(bytes_again(there.requests) == 0);
    CHECK(there.requests.bytes() == work.fetch.bytes);
  }
}

TEST_CASE("pairs on other machines: a tensor that is stored whole is kept") {
  const TempFolder folder;
  PairOptions options;
  options.full_modules.emplace_back("lm_head");
  Models there("hf://pairs/whole", options);
  Work work(there, folder.path() + "/out");
  const std::vector<FoundTensor> found = work.run();
  const FoundTensor& head = found.back();
  CHECK(head.changed);
  REQUIRE(head.kept == 1000 * kColumns * 4);
  std::vector<float> values(kColumns);
  head.read(head.offset + 999 * kColumns * 4, std::as_writable_bytes(std::span(values)));
  CHECK(values.back() == 2.01F);
  // Another run finds all of it in the record.
  there.requests.all.clear();
  const std::vector<FoundTensor> again = work.run();
  CHECK(there.requests.all.empty());
  check_same(again, found);
  REQUIRE(again.back().kept == head.kept);
  again.back().read(again.back().offset, std::as_writable_bytes(std::span(values)));
  CHECK(values.front() == 2.01F);
}

TEST_CASE("pairs on other machines: one side alone, and a mixture of needs") {
  const TempFolder folder;
  Models here(folder.path()), there("hf://pairs/mixed");
  const PairPlan plan = plan_pair(here.base, there.tuned, {});
  const PairFetch fetch = plan_pair_fetch(here.base, there.tuned, plan, {0, 3});
  REQUIRE(fetch.jobs.size() == 2);
  CHECK(fetch.files == 1);
  CHECK(fetch.bytes == 2 * kMatrixBytes);
  CHECK(plan_pair_fetch(here.base, here.tuned, here.plan, here.units).sequence.empty());
}

TEST_CASE("pairs on other machines: a run goes on behind every pair, and reads nothing of those before it") {
  const TempFolder folder;
  const Models here(folder.path());
  Models there("hf://pairs/again");
  const std::vector<FoundTensor> expected = expected_of(here);
  for (std::size_t stop = 1; stop <= there.units.size(); ++stop) {
    CAPTURE(stop);
    Work work(there, folder.path() + "/again" + std::to_string(stop), 1);
    std::size_t count = 0;
    const auto stop_there = [&] {
      if (count++ == stop) throw Error(ErrorKind::kTemporary, "stopped");
    };
    CHECK(error_of([&] { work.run(stop_there); }) == ErrorKind::kTemporary);
    there.requests.all.clear();
    check_same(work.run(), expected);
    CHECK(bytes_again(there.requests) == 0);
    // The job that was being done had passed whole.
    for (const FarRange& need : work.fetch.jobs[stop - 1].needs) {
      for (const Requests::One& one : there.requests.all) {
        const bool apart = one.file->name != need.file->name || one.offset + one.size <= need.offset ||
                           need.offset + need.size <= one.offset;
        CHECK(apart);
      }
    }
  }
}

TEST_CASE("pairs on other machines: a failing connection at every request") {
  const TempFolder folder;
  const Models here(folder.path());
  Models there("hf://pairs/failing");
  const std::vector<FoundTensor> expected = expected_of(here);
  bool failed = true;
  for (std::size_t n = 0; failed; ++n) {
    CAPTURE(n);
    Work work(there, folder.path() + "/failing" + std::to_string(n), 1);
    there.requests.all.clear();
    failed = false;
    there.requests.before_answer = [&](std::size_t number) {
      if (number != n) return;
      failed = true;
      throw Error(ErrorKind::kTemporary, "the line broke");
    };
    if (const std::optional<ErrorKind> error = error_of([&] { check_same(work.run({}, 1), expected); }))
      CHECK(error == ErrorKind::kTemporary);
    there.requests.before_answer = {};
    if (failed) check_same(work.run({}, 1), expected);
    CHECK(there.requests.bytes() <= work.fetch.bytes + kMaxUnpassed);
  }
}

TEST_CASE("pairs on other machines: a record that does not fit begins anew, and other bytes are refused") {
  const TempFolder folder;
  const Models here(folder.path());
  Models there("hf://pairs/record");
  Work work(there, folder.path() + "/out");
  {
    PartialOutput partial(work.target, work.identity, false);
    partial.note(R"([{"index":0,"changed":true,"offset":5,"rank":3,"in":128,"out":160}])");
  }
  check_same(work.run(), expected_of(here));
  Models other("hf://pairs/corrupt");
  const_cast<FarFile*>(other.tuned.weights.files[0].file->far())->sha256 = std::string(64, '0');
  Work corrupt(other, folder.path() + "/corrupt");
  CHECK(error_of([&] { corrupt.run(); }) == ErrorKind::kRemote);
}
