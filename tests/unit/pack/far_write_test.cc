// SPDX-License-Identifier: Apache-2.0
// The same plan is carried out with files on this machine and with the same files elsewhere: all bytes must agree, also
// where the second run was ended at any block and another one went on with it.
#include "pack/far_write.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <set>

#include "fetch/far_files.h"
#include "pack/far_output.h"
#include "pack/write.h"
#include "testing.h"
#include "weights/computed.h"
#include "weights/views.h"

using namespace mu;
using namespace mu::testing;

namespace {

constexpr std::uint64_t kRows = 512, kColumns = 2048;
constexpr std::uint64_t kMatrix = kRows * kColumns * 4;  // bytes of one in F32: 4 MiB

// Finite numbers, some beyond what F16 can hold.
std::string numbers(std::size_t bytes, unsigned seed) {
  std::string text = random_text(bytes, seed);
  for (std::size_t i = 3; i < text.size(); i += 4)
    text[i] = static_cast<char>(i % 1024 == 3 ? 0x60 : 0x3E);  // about 1e19, or about 0.2
  return text;
}

// Two files: [17 bytes][a: 2 matrices][b: 1][c: 3 bytes][d: 1], and [e: 1][f: 2].
struct Model {
  explicit Model(const std::string& name, Requests& requests) : folder_name(name) {
    texts = {random_text(17, 1) + numbers(2 * kMatrix, 2) + numbers(kMatrix, 3) + "xyz" + numbers(kMatrix, 4),
             numbers(kMatrix, 5) + numbers(2 * kMatrix, 6)};
    for (std::size_t i = 0; i < texts.size(); ++i) {
      files.push_back(std::make_unique<TestFile>(fmt::format("{}/{}", name, i), texts[i], requests));
      files.back()->version = fmt::format("commit/{}", i);
    }
    FarFolder mounted;
    for (std::size_t i = 0; i < texts.size(); ++i) mounted[std::to_string(i)] = *files[i];
    mount_far(name, mounted);
    for (std::size_t i = 0; i < texts.size(); ++i) put(here / std::to_string(i), texts[i]);
  }

  // The tensors of the files here, or of those elsewhere.
  [[nodiscard]] Weights weights(bool far) const {
    Weights weights;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      WeightsFile file;
      file.name = std::to_string(i);
      file.file = InputFile((far ? folder_name : here.path()) + "/" + std::to_string(i));
      file.size = texts[i].size();
      weights.files.push_back(std::move(file));
    }
    const auto add = [&](const std::string& name, std::uint32_t source, std::uint64_t offset,
                         std::uint64_t rows) {
      weights.tensors.push_back({name, Dtype::kF32, {rows, kColumns}, source, offset, rows * kColumns * 4});
    };
    add("a", 0, 17, 2 * kRows);
    add("b", 0, 17 + 2 * kMatrix, kRows);
    weights.tensors.push_back({"c", Dtype::kU8, {3}, 0, 17 + 3 * kMatrix, 3});
    add("d", 0, 20 + 3 * kMatrix, kRows);
    add("e", 1, 0, kRows);
    add("f", 1, kMatrix, 2 * kRows);
    return weights;
  }

  std::string folder_name;
  TempFolder here;
  std::vector<std::string> texts;
  std::vector<std::unique_ptr<TestFile>> files;
};

// What is made of them: copies, casts whose elements lie across blocks, and tensors with needs in both files.
struct Work {
  explicit Work(Weights from) : weights(std::move(from)) {
    const std::vector<Tensor>& t = weights.tensors;
    made.reserve(8);
    const Tensor& wide = made.emplace_back(concatenate(std::vector{t[1], t[4]}, 1));
    const Tensor& turned = made.emplace_back(transpose(t[5], 0, 1));
    const Tensor& sum =
        made.emplace_back(computed("sum", Dtype::kF32, t[3].shape, {t[3], t[4]},
                                   [](const Sources& sources, std::uint64_t at, std::span<std::byte> out) {
                                     std::vector<float> one(out.size() / 4), other(out.size() / 4);
                                     sources.read(0, at, std::as_writable_bytes(std::span(one)));
                                     sources.read(1, at, std::as_writable_bytes(std::span(other)));
                                     for (std::size_t i = 0; i < one.size(); ++i) one[i] += other[i];
                                     std::memcpy(out.data(), one.data(), out.size());
                                   }));
    const Tensor& tall = made.emplace_back(concatenate(std::vector{t[1], t[5]}, 0));
    file("one", {{&t[0], Dtype::kF32}, {&t[1], Dtype::kF16}, {&wide, Dtype::kF32}, {&t[2], Dtype::kU8}});
    file("two", {{&sum, Dtype::kF16}, {&turned, Dtype::kF32}, {&tall, Dtype::kBF16}, {&t[3], Dtype::kF16}});
  }

