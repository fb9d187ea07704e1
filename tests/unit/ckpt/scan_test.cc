// SPDX-License-Identifier: Apache-2.0
#include "ckpt/scan.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "ckpt/history.h"
#include "ckpt/report.h"
#include "runs_on_disk.h"
#include "weights/open/probe.h"

using namespace mu;
using namespace mu::testing;

namespace {

std::string torn(const std::string& run) {
  const LookedAt at = look_at(run);
  const CheckpointFacts& c = at.run().checkpoints.at(0);
  return c.condition == Condition::kTorn ? c.why : "";
}

// A run with one sound checkpoint, of step 40.
struct OneCheckpoint {
  TempFolder run;
  std::string path = add_checkpoint(run.path(), 40);
  [[nodiscard]] std::string operator/(std::string_view name) const { return join_path(path, name); }
};

void cut(const std::string& path, std::size_t size) {
  put(path, get(path).substr(0, size));
}

std::string step_folder(const TempFolder& run, const std::string& fixture) {
  std::filesystem::copy(std::string(MU_FIXTURES) + "/" + fixture + "/checkpoint-1", run / "checkpoint-1",
                        std::filesystem::copy_options::recursive);
  put(run / "checkpoint-1/trainer_state.json", R"({"global_step": 1, "log_history": []})");
  return run / "checkpoint-1";
}

}  // namespace

TEST_CASE("scan: only folders with strict names are candidates") {
  const TempFolder run;
  add_checkpoint(run.path(), 40);
  for (const char* name : {"checkpoint-007", "checkpoint-", "checkpoint-7x", "checkpoint-7-old",
                           "tmp-checkpoint-7", "checkpoint-best", "checkpoint-+7", "checkpoint-7\n",
                           "checkpoint-99999999999999999999999", "runs", ".checkpoint-7", "global_step7"})
    std::filesystem::create_directory(run / name);
  put(run / "checkpoint-8", "a file");
  std::filesystem::create_directory_symlink(run / "checkpoint-40", run / "checkpoint-9");
  std::filesystem::create_directory(run / "checkpoint-0");
  std::filesystem::create_directory(run / "checkpoint-9223372036854775807");
  const LookedAt at = look_at(run.path());
  std::vector<std::string> names;
  for (const CheckpointFacts& c : at.run().checkpoints) names.push_back(c.name);
  CHECK(names == std::vector<std::string>{"checkpoint-0", "checkpoint-40", "checkpoint-9223372036854775807"});
  CHECK(at.of(40).condition == Condition::kResumable);
  CHECK(at.of(40).linked_by.has_value());
  CHECK(at.of(0).why == "is empty");
}

TEST_CASE("scan: a sound checkpoint and its contents") {
  const OneCheckpoint one;
  const LookedAt at = look_at(one.run.path());
  const CheckpointFacts& c = at.of(40);
  CHECK(c.condition == Condition::kResumable);
  CHECK(c.has_optimizer);
  CHECK(*c.epoch == doctest::Approx(13.333).epsilon(0.001));
  CHECK(at.run().rank_value(c) == 2.994823932647705);
  CHECK(at.run().best == "checkpoint-40");
  CHECK(at.run().metric.name == "eval_loss");
  CHECK(at.run().metric.lower_is_better == true);
  std::vector<std::string> training;
  for (const TrainingEntry& entry : c.training_entries) training.push_back(entry.name);
  CHECK(training == std::vector<std::string>{"optimizer.pt", "rng_state.pth", "scheduler.pt"});
  std::uint64_t sum = 0;
  for (const auto& entry : std::filesystem::directory_iterator(one.path)) sum += entry.file_size();
  CHECK(c.apparent_bytes == sum);
  CHECK(c.content_bytes[static_cast<std::size_t>(Content::kOptimizer)] >
        c.content_bytes[static_cast<std::size_t>(Content::kWeights)]);
}

