// SPDX-License-Identifier: Apache-2.0
#include "ckpt/execute.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <map>

#include "child.h"
#include "os/stage_name.h"
#include "runs_on_disk.h"

using namespace mu;
using namespace mu::testing;

namespace {

const std::vector<std::string> kWhole = names_in(kRealCheckpoint);

std::int64_t mtime_of(const std::string& path) {
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
}

struct Run : TempFolder {
  explicit Run(std::vector<std::uint64_t> steps) {
    for (const std::uint64_t step : steps) add_checkpoint(path(), step);
  }
};

std::vector<std::string> checkpoints(std::vector<std::uint64_t> steps) {
  std::vector<std::string> names;
  for (const std::uint64_t step : steps) names.push_back(fmt::format("checkpoint-{}", step));
  return names;
}

Policy slim_all_but(std::uint64_t count) {
  Policy policy;
  policy.keep_optimizer_last = count;
  return policy;
}

}  // namespace

TEST_CASE("execute: removes exactly what was planned") {
  const Run run({100, 200, 300, 400});
  put(run / "notes.txt", "mine");
  const Outcome outcome = execute(look_at(run.path()), keep_last(2));
  CHECK(outcome.removed == 2);
  CHECK(outcome.failures.empty());
  CHECK(outcome.bytes_freed > 900'000);
  std::vector<std::string> expected = checkpoints({300, 400});
  expected.emplace_back("notes.txt");
  CHECK(names_in(run.path()) == expected);
  CHECK(names_in(run / "checkpoint-300") == kWhole);
  CHECK(execute(look_at(run.path()), keep_last(2)).changes() == 0);
}

TEST_CASE("execute: slimming takes its entries and restores the folder's time") {
  const Run run({100, 200, 300});
  std::map<std::string, std::int64_t> before;
  for (const std::string& name : names_in(run.path())) before[name] = mtime_of(run / name);
  const LookedAt at = look_at(run.path());
  const std::uint64_t disk = at.of(100).disk_bytes(), training = at.of(100).training_bytes;
  const Outcome outcome = execute(at, slim_all_but(1));
  CHECK(outcome.slimmed == 2);
  CHECK(outcome.failures.empty());
  CHECK(names_in(run.path()) == checkpoints({100, 200, 300}));
  for (const auto& [name, mtime] : before) CHECK(mtime_of(run / name) == mtime);
  std::vector<std::string> slim;
  for (const std::string& name : kWhole) {
    if (name != "optimizer.pt" && name != "scheduler.pt" && name != "rng_state.pth") slim.push_back(name);
  }
  CHECK(names_in(run / "checkpoint-100") == slim);
  CHECK(names_in(run / "checkpoint-300") == kWhole);
  const LookedAt after = look_at(run.path());
  CHECK(after.of(100).condition == Condition::kInferenceOnly);
  CHECK(after.of(100).disk_bytes() == disk - training);
  CHECK(execute(after, slim_all_but(1)).changes() == 0);
}

TEST_CASE("execute: torn checkpoints are put aside under a free name") {
  const Run run({100, 200, 300});
  std::filesystem::create_directory(run / "torn-checkpoint-300");
  put(run / "checkpoint-300/model.safetensors", "cut");
  Policy policy;
  policy.torn = TornAction::kAside;
  policy.torn_age_seconds = 0;
  LookedAt at = look_at(run.path());
  at.facts[0].now_ns += std::int64_t{200} * 1'000'000'000;
  CHECK(execute(at, policy).aside == 1);
  std::vector<std::string> expected = checkpoints({100, 200});
  expected.insert(expected.end(), {"torn-checkpoint-300", "torn-checkpoint-300.2"});
  CHECK(names_in(run.path()) == expected);
  CHECK(names_in(run / "torn-checkpoint-300.2").size() == kWhole.size());
}

TEST_CASE("execute: what changed or vanished after the scan is left alone") {
  const Run run({100, 200, 300, 400, 500});
  const LookedAt at = look_at(run.path());
  put(run / "checkpoint-100/new", "");                                      // the folder changed
  put(run / "checkpoint-200/trainer_state.json", "{\"global_step\":200}");  // the state did
  std::filesystem::remove_all(run / "checkpoint-300");
  const Outcome outcome = execute(at, keep_last(1));
  CHECK(outcome.removed == 1);
  CHECK(outcome.vanished == 1);
  REQUIRE(outcome.failures.size() == 2);
  CHECK(outcome.failures[0].kind() == ErrorKind::kTemporary);
  CHECK(names_in(run.path()) == checkpoints({100, 200, 500}));

  // Another folder under the same name.
  const Run other({100, 200});
  const LookedAt before = look_at(other.path());
  std::filesystem::rename(other / "checkpoint-100", other / "old");
  add_checkpoint(other.path(), 100);
  CHECK(execute(before, keep_last(1)).removed == 0);
  CHECK(exists(other / "checkpoint-100"));
  // A link in its place.
  const Run linked({100, 200});
  const LookedAt plain = look_at(linked.path());
  std::filesystem::rename(linked / "checkpoint-100", linked / "old");
  std::filesystem::create_directory_symlink("old", linked / "checkpoint-100");
  CHECK(execute(plain, keep_last(1)).removed == 0);
  CHECK(names_in(linked / "old") == kWhole);
}

TEST_CASE("execute: when the checkpoint to resume from is gone, everything stays") {
  for (const bool gone : {true, false}) {
    const Run run({100, 200, 300});
    const LookedAt at = look_at(run.path());
    if (gone)
      std::filesystem::remove_all(run / "checkpoint-300");
    else
      put(run / "checkpoint-300/trainer_state.json", "");
    const Outcome outcome = execute(at, keep_last(1));
    CHECK(outcome.changes() == 0);
    REQUIRE(outcome.failures.size() == 1);
    CHECK(outcome.failures[0].kind() == ErrorKind::kTemporary);
    CHECK(exists(run / "checkpoint-100"));
    CHECK(exists(run / "checkpoint-200"));
  }
}

TEST_CASE("execute: links inside are removed, their targets are not") {
  const TempFolder outside;
  std::filesystem::create_directory(outside / "data");
  put(outside / "data/precious", "x");
  const Run run({100, 200});
  std::filesystem::create_directory_symlink(outside / "data", run / "checkpoint-100/link");
  std::filesystem::create_symlink(outside / "data/precious", run / "checkpoint-100/file");
  CHECK(execute(look_at(run.path()), keep_last(1)).removed == 1);
  CHECK(names_in(run.path()) == checkpoints({200}));
  CHECK(get(outside / "data/precious") == "x");
}

TEST_CASE("execute: what is mounted inside a checkpoint survives") {
  const int result = result_of_child([] {
    const Run run({100, 200, 300});
    const TempFolder outside;
    put(outside / "precious", "x");
    std::filesystem::create_directory(run / "checkpoint-100/mnt");
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return kChildSkipped;
    const LookedAt before = look_at(run.path());
    // The same file system, so that device numbers show nothing; mounted after the scan.
    if (::mount(outside.path().c_str(), (run / "checkpoint-100/mnt").c_str(), nullptr, MS_BIND, nullptr) != 0)
      return kChildSkipped;
    if (::mount((outside / "precious").c_str(), (run / "checkpoint-200/config.json").c_str(), nullptr,
                MS_BIND, nullptr) != 0)
      return kChildSkipped;
    const bool sees_file = look_at(run.path()).of(200).has_mount;
    ::umount((run / "checkpoint-200/config.json").c_str());
    const LookedAt at = look_at(run.path());
    bool passed = sees_file && at.of(100).has_mount && execute(at, keep_last(1)).removed == 1 &&
                  exists(run / "checkpoint-100/mnt/precious");
    const Outcome late = execute(before, keep_last(1));
    passed = passed && !late.failures.empty() && exists(outside / "precious");
    ::umount((run / "checkpoint-100/mnt").c_str());
    for (const std::string& name : names_in(run.path())) ::umount((run / name + "/mnt").c_str());
    return passed ? kChildPassed : 1;
  });
  if (result == kChildSkipped) {
    MESSAGE("skipped: mounts are not permitted here");
    return;
  }
  CHECK(result == kChildPassed);
}

TEST_CASE("execute: a file that is mounted in a checkpoint survives with the whole checkpoint") {
  const int result = result_of_child([] {
    const Run run({100, 200, 300});
    const TempFolder outside;
    put(outside / "precious", "x");
    const std::string file = run / "checkpoint-100/trainer_state.json";
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      return kChildSkipped;
    const LookedAt before = look_at(run.path());
    if (::mount((run / "checkpoint-100/scheduler.pt").c_str(), (run / "checkpoint-100/optimizer.pt").c_str(),
                nullptr, MS_BIND, nullptr) != 0)
      return kChildSkipped;
    const Outcome late = execute(before, keep_last(1));
    const bool passed =
        late.removed == 1 && late.failures.size() == 1 && names_in(run / "checkpoint-100") == kWhole;
    ::umount((run / "checkpoint-100/optimizer.pt").c_str());
    return passed ? kChildPassed : 1;
  });
  if (result == kChildSkipped) {
    MESSAGE("skipped: mounts are not permitted here");
    return;
  }
  CHECK(result == kChildPassed);
}

// The plan removes two checkpoints of another user, who lets us into the run folder but not into the
// checkpoints.
TEST_CASE("execute: what we may not empty stays visible and is not counted") {
  const int result = result_of_child([] {
    const Run run({100, 200, 300});
    std::filesystem::create_directory(run / "checkpoint-200/inner");
    put(run / "checkpoint-200/inner/file", "x");
    if (::geteuid() != 0) return kChildSkipped;
    if (::chmod(run.path().c_str(), 0777) != 0) return 2;
    for (const std::string& name : names_in(run.path())) {
      if (::chown((run / name).c_str(), 65534, 65534) != 0) return 3;
    }
    ::chown((run / "checkpoint-100").c_str(), 0, 0);
    const LookedAt at = look_at(run.path());
    if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) return 4;
    // checkpoint-100 belongs to root, checkpoint-200 to us except for one folder in it.
    const Outcome outcome = execute(at, keep_last(1));
    bool passed = outcome.removed == 0 && outcome.bytes_freed == 0 && outcome.failures.size() == 2 &&
                  names_in(run.path()) == checkpoints({100, 200, 300});
    for (const Error& error : outcome.failures) passed = passed && error.kind() == ErrorKind::kPartial;
    ::_exit(passed ? kChildPassed : 1);  // only root may remove the folder
  });
  if (result == kChildSkipped) {
    MESSAGE("skipped: only root can be somebody else");
    return;
  }
  CHECK(result == kChildPassed);
}