  void file(const std::string& name, const std::vector<std::pair<const Tensor*, Dtype>>& tensors) {
    WeightsOutput output;
    output.name = name;
    output.from = &weights;
    output.prefix = "header of " + name;
    output.size = output.prefix.size();
    for (const auto& [tensor, dtype] : tensors) {
      PackedTensor packed{tensor, {}};
      packed.output.name = tensor->name + ".out";
      packed.output.dtype = dtype;
      packed.output.shape = tensor->shape;
      packed.output.size = tensor->element_count() * bits(dtype) / 8;
      output.size += packed.output.size;
      output.tensors.push_back(packed);
    }
    plan.total_bytes += output.size;
    plan.weights.push_back(std::move(output));
  }

  Weights weights;
  std::vector<Tensor> made;
  PackPlan plan;
};

std::map<std::string, std::string> contents(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const FolderEntry& entry : list_folder(folder)) files[entry.name] = get(join_path(folder, entry.name));
  return files;
}

std::vector<std::string> loss_texts(const WriteResult& result) {
  std::vector<std::string> texts;
  for (const auto& [name, report] : result.losses)
    texts.push_back(fmt::format("{} {} {} {}", name, report.overflowed, report.clipped, report.underflowed));
  return texts;
}

WriteResult run(const PackPlan& plan, const std::string& out, WriteOptions options = {}) {
  options.threads = 2;
  options.fingerprint = "plan";
  if (options.connections == 0) options.connections = 1;
  return write_pack(plan, Input{}, out, options);
}

// What the plan makes of files on this machine.
struct Reference {
  explicit Reference(const Model& model) : work(model.weights(false)) {
    result = run(work.plan, folder / "out", {.verify = true});
    files = contents(folder / "out");
  }
  TempFolder folder;
  Work work;
  WriteResult result;
  std::map<std::string, std::string> files;
};

}  // namespace

TEST_CASE("far write: the same bytes as of local files, each read once") {
  Requests requests;
  const Model model("hf://test/write", requests);
  const Reference local(model);
  const Work work(model.weights(true));
  const TempFolder folder;
  for (const unsigned connections : {1U, 4U, 16U}) {
    requests.all.clear();
    const std::string out = folder / std::to_string(connections);
    const WriteResult result = run(work.plan, out, {.verify = connections == 4, .connections = connections});
    CHECK(contents(out) == local.files);
    CHECK(loss_texts(result) == loss_texts(local.result));
    CHECK_FALSE(loss_texts(result).empty());
    CHECK(requests.bytes() == model.texts[0].size() + model.texts[1].size());
    REQUIRE(result.read);
    CHECK(result.read->bytes == requests.bytes());
    CHECK(result.read->before == 0);
    if (connections == 4) CHECK(result.digest == local.result.digest);
  }
  CHECK(list_folder(folder.path()).size() == 3);  // nothing else is left
}

TEST_CASE("far write: ended at any request, another run goes on, and no byte is read twice") {
  Requests requests;
  const Model model("hf://test/ended", requests);
  const Reference local(model);
  const Work work(model.weights(true));
  const TempFolder folder;
  const std::uint64_t all = plan_far(work.plan).bytes;
  for (std::size_t at = 0;; ++at) {
    const std::string out = folder / std::to_string(at);
    requests.all.clear();
    bool failed = false;
    requests.before_answer = [&](std::size_t number) {
      if (number != at) return;
      failed = true;
      throw Error(ErrorKind::kTemporary, "broken");
    };
    const std::optional<ErrorKind> kind = error_of([&] { run(work.plan, out, {.verify = at % 2 == 1}); });
    if (!failed) break;
    CHECK(kind == ErrorKind::kTemporary);
    CHECK_FALSE(exists(out));
    const std::uint64_t failed_bytes = requests.all.back().size;
    requests.before_answer = [](std::size_t) {};
    const WriteResult result = run(work.plan, out, {.verify = at % 2 == 1});
    CHECK(contents(out) == local.files);
    CHECK(loss_texts(result) == loss_texts(local.result));
    // What is there of an element that is cut where the first run ended is read again, for each of two casts of it.
    CHECK(requests.bytes() - failed_bytes - all <= 2 * 3);
    REQUIRE(result.read);
    CHECK(result.read->bytes + result.read->before == all);
    CHECK((result.read->before > 0) == (at > 0));
    if (at % 2 == 1) CHECK(result.digest == local.result.digest);
    CHECK_FALSE(exists(out + ".partial"));
  }
  CHECK(list_folder(folder.path()).size() > 4);
}