TEST_CASE("scan: what a crash leaves is torn, and says why") {
  const std::pair<const char*, const char*> missing[] = {
      {"trainer_state.json", "trainer_state.json is missing"}, {"model.safetensors", "no weights"}};
  for (const auto& [name, why] : missing) {
    const OneCheckpoint one;
    std::filesystem::remove(one / name);
    CHECK(torn(one.run.path()) == why);
  }
  for (const char* name : {"checkpoint-is-incomplete.txt", "model.safetensors.tmp", ".nfs000123"}) {
    const OneCheckpoint one;
    put(one / name, "");
    CAPTURE(name);
    CHECK(torn(one.run.path()) != "");
  }
  const OneCheckpoint other_step;
  std::filesystem::rename(other_step.path, other_step.run / "checkpoint-41");
  CHECK(torn(other_step.run.path()) == "trainer_state.json is for step 40");
  const OneCheckpoint rank_lost;
  std::filesystem::rename(rank_lost / "rng_state.pth", rank_lost / "rng_state_1.pth");
  CHECK(torn(rank_lost.run.path()) == "random states of 1 rank, 2 expected: rank 0's is missing");
  const OneCheckpoint sound;
  CHECK(torn(sound.run.path()) == "");
}

TEST_CASE("scan: without optimizer or scheduler it is for inference only") {
  for (const char* name : {"optimizer.pt", "scheduler.pt"}) {
    const OneCheckpoint one;
    std::filesystem::remove(one / name);
    const LookedAt at = look_at(one.run.path());
    CHECK(at.of(40).condition == Condition::kInferenceOnly);
    CHECK_FALSE(at.of(40).training_entries.empty());
  }
}

TEST_CASE("scan: every file cut anywhere is noticed") {
  for (const char* name : {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth",
                           "training_args.bin", "trainer_state.json", "config.json"}) {
    const OneCheckpoint one;
    const std::string whole = get(one / name);
    const std::size_t step = std::max<std::size_t>(1, whole.size() / 40);
    // A JSON config need only be there; a state may lack its last newline.
    const std::size_t most = std::string_view(name) == "config.json"
                                 ? 1
                                 : whole.size() - (std::string_view(name) == "trainer_state.json" ? 1 : 0);
    for (std::size_t size = 0; size < most; size += step) {
      CAPTURE(name);
      CAPTURE(size);
      put(one / name, std::string_view(whole).substr(0, size));
      CHECK(torn(one.run.path()).find(name) != std::string::npos);
    }
    put(one / name, whole);
    CHECK(torn(one.run.path()) == "");
  }
}

TEST_CASE("scan: of long states only the ends are read, the newest is parsed") {
  const TempFolder run;
  std::string entries;
  for (int i = 0; i < 2000; ++i)
    entries += fmt::format("{}{{\"loss\": NaN, \"step\": {}}}", i == 0 ? "" : ", ", i);
  for (const std::uint64_t step : {40U, 50U, 60U}) {
    add_checkpoint(run.path(), step);
    put(run / fmt::format("checkpoint-{}/trainer_state.json", step),
        fmt::format("{{\"epoch\": {}.5, \"global_step\": {}, \"log_history\": [{}], \"max_steps\": 9}}\n",
                    step, step, entries));
  }
  REQUIRE(get(run / "checkpoint-40/trainer_state.json").size() > 32768);
  LookedAt at = look_at(run.path());
  CHECK(at.of(40).condition == Condition::kResumable);
  CHECK(at.of(40).epoch == 40.5);
  const std::string state = run / "checkpoint-40/trainer_state.json";
  cut(state, get(state).size() - 20);
  CHECK(look_at(run.path()).of(40).condition == Condition::kTorn);
  // Broken in the middle: noticed if everything depends on it, or with deep.
  const std::string newest = run / "checkpoint-60/trainer_state.json",
                    middle = run / "checkpoint-50/trainer_state.json";
  for (const std::string& path : {newest, middle}) {
    std::string text = get(path);
    text[text.size() / 2] = '\0';
    put(path, text);
  }
  at = look_at(run.path());
  CHECK(at.of(60).condition == Condition::kTorn);
  CHECK(at.of(50).condition == Condition::kTorn);  // everything would depend on this one next
}