TEST_CASE("execute: a run folder that can't be written is reported once, before any rename") {
  const int result = result_of_child([] {
    const Run run({100, 200, 300});
    if (::geteuid() != 0) return kChildSkipped;
    ::chmod(run.path().c_str(), 0755);
    const LookedAt at = look_at(run.path());
    if (::setresgid(65534, 65534, 65534) != 0 || ::setresuid(65534, 65534, 65534) != 0) return 4;
    const Outcome outcome = execute(at, keep_last(1));
    const bool passed = outcome.changes() == 0 && outcome.failures.size() == 1 &&
                        outcome.failures[0].kind() == ErrorKind::kIo &&
                        execute(at, keep_last(9)).failures.empty();
    ::_exit(passed ? kChildPassed : 1);
  });
  if (result == kChildSkipped) {
    MESSAGE("skipped: only root can be somebody else");
    return;
  }
  CHECK(result == kChildPassed);
}

TEST_CASE("execute: to the trash, within a file system and to another one") {
  const TempFolder near;
  std::vector<std::string> trashes = {near / "trash"};
  struct stat memory {
  }, here{};
  const std::string far = fmt::format("/dev/shm/mu-trash-{}", ::getpid());
  if (::stat("/dev/shm", &memory) == 0 && ::stat(near.path().c_str(), &here) == 0 &&
      memory.st_dev != here.st_dev)
    trashes.push_back(far);
  for (const std::string& trash : trashes) {
    CAPTURE(trash);
    const Run run({100, 200, 300});
    std::filesystem::create_directory(run / "checkpoint-100/inner");
    std::filesystem::create_symlink("nowhere", run / "checkpoint-100/inner/link");
    const std::string saved = trash + "/" + std::string(base_name(run.path()));
    const std::int64_t mtime = mtime_of(run / "checkpoint-100/model.safetensors");
    Policy policy = keep_last(2);
    policy.keep_optimizer_last = 1;
    const Outcome outcome = execute(look_at(run.path()), policy, {.trash = trash});
    CHECK(outcome.failures.empty());
    CHECK(names_in(run.path()) == checkpoints({200, 300}));
    CHECK(names_in(saved) == std::vector<std::string>{"checkpoint-100", "checkpoint-200.training-state"});
    CHECK(names_in(saved + "/checkpoint-200.training-state") ==
          std::vector<std::string>{"optimizer.pt", "rng_state.pth", "scheduler.pt"});
    CHECK(get(saved + "/checkpoint-100/optimizer.pt") == get(kRealCheckpoint + "/optimizer.pt"));
    CHECK(mtime_of(saved + "/checkpoint-100/model.safetensors") == mtime);
    CHECK(std::filesystem::read_symlink(saved + "/checkpoint-100/inner/link") == "nowhere");
    // The same name again.
    add_checkpoint(run.path(), 100);
    CHECK(execute(look_at(run.path()), policy, {.trash = trash}).failures.empty());
    CHECK(exists(saved + "/checkpoint-100.2/trainer_state.json"));
  }
  std::filesystem::remove_all(far);
}