TEST_CASE(
    "far write: a fault that would come again, another plan and --force leave nothing of an earlier run") {
  Requests requests;
  const Model model("hf://test/anew", requests);
  const Reference local(model);
  Work work(model.weights(true));
  const TempFolder folder;
  const std::string out = folder / "out";
  const auto fail_with = [&](ErrorKind kind) {
    requests.all.clear();
    requests.before_answer = [kind](std::size_t number) {
      if (number == 2) throw Error(kind, "broken");
    };
    CHECK(error_of([&] { run(work.plan, out); }) == kind);
    requests.before_answer = [](std::size_t) {};
    requests.all.clear();
  };
  fail_with(ErrorKind::kRemote);
  CHECK_FALSE(exists(out + ".partial"));
  fail_with(ErrorKind::kTemporary);
  CHECK(exists(out + ".partial"));
  CHECK(run(work.plan, out, {.force = true}).read->before == 0);
  CHECK(contents(out) == local.files);
  remove_tree(out);
  fail_with(ErrorKind::kTemporary);
  work.plan.texts.push_back({"config.json", "{}"});
  CHECK(run(work.plan, out).read->before == 0);
  CHECK(get(out + "/one") == local.files.at("one"));
  work.plan.texts.clear();
  remove_tree(out);
  fail_with(ErrorKind::kTemporary);
  for (const FolderEntry& entry : list_folder(out + ".partial")) {
    const std::string file = join_path(join_path(out + ".partial", entry.name), "output/one");
    if (entry.kind == FolderEntry::Kind::kFolder) put(file, "short");
  }
  CHECK(run(work.plan, out).read->before == 0);
  CHECK(contents(out) == local.files);
}

TEST_CASE("far write: a fault of a job ends the run") {
  Requests requests;
  const Model model("hf://test/fault", requests);
  Work work(model.weights(true));
  Tensor& sum = work.made[2];
  auto layout = std::make_shared<Layout>(*sum.layout);
  layout->compute = [](const Sources&, std::uint64_t, std::span<std::byte>) { throw malformed("holds NaN"); };
  sum.layout = layout;
  const TempFolder folder;
  CHECK(error_of([&] { run(work.plan, folder / "out"); }) == ErrorKind::kMalformed);
  CHECK(list_folder(folder.path()).empty());
}

TEST_CASE("far write: a disk that lost something is never taken for one that has all") {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const Fd other(ends[0]);
  std::vector<OutputFile> files;
  files.emplace_back(Fd(ends[1]), "pipe");  // can't be synced
  PackPlan plan;
  plan.weights.emplace_back();
  FarOutput output(plan, files);
  output.sync();
  output.touch(0);
  CHECK(error_of([&] { output.sync(); }) == ErrorKind::kIo);
  CHECK(error_of([&] { output.sync(); }) == ErrorKind::kIo);
}

TEST_CASE("far plan: what is copied, what waits, and what comes first") {
  Requests requests;
  const Model model("hf://test/plan", requests);
  Work work(model.weights(true));
  CHECK(is_far(work.plan));
  CHECK_FALSE(is_far(Work(model.weights(false)).plan));
  const FarPlan far = plan_far(work.plan);
  REQUIRE(far.sequence.size() == 2);
  CHECK(far.sequence[0].size == model.texts[0].size());
  CHECK(far.bytes == model.texts[0].size() + model.texts[1].size());
  CHECK(far.files == 2);
  std::vector<std::string> copied, made;
  const auto name_of = [&](const auto& one) {
    return work.plan.weights[one.file].tensors[one.tensor].output.name;
  };
  for (const FarCopy& copy : far.copies) copied.push_back(name_of(copy));
  for (const FarJob& job : far.jobs) made.push_back(name_of(job));
  CHECK(copied == std::vector<std::string>{"a.out", "b.out", "b.out", "c.out", "d.out", "b.out"});
  CHECK(made == std::vector<std::string>{"b.out", "sum.out", "f.out"});
  // A file that only adds to what another one holds comes first, so that little waits.
  const Weights& from = work.weights;
  work.made.push_back(computed("scaled", Dtype::kF32, from.tensors[0].shape,
                               {from.tensors[0], from.tensors[4]},
                               [](const Sources&, std::uint64_t, std::span<std::byte>) {}));
  work.plan.weights.clear();
  work.file("three", {{&from.tensors[0], Dtype::kF32}, {&work.made.back(), Dtype::kF32}});
  const FarPlan scaled = plan_far(work.plan);
  REQUIRE(scaled.sequence.size() == 2);
  CHECK(scaled.sequence[0].size == kMatrix);
  CHECK(scaled.sequence[1].offset == 17);
  CHECK(scaled.sequence[1].size == 2 * kMatrix);
  REQUIRE(scaled.jobs.size() == 1);
  CHECK(scaled.jobs[0].end == SequencePoint{1, 2 * kMatrix});
  // For standard output: what is small first, in the order of the output.
  work.plan.kind = OutputKind::kStream;
  const FarPlan stream = plan_far(work.plan);
  REQUIRE(stream.sequence.size() == 2);
  CHECK(stream.sequence[0].size == 2 * kMatrix);
  CHECK(stream.jobs.empty());
}