TEST_CASE("scan: sharded sets against their index") {
  const OneCheckpoint one;
  std::filesystem::remove(one / "model.safetensors");
  for (const char* name : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                           "model-00003-of-00003.safetensors", "model.safetensors.index.json"})
    std::filesystem::copy(std::string(MU_FIXTURES) + "/sharded/" + name, one / name);
  CHECK(torn(one.run.path()) == "");
  std::filesystem::rename(one / "model-00002-of-00003.safetensors", one.run / "x");
  CHECK(torn(one.run.path()).find("model-00002-of-00003.safetensors, which is missing") != std::string::npos);
  std::filesystem::rename(one.run / "x", one / "model-00002-of-00003.safetensors");
  put(one / "model.safetensors.index.json", "{\"weight_map\": {");
  CHECK(torn(one.run.path()).find("model.safetensors.index.json") != std::string::npos);
  std::filesystem::remove(one / "model.safetensors.index.json");
  CHECK(torn(one.run.path()).find("index") != std::string::npos);
}

TEST_CASE("scan: partitions of DeepSpeed and FSDP: the only weights are never taken for training state") {
  const TempFolder zero3;
  const std::string path = step_folder(zero3, "zero3-run");
  LookedAt at = look_at(zero3.path());
  CHECK(at.of(1).condition == Condition::kResumable);
  CHECK(at.of(1).training_entries.empty());
  CHECK(at.of(1).slim_block != "");
  // Placeholders without data beside the partitions are not weights.
  put(join_path(path, "model.safetensors"),
      safetensors(R"({"w":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 0));
  CHECK(look_at(zero3.path()).of(1).training_entries.empty());
  // A .bin may consist of placeholders, which only opening it would show.
  std::filesystem::remove(join_path(path, "model.safetensors"));
  std::filesystem::copy(kRealCheckpoint + "/optimizer.pt", join_path(path, "pytorch_model.bin"));
  CHECK(look_at(zero3.path()).of(1).training_entries.empty());
  std::filesystem::copy(kRealCheckpoint + "/model.safetensors", join_path(path, "model.safetensors"));
  at = look_at(zero3.path());
  std::vector<std::string> training;
  for (const TrainingEntry& entry : at.of(1).training_entries) training.push_back(entry.name);
  CHECK(training ==
        std::vector<std::string>{"global_step1", "latest", "zero_to_fp32.py", "zero_to_torch.py"});

  for (const char* lost :
       {"bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "zero_pp_rank_1_mp_rank_00_model_states.pt"}) {
    const TempFolder run;
    std::filesystem::remove(step_folder(run, "zero3-run") + "/global_step1/" + lost);
    CHECK(torn(run.path()).find("files of 1 rank, 2 expected") != std::string::npos);
  }
  const TempFolder tagless;
  put(step_folder(tagless, "zero2-run") + "/latest", "global_step7");
  CHECK(torn(tagless.path()) == "latest names global_step7, which is missing");
  std::filesystem::remove(join_path(tagless.path(), "checkpoint-1/latest"));
  CHECK(look_at(tagless.path()).of(1).condition == Condition::kInferenceOnly);
  CHECK(look_at(tagless.path()).of(1).why == "latest is missing");

  const TempFolder fsdp;
  const std::string ranks = step_folder(fsdp, "fsdp-run");
  std::filesystem::copy(kRealCheckpoint + "/scheduler.pt", ranks + "/scheduler.pt");
  std::filesystem::copy(ranks + "/pytorch_model_fsdp_0", ranks + "/optimizer_0");
  at = look_at(fsdp.path());
  CHECK(at.of(1).condition == Condition::kResumable);
  training.clear();
  for (const TrainingEntry& entry : at.of(1).training_entries) training.push_back(entry.name);
  CHECK(training == std::vector<std::string>{"optimizer_0", "scheduler.pt"});
  CHECK(look_at(fsdp.path(), {.deep = true}).of(1).condition == Condition::kResumable);
  std::filesystem::remove(ranks + "/pytorch_model_fsdp_0/.metadata");
  CHECK(torn(fsdp.path()) == "pytorch_model_fsdp_0/.metadata is missing");
}

TEST_CASE("scan: --deep finds what the ends don't show") {
  const OneCheckpoint one;
  std::string text = get(one / "optimizer.pt");
  const std::size_t at = text.find("data.pkl") + 200;
  for (std::size_t i = 0; i < 64; ++i) text[at + i] = '\xff';
  put(one / "optimizer.pt", text);
  CHECK(torn(one.run.path()) == "");
  CHECK(look_at(one.run.path(), {.deep = true}).of(40).condition == Condition::kTorn);
  const OneCheckpoint sound;
  CHECK(look_at(sound.run.path(), {.deep = true}).of(40).condition == Condition::kResumable);
}

TEST_CASE("scan: best by name, the newest log for all, and its own for a checkpoint of a later run") {
  const TempFolder run;
  for (const std::uint64_t step : {100U, 200U, 300U}) add_checkpoint(run.path(), step);
  const auto state = [&](std::uint64_t step, const std::string& log) {
    put(run / fmt::format("checkpoint-{}/trainer_state.json", step),
        fmt::format(
            R"({{"best_model_checkpoint": "/gone/elsewhere/checkpoint-200", "global_step": {}, "log_history": [{}]}})",
            step, log));
    const timespec time = {::time(nullptr) - 3600 * (1000 - static_cast<time_t>(step)), 0};
    const timespec times[2] = {time, time};
    ::utimensat(AT_FDCWD, (run / fmt::format("checkpoint-{}/trainer_state.json", step)).c_str(), times, 0);
  };
  const std::string log =
      R"({"eval_loss": 3.0, "step": 100}, {"eval_loss": 1.5, "step": 150}, {"eval_loss": 2.0, "step": 200},
                             {"eval_loss": 2.5, "step": 200}, {"eval_loss": NaN, "step": 300})";
  state(100, R"({"eval_loss": 3.0, "step": 100})");
  state(200, "");
  state(300, log);
  LookedAt at = look_at(run.path());
  CHECK(at.run().best == "checkpoint-200");
  CHECK(at.run().rank_value(at.of(100)) == 3.0);
  CHECK(at.run().rank_value(at.of(200)) == 2.5);
  CHECK_FALSE(at.run().rank_value(at.of(300)).has_value());
  CHECK(unsaved_best_text(at.run()) ==
        "best evaluated step 150 (eval_loss 1.5) is not among the checkpoints; best saved is 200 (2.5)");
  CHECK(at.run().warnings.empty());
  CHECK(at.of(100).lineage == 0);
  CHECK_FALSE(at.of(200).lineage.has_value());
  // The state of the run is newer than that of any checkpoint.
  put(run / "trainer_state.json",
      R"({"best_model_checkpoint": "x/checkpoint-100", "global_step": 301, "log_history": []})");
  CHECK(look_at(run.path()).run().best == "checkpoint-100");
  std::filesystem::remove(run / "trainer_state.json");
  // Another log of the same steps belongs to another run, the one saved last; its own log counts.
  state(100, R"({"eval_loss": 9.0, "step": 100})");
  const timespec now[2] = {{::time(nullptr), 0}, {::time(nullptr), 0}};
  ::utimensat(AT_FDCWD, (run / "checkpoint-100/trainer_state.json").c_str(), now, 0);
  at = look_at(run.path());
  CHECK(at.run().rank_value(at.of(100)) == 9.0);
  CHECK(at.of(100).lineage == 0);
  CHECK(at.of(300).lineage == 1);
  CHECK(at.run().warnings.size() == 1);
}

TEST_CASE("scan: which metric, and in which direction") {
  const std::vector<std::string> logged = {"loss", "eval_loss", "eval_accuracy", "reward"};
  struct Row {
    MetricWish wish;
    RankingArguments arguments;
    const char* name;
    std::optional<bool> lower;
  };
  const Row rows[] = {
      {{}, {}, "eval_loss", true},
      {{"loss", {}}, {}, "eval_loss", true},
      {{"accuracy", {}}, {}, "eval_accuracy", false},
      {{"reward", {}}, {}, "reward", false},
      {{"eval_loss", false}, {}, "eval_loss", false},
      {{}, {"accuracy", true}, "eval_accuracy", false},
      {{}, {"eval_accuracy", false}, "eval_accuracy", true},
      {{"loss", {}}, {"accuracy", true}, "eval_loss", true},
      {{"strange", {}}, {}, "eval_strange", std::nullopt},
      {{"strange", {}}, {"strange", true}, "eval_strange", false},
  };
  for (const Row& row : rows) {
    const RankingMetric metric = choose_metric(row.wish, row.arguments, logged);
    CAPTURE(row.name);
    CHECK(metric.name == row.name);
    CHECK(metric.lower_is_better == row.lower);
  }
}

TEST_CASE("scan: links from outside protect their targets") {
  const TempFolder parent;
  const std::string run = parent / "run";
  std::filesystem::create_directory(run);
  for (const std::uint64_t step : {100U, 200U, 300U, 400U}) add_checkpoint(run, step);
  std::filesystem::create_symlink("run/checkpoint-100", parent / "latest");
  std::filesystem::create_symlink("checkpoint-200", run + "/best");
  std::filesystem::remove(run + "/checkpoint-400/model.safetensors");
  std::filesystem::create_symlink("../checkpoint-300/model.safetensors",
                                  run + "/checkpoint-400/model.safetensors");
  std::filesystem::create_symlink("config.json", run + "/checkpoint-400/same.json");
  const LookedAt at = look_at(run);
  CHECK(at.of(100).linked_by.has_value());
  CHECK(at.of(200).linked_by.has_value());
  CHECK(at.of(300).linked_by.has_value());
  CHECK_FALSE(at.of(400).linked_by.has_value());
  CHECK(at.of(400).condition == Condition::kResumable);
}

TEST_CASE("scan: a file open for writing has a writer, one open for reading has none") {
  const TempFolder run;
  add_checkpoint(run.path(), 100);
  add_checkpoint(run.path(), 200);
  const std::string ready = run / "ready";
  int stop[2];
  REQUIRE(::pipe(stop) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const int writing = ::open((run / "checkpoint-100/config.json").c_str(), O_WRONLY);
    const int reading = ::open((run / "checkpoint-200/config.json").c_str(), O_RDONLY);
    put(ready, "");
    char byte = 0;
    ::close(stop[1]);
    ::_exit(::read(stop[0], &byte, 1) == 0 && writing >= 0 && reading >= 0 ? 0 : 1);
  }
  ::close(stop[0]);
  while (!exists(ready)) ::usleep(100);
  const LookedAt at = look_at(run.path());
  ::close(stop[1]);
  ::waitpid(child, nullptr, 0);
  CHECK(at.of(100).writer == std::to_string(child));
  CHECK_FALSE(at.of(200).writer.has_value());
}

TEST_CASE("runs: names by pattern and their numbers") {
  for (const char* open : {"*", "", "???", "[!.]*"}) {
    CAPTURE(open);
    CHECK(error_of([&] { const CheckpointNames any(open); }) == ErrorKind::kUsage);
  }
  const CheckpointNames names("*epoch=*.ckpt");
  CHECK(names.matches("epoch=3-step=1500.ckpt", false));
  CHECK_FALSE(names.matches(".epoch=3.ckpt", false));
  CHECK_FALSE(names.matches("epoch=3.ckpt.tmp", false));
  CHECK(names.number_of("epoch=3-step=1500-val_loss=0.25.ckpt") == 1500);
  CHECK(names.number_of("epoch=03-val_loss=0.25.ckpt") == 3);
  CHECK(names.number_of("step_0007") == 7);
  CHECK(names.number_of("iter-90-v2") == 90);
  CHECK(names.number_of("model12b-v3.pt") == 3);
  CHECK(names.number_of("checkpoint_1_5000.pt") == 5000);
  CHECK(names.number_of("weights12.h5") == 12);
  CHECK(names.number_of("elastic-12") == 12);
  CHECK(names.number_of("llama-7b-40") == 40);
  CHECK(names.number_of("best-epoch=3-step=70.ckpt") == 70);
  for (const char* name :
       {"last.ckpt", "last-v1.ckpt", "checkpoint_best.pt", "checkpoint.best_loss_2.3456.pt", "weights.h5",
        "llama-7b", "loss-0.25.pt", "Best-12.pt"}) {
    CAPTURE(name);
    CHECK_FALSE(names.number_of(name).has_value());
  }
  CHECK_FALSE(names.number_of("step_99999999999999999999").has_value());
}

TEST_CASE("report: sparkline") {
  CHECK(sparkline({1, 2, 3, 4, 5, 6, 7, 8}, 8) == "▁▂▃▄▅▆▇█");
  CHECK(sparkline({5, 5}, 10) == "▁▁");
  CHECK(sparkline({0, 0, 10, 10}, 2) == "▁█");
  CHECK(sparkline({1, std::nan(""), 2}, 3) == "▁ █");
  CHECK(sparkline({}, 3).empty());
}