TEST_CASE("execute: leftovers of killed runs are finished, those of live runs are not") {
  const Run run({100, 200, 300});
  // Half deleted by a process that has ended.
  std::filesystem::rename(run / "checkpoint-100", run / "x");
  std::string name;
  CHECK(in_child([&] { put(run / "name", stage_name("checkpoint-100", StageKind::kGone)); }) == 0);
  name = get(run / "name");
  std::filesystem::remove(run / "name");
  std::filesystem::rename(run / "x", run / name);
  const std::string own = stage_name("checkpoint-150", StageKind::kGone);  // ours: alive
  std::filesystem::create_directory(run / own);
  const Outcome outcome = execute(look_at(run.path()), keep_last(9));
  CHECK(outcome.leftovers == 1);
  std::vector<std::string> expected = checkpoints({200, 300});
  expected.insert(expected.begin(), own);
  CHECK(names_in(run.path()) == expected);
}

// The name under which a process that has ended hid checkpoint-100, having judged `judged`.
static std::string hidden_name(const Run& run, std::optional<FileId> judged) {
  CHECK(in_child([&] { put(run / "name", stage_name("checkpoint-100", StageKind::kGone, judged)); }) == 0);
  const std::string name = get(run / "name");
  std::filesystem::remove(run / "name");
  return name;
}

TEST_CASE("execute: a hidden checkpoint is deleted only if it is the one that was judged") {
  for (const bool is_judged : {true, false}) {
    for (const bool is_taken : {true, false}) {
      CAPTURE(is_judged);
      CAPTURE(is_taken);
      const Run run({100, 200, 300});
      const FileId id = look_at(run.path()).of(is_judged ? 100 : 200).stamp.id;
      std::string name = hidden_name(run, id);
      // Whoever hid it may be anywhere: the lock of the run is enough.
      const std::size_t space = name.find(".ns");
      name.replace(space, name.find('.', space + 1) - space, ".ns1");
      std::filesystem::rename(run / "checkpoint-100", run / name);
      if (is_taken) add_checkpoint(run.path(), 100);
      const Outcome outcome = execute(look_at(run.path()), keep_last(9));
      CHECK(outcome.leftovers == (is_judged ? 1 : 0));
      CHECK(outcome.failures.size() == (is_judged ? 0 : 1));
      std::vector<std::string> expected = checkpoints({200, 300});
      if (!is_judged || is_taken) expected = checkpoints({100, 200, 300});
      if (!is_judged && is_taken) expected.emplace_back("kept-checkpoint-100");
      CHECK(names_in(run.path()) == expected);
    }
  }
}

namespace {

// Makes checkpoint-100 as a kill leaves it when only its optimizer has been moved out. Returns its time
// before that.
std::int64_t cut_slimming_short(const Run& run) {
  const std::string checkpoint = run / "checkpoint-100";
  const std::int64_t mtime = mtime_of(checkpoint);
  CHECK(in_child([&] { put(run / "name", stage_name("checkpoint-100", StageKind::kGone)); }) == 0);
  const std::string hidden = run / get(run / "name");
  std::filesystem::remove(run / "name");
  struct stat folder {
  }, state{};
  REQUIRE(::stat(checkpoint.c_str(), &folder) == 0);
  REQUIRE(::stat((checkpoint + "/trainer_state.json").c_str(), &state) == 0);
  std::filesystem::create_directory(hidden);
  put(hidden + "/.folder-mtime",
      fmt::format("{} {} {}\n", folder.st_ino, state.st_ino, mtime_of(checkpoint + "/trainer_state.json")));
  const timespec times[2] = {{0, UTIME_OMIT}, {mtime / 1'000'000'000, mtime % 1'000'000'000}};
  ::utimensat(AT_FDCWD, (hidden + "/.folder-mtime").c_str(), times, 0);
  std::filesystem::rename(checkpoint + "/optimizer.pt", hidden + "/optimizer.pt");
  return mtime;
}

}  // namespace

TEST_CASE("execute: a slimming that was cut short is finished, whatever the plan for the checkpoint is now") {
  for (const std::uint64_t last : {1U, 2U}) {
    const Run run({100, 200});
    const std::int64_t mtime = cut_slimming_short(run);
    Policy policy = keep_last(last);
    policy.keep_optimizer_last = 1;
    const Outcome outcome = execute(look_at(run.path()), policy);
    CHECK(outcome.failures.empty());
    CHECK(outcome.leftovers == 1);
    if (last == 1) {
      CHECK(names_in(run.path()) == checkpoints({200}));
    } else {
      CHECK(names_in(run.path()) == checkpoints({100, 200}));
      CHECK_FALSE(exists(run / "checkpoint-100/scheduler.pt"));
      CHECK_FALSE(exists(run / "checkpoint-100/rng_state.pth"));
      CHECK(exists(run / "checkpoint-100/model.safetensors"));
      CHECK(mtime_of(run / "checkpoint-100") == mtime);
    }
  }
}

TEST_CASE("execute: what came into a hidden folder and was never judged is given back") {
  for (const bool is_taken : {true, false}) {
    CAPTURE(is_taken);
    const Run run({100, 200});
    cut_slimming_short(run);
    std::string hidden;
    for (const std::string& name : names_in(run.path())) {
      if (name.starts_with('.')) hidden = run / name;
    }
    // The journal of today lists every entry with its inode; this entry has another inode.
    put(hidden + "/.folder-mtime", get(hidden + "/.folder-mtime") + "1 optimizer.pt\n2 scheduler.pt\n");
    if (is_taken) put(run / "checkpoint-100/optimizer.pt", "a third one");
    const Outcome outcome = execute(look_at(run.path()), keep_last(2));
    CHECK(outcome.leftovers == 0);
    CHECK(outcome.failures.size() == 1);
    const std::string whole = get(kRealCheckpoint + "/optimizer.pt");
    CHECK(get(run / (is_taken ? "kept-checkpoint-100-optimizer.pt" : "checkpoint-100/optimizer.pt")) ==
          whole);
    CHECK(exists(run / "checkpoint-100/scheduler.pt"));
    // Nothing unknown is left: the next run finishes.
    CHECK(execute(look_at(run.path()), keep_last(2)).leftovers == 1);
  }
}

TEST_CASE("execute: a checkpoint that was written again after a cut slimming is not slimmed") {
  for (const bool is_whole : {true, false}) {
    const Run run({100});
    cut_slimming_short(run);
    std::filesystem::copy(kRealCheckpoint + "/optimizer.pt", run / "checkpoint-100/optimizer.pt");
    const timespec later[2] = {{0, UTIME_OMIT}, {::time(nullptr) + 2, 0}};
    ::utimensat(AT_FDCWD, (run / "checkpoint-100").c_str(), later, 0);
    if (is_whole)
      put(run / "checkpoint-100/trainer_state.json", get(run / "checkpoint-100/trainer_state.json"));
    const Outcome outcome = execute(look_at(run.path()), keep_last(1));
    CHECK(outcome.leftovers == 1);
    CHECK(names_in(run.path()) == checkpoints({100}));
    CHECK(names_in(run / "checkpoint-100") == kWhole);
  }
}

// A deletion is killed after each tree: whatever has the name of a checkpoint is complete, and the next run
// finishes the rest. (tests/cli/system-faults.bats kills at the system calls before that.)
TEST_CASE("execute: killed after each deleted tree") {
  std::vector<std::string> slim;
  for (const std::string& name : kWhole) {
    if (name != "optimizer.pt" && name != "scheduler.pt" && name != "rng_state.pth") slim.push_back(name);
  }
  Policy policy = keep_last(3);
  policy.keep_optimizer_last = 1;
  constexpr int kTrees = 5;  // three checkpoints and the training state of two
  for (int last = 1; last <= kTrees; ++last) {
    CAPTURE(last);
    const Run run({100, 200, 300, 400, 500, 600});
    std::map<std::string, std::int64_t> times;
    for (const std::string& name : names_in(run.path())) times[name] = mtime_of(run / name);
    const int status = in_child([&] {
      int gone = 0;
      const auto die = [&](std::uint64_t) {
        if (++gone == last) ::raise(SIGKILL);
      };
      execute(look_at(run.path()), policy,
              {.on_freed = die});  // one thread, so that no other continues meanwhile
    });
    REQUIRE(WIFSIGNALED(status));
    std::vector<std::string> visible, hidden;
    for (const std::string& name : names_in(run.path()))
      (name.starts_with('.') ? hidden : visible).push_back(name);
    CHECK(visible == checkpoints({400, 500, 600}));
    CHECK(hidden.size() == static_cast<std::size_t>(kTrees - last));
    const LookedAt again = look_at(run.path());
    for (const CheckpointFacts& c : again.run().checkpoints) CHECK(c.is_complete());
    CHECK(execute(again, policy, {.threads = 2}).failures.empty());
    CHECK(names_in(run.path()) == checkpoints({400, 500, 600}));
    CHECK(names_in(run / "checkpoint-400") == slim);
    CHECK(names_in(run / "checkpoint-500") == slim);
    CHECK(names_in(run / "checkpoint-600") == kWhole);
    for (const std::string& name : names_in(run.path())) CHECK(mtime_of(run / name) == times[name]);
  }
}

TEST_CASE("execute: two runs at once: the second is asked to come back later") {
  const Run run({100, 200});
  const LookedAt at = look_at(run.path());
  lock_run(at.folders.front());
  const int result = result_of_child([&] {
    const LookedAt second = look_at(run.path());
    const bool refused = error_of([&] { lock_run(second.folders.front()); }) == ErrorKind::kTemporary;
    return refused ? kChildPassed : 1;
  });
  CHECK(result == kChildPassed);
}
