// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <vector>

#include "runs_on_disk.h"

using namespace mu;
using namespace mu::testing;

namespace {

const std::string kTorch = kRealCheckpoint + "/scheduler.pt";

// A run that is built file by file.
struct RunByHand {
  TempFolder folder;

  void torch(const std::string& name) const { copy(kTorch, name); }
  void weights(const std::string& name) const { copy(kRealCheckpoint + "/model.safetensors", name); }
  void text(const std::string& name, std::string_view text) const {
    make_folder(name);
    put(folder / name, text);
  }
  void remove(const std::string& name) const { std::filesystem::remove_all(folder / name); }
  void cut(const std::string& name, std::size_t bytes) const {
    const std::string whole = get(folder / name);
    put(folder / name, whole.substr(0, whole.size() - bytes));
  }
  void fixture(const std::string& from, const std::string& name) const {
    make_folder(name);
    std::filesystem::copy(std::string(MU_FIXTURES) + "/" + from, folder / name,
                          std::filesystem::copy_options::recursive);
  }

  [[nodiscard]] CheckpointFacts facts(const std::string& pattern = "") const {
    const CheckpointNames names = pattern.empty() ? CheckpointNames() : CheckpointNames(pattern);
    return look_at(folder.path(), {}, names).run().checkpoints.at(0);
  }
  [[nodiscard]] Condition condition(const std::string& pattern = "") const {
    return facts(pattern).condition;
  }
  [[nodiscard]] std::string fault(const std::string& pattern = "") const {
    const CheckpointFacts found = facts(pattern);
    return found.condition == Condition::kTorn ? found.why : "";
  }

 private:
  void make_folder(const std::string& name) const {
    std::filesystem::create_directories(std::filesystem::path(folder / name).parent_path());
  }
  void copy(const std::string& from, const std::string& name) const {
    make_folder(name);
    std::filesystem::copy(from, folder / name);
  }
};

// As the scripts of diffusers write it, with accelerate.
void add_diffusers(const RunByHand& run, const std::string& at, const char* weights) {
  run.weights(at + weights);
  for (const char* name :
       {"optimizer.bin", "scheduler.bin", "random_states_0.pkl", "sampler.bin", "custom_checkpoint_0.pkl"})
    run.torch(at + name);
}

// As verl writes it.
void add_verl(const RunByHand& run, const std::string& at) {
  for (const char* kind : {"model", "optim", "extra_state"}) {
    for (int rank = 0; rank < 2; ++rank)
      run.torch(fmt::format("{}actor/{}_world_size_2_rank_{}.pt", at, kind, rank));
  }
  run.text(at + "actor/huggingface/config.json", "{}");
  run.torch(at + "data.pt");
}

}  // namespace

TEST_CASE("layouts: every file that the metadata of a torch checkpoint name, also those of the optimizer") {
  for (const bool by_pattern : {false, true}) {
    const std::string pattern = by_pattern ? "checkpoint-*" : "";
    const RunByHand run;
    run.fixture("fsdp-run/checkpoint-1", "checkpoint-1");
    run.fixture("fsdp-run/checkpoint-1/pytorch_model_fsdp_0", "checkpoint-1/optimizer_0");
    run.torch("checkpoint-1/scheduler.pt");
    run.text("checkpoint-1/trainer_state.json", R"({"global_step": 1, "log_history": []})");
    CHECK(run.condition(pattern) == Condition::kResumable);
    for (const std::string folder : {"checkpoint-1/pytorch_model_fsdp_0/", "checkpoint-1/optimizer_0/"}) {
      for (const char* name : {"__0_0.distcp", "__1_0.distcp"}) {
        const std::string whole = get(run.folder / (folder + name));
        run.cut(folder + name, 1);
        CHECK(run.fault(pattern).find(std::string(name) + " is cut") != std::string::npos);
        run.remove(folder + name);
        CHECK(run.fault(pattern).find(std::string(name) + " is missing") != std::string::npos);
        put(run.folder / (folder + name), whole);
      }
    }
    CHECK(run.fault(pattern).empty());
    // Files that are not named may be there.
    run.text("checkpoint-1/optimizer_0/__7_0.distcp", "");
    run.torch("checkpoint-1/rng_state_0.pth");
    CHECK(run.fault(pattern) == "random states of 1 rank, 8 expected: rank 1's is missing");
  }
}

TEST_CASE("layouts: metadata of torch, cut anywhere") {
  const RunByHand run;
  run.fixture("fsdp-run/checkpoint-1/pytorch_model_fsdp_0", "step-1");
  CHECK(run.condition("step-*") == Condition::kResumable);
  CHECK(run.facts("step-*").shows_complete);
  const std::string whole = get(run.folder / "step-1/.metadata");
  for (std::size_t size = 0; size < whole.size(); size += 97) {
    put(run.folder / "step-1/.metadata", whole.substr(0, size));
    CAPTURE(size);
    CHECK(run.fault("step-*").find(".metadata") != std::string::npos);
  }
}

TEST_CASE("layouts: DeepSpeed has as many files as they say, in a folder of the Trainer or by pattern") {
  for (const char* fixture : {"zero2-run", "zero3-run"}) {
    const std::string from = std::string(fixture) + "/checkpoint-1/global_step1";
    const RunByHand run;
    run.fixture(from, "global_step1");
    CHECK(run.condition("global_step*") == Condition::kResumable);
    CHECK(run.facts("global_step*").shows_complete);
    for (const std::string& name : names_in(std::string(MU_FIXTURES) + "/" + from)) {
      CAPTURE(name);
      const std::string whole = get(run.folder / ("global_step1/" + name));
      run.cut("global_step1/" + name, 30);
      CHECK(run.fault("global_step*").find(name) != std::string::npos);
      run.remove("global_step1/" + name);
      CHECK(run.fault("global_step*") != "");
      put(run.folder / ("global_step1/" + name), whole);
    }
  }
}

TEST_CASE("layouts: verl: every kind of file for every rank") {
  const std::string pattern = "global_step_*", at = "global_step_5/";
  const RunByHand run;
  add_verl(run, at);
  CHECK(run.condition(pattern) == Condition::kResumable);
  CHECK(run.facts(pattern).has_optimizer);
  CHECK(run.facts(pattern).rank_sets ==
        std::vector<std::string>{"actor/extra_state.pt", "actor/model.pt", "actor/optim.pt"});
  CHECK(run.facts(pattern).shows_complete);
  for (const char* kind : {"model", "optim", "extra_state"}) {
    for (int rank = 0; rank < 2; ++rank) {
      const std::string name = fmt::format("{}actor/{}_world_size_2_rank_{}.pt", at, kind, rank);
      run.remove(name);
      CHECK(run.fault(pattern) != "");
      run.torch(name);
      run.cut(name, 10);
      CHECK(run.fault(pattern).find("cut") != std::string::npos);
      run.remove(name);
      run.torch(name);
    }
  }
  run.torch(at + "critic/model_world_size_2_rank_1.pt");
  CHECK(run.fault(pattern) != "");
  run.remove(at + "critic");
  run.remove(at + "data.pt");
  CHECK(run.condition(pattern) == Condition::kResumable);
  CHECK_FALSE(run.facts(pattern).shows_complete);
}

TEST_CASE("layouts: Megatron's folders of ranks, and the distributed kind") {
  const std::string pattern = "iter_*";
  const RunByHand run;
  for (const char* rank : {"00", "01"}) {
    for (const char* name : {"model_optim_rng.pt", "distrib_optim.pt"})
      run.torch(fmt::format("iter_0000010/mp_rank_{}/{}", rank, name));
  }
  CHECK(run.condition(pattern) == Condition::kResumable);
  CHECK(run.facts(pattern).number == 10);
  CHECK(run.facts(pattern).rank_sets == std::vector<std::string>{"mp_rank_00", "mp_rank_01"});
  run.remove("iter_0000010/mp_rank_01/distrib_optim.pt");
  CHECK(run.fault(pattern) == "mp_rank_01/distrib_optim.pt is missing");
  run.torch("iter_0000010/mp_rank_01/distrib_optim.pt");
  run.remove("iter_0000010/mp_rank_00/distrib_optim.pt");
  CHECK(run.fault(pattern) == "mp_rank_00/distrib_optim.pt is missing");
  run.remove("iter_0000010/mp_rank_01/distrib_optim.pt");
  run.remove("iter_0000010/mp_rank_01/model_optim_rng.pt");
  CHECK(run.fault(pattern) == "mp_rank_01/ holds no state");
  run.remove("iter_0000010/mp_rank_00");
  CHECK(run.fault(pattern) == "1 mp_rank folders, 2 expected");
  run.remove("iter_0000010");
  run.fixture("fsdp-run/checkpoint-1/pytorch_model_fsdp_0", "iter_0000010");
  run.torch("iter_0000010/common.pt");
  run.text("iter_0000010/metadata.json", R"({"sharded_backend": "torch_dist"})");
  CHECK(run.condition(pattern) == Condition::kResumable);
  run.remove("iter_0000010/.metadata");
  CHECK(run.fault(pattern) == ".metadata is missing");
  run.fixture("fsdp-run/checkpoint-1/pytorch_model_fsdp_0", "iter_0000020/weights");
  run.remove("iter_0000010");
  run.text("iter_0000020/weights/metadata.json",
           R"({"sharded_backend": "torch_dist", "common_backend": "torch"})");
  CHECK(run.fault(pattern) == "weights/common.pt is missing");
  run.torch("iter_0000020/weights/common.pt");
  CHECK(run.condition(pattern) == Condition::kResumable);
}

TEST_CASE("layouts: accelerate and diffusers write no trainer_state.json") {
  for (const char* weights : {"unet/diffusion_pytorch_model.safetensors", "pytorch_lora_weights.safetensors",
                              "model.safetensors", "odd_name.safetensors"}) {
    for (const std::string pattern : {"", "checkpoint-*"}) {
      CAPTURE(weights);
      const RunByHand run;
      add_diffusers(run, "checkpoint-500/", weights);
      CHECK(run.condition(pattern) == Condition::kResumable);
      CHECK(run.facts(pattern).shows_complete);
      CHECK(run.facts(pattern).slim_block.empty());
      run.cut(std::string("checkpoint-500/") + weights, 1);
      CHECK(run.fault(pattern).find(weights) != std::string::npos);
      run.remove(std::string("checkpoint-500/") + weights);
      CHECK(run.fault(pattern) == "no weights");
    }
  }
  const RunByHand run;
  add_diffusers(run, "checkpoint-500/", "model.safetensors");
  run.remove("checkpoint-500/scheduler.bin");
  CHECK(run.condition() == Condition::kResumable);
  run.torch("checkpoint-500/random_states_2.pkl");
  CHECK(run.fault() == "random states of 2 ranks, 3 expected: rank 1's is missing");
  run.remove("checkpoint-500/random_states_2.pkl");
  run.remove("checkpoint-500/random_states_0.pkl");
  CHECK(run.fault() == "random_states_0.pkl is missing");
  run.torch("checkpoint-500/random_states_0.pkl");
  run.remove("checkpoint-500/optimizer.bin");
  CHECK(run.condition() == Condition::kInferenceOnly);
}

TEST_CASE("layouts: each adapter needs its weights") {
  const RunByHand run;
  add_checkpoint(run.folder.path(), 500);
  run.remove("checkpoint-500/model.safetensors");
  for (const char* at : {"checkpoint-500/", "checkpoint-500/reference/"}) {
    run.weights(std::string(at) + "adapter_model.safetensors");
    run.text(std::string(at) + "adapter_config.json", "{}");
  }
  CHECK(run.condition() == Condition::kResumable);
  run.weights("checkpoint-500/value_head.safetensors");
  run.remove("checkpoint-500/adapter_model.safetensors");
  CHECK(run.fault() == "adapter_config.json is there, but the weights of the adapter are missing");
  run.torch("checkpoint-500/adapter_model.bin");
  CHECK(run.condition() == Condition::kResumable);
  run.remove("checkpoint-500/reference/adapter_model.safetensors");
  CHECK(run.fault() == "reference/adapter_config.json is there, but the weights of the adapter are missing");
  // The partitions of the ranks may hold it.
  run.fixture("fsdp-run/checkpoint-1/pytorch_model_fsdp_0", "checkpoint-500/pytorch_model_fsdp_0");
  CHECK(run.fault().empty());
}

TEST_CASE("layouts: a slimmed checkpoint of any trainer is complete, but can't be resumed from") {
  for (const bool is_accelerate : {true, false}) {
    const RunByHand run;
    add_diffusers(run, "checkpoint-500/", "unet/diffusion_pytorch_model.safetensors");
    if (!is_accelerate) {
      run.remove("checkpoint-500");
      add_checkpoint(run.folder.path(), 500);
    }
    const CheckpointFacts whole = run.facts();
    CHECK(whole.condition == Condition::kResumable);
    CHECK(!whole.training_entries.empty());
    for (const TrainingEntry& entry : whole.training_entries) run.remove("checkpoint-500/" + entry.name);
    const CheckpointFacts slim = run.facts();
    CAPTURE(slim.why);
    CHECK(slim.condition == Condition::kInferenceOnly);
    CHECK(slim.shows_complete);
    CHECK(run.condition("checkpoint-*") == Condition::kInferenceOnly);
    CHECK_FALSE(slim.slim_block.empty());
  }
}

TEST_CASE("layouts: beside the Trainer's checkpoints one without a state is torn, by pattern too") {
  for (const std::string pattern : {"", "checkpoint-*"}) {
    const RunByHand run;
    add_checkpoint(run.folder.path(), 300);
    run.weights("checkpoint-400/model.safetensors");
    const auto last = [&] {
      const CheckpointNames names = pattern.empty() ? CheckpointNames() : CheckpointNames(pattern);
      return look_at(run.folder.path(), {}, names).run().checkpoints.at(1);
    };
    CHECK(last().condition == Condition::kTorn);
    CHECK(last().why.starts_with("trainer_state.json is missing"));
    add_diffusers(run, "checkpoint-400/", "unet/diffusion_pytorch_model.safetensors");
    CHECK(last().condition == Condition::kResumable);
  }
}

TEST_CASE("layouts: shards of either format need their index, or one file of all") {
  for (const std::string extension : {".safetensors", ".bin"}) {
    const std::string stem = extension == ".bin" ? "pytorch_model" : "model";
    const RunByHand run;
    for (const char* part : {"-00001-of-00002", "-00002-of-00002"}) {
      const std::string name = "step_1/" + stem + part + extension;
      extension == ".bin" ? run.torch(name) : run.weights(name);
    }
    CHECK(run.fault("step_*") == "the index of " + stem + "-00001-of-00002" + extension + " is missing");
    const std::string whole = "step_1/" + stem + extension;
    extension == ".bin" ? run.torch(whole) : run.weights(whole);
    CHECK(run.fault("step_*").empty());
  }
}

TEST_CASE("layouts: unrelated files beside the weights don't matter") {
  const RunByHand run;
  std::filesystem::copy(kRealCheckpoint, run.folder / "checkpoint-40",
                        std::filesystem::copy_options::recursive);
  for (const char* name :
       {"openvino_model.bin", "ggml-model.bin", "model.bin", "tf_model.h5", "flax_model.msgpack",
        "model.onnx", "rust_model.ot", "export.pt", "notes.safetensors", "traced.pth", "onnx/model.onnx_data",
        "openvino/openvino_model.bin"}) {
    for (const char* text : {"", "PK\x03\x04", "\xcd\xcc\xcc\x3d"}) {
      run.text(std::string("checkpoint-40/") + name, text);
      CAPTURE(name);
      CHECK(run.condition() == Condition::kResumable);
    }
  }
}

TEST_CASE("layouts: a tensor that an index names must be in its shard") {
  const auto shard = [](const char* name) {
    return safetensors(
        fmt::format(
            R"({{"__metadata__":{{"format":"pt"}},"{}":{{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}}})",
            name),
        4);
  };
  const RunByHand run;
  const std::string at = "step_1/";
  run.text(at + "model-00001-of-00002.safetensors", shard("a"));
  run.text(at + "model-00002-of-00002.safetensors", shard("b"));
  const auto name_in_second = [&](const char* name) {
    run.text(at + "model.safetensors.index.json",
             fmt::format(R"({{"weight_map": {{"a": "model-00001-of-00002.safetensors",
                             "{}": "model-00002-of-00002.safetensors"}}}})",
                         name));
  };
  name_in_second("b");
  CHECK(run.condition("step_*") == Condition::kResumable);
  name_in_second("c");
  CHECK(run.fault("step_*") ==
        "model.safetensors.index.json names c, which model-00002-of-00002.safetensors lacks");
  // A single file wins over an index, which is then a leftover.
  run.weights(at + "model.safetensors");
  CHECK(run.condition("step_*") == Condition::kResumable);
}

TEST_CASE("layouts: a mark beside a checkpoint, or its own name, says that it is not finished") {
  const RunByHand run;
  add_diffusers(run, "checkpoint-500/", "model.safetensors");
  run.text("checkpoint-500-unfinished", "");
  CHECK(run.fault() == "a mark beside it says that it is not finished");
  const RunByHand file;
  file.torch("m--step=100.ckpt");
  CHECK(file.condition("m--step=*") == Condition::kResumable);
  file.text("m--step=100-unfinished", "");
  CHECK(file.fault("m--step=*") == "a mark beside it says that it is not finished");
  const RunByHand staged;
  staged.weights("step_5.tmp/model.safetensors");
  CHECK(staged.fault("step_*") == "its name says that it is not finished");
}

TEST_CASE("layouts: a pattern takes only what holds weights or training state") {
  const RunByHand run;
  for (const char* name : {"step_1.pt", "step_2.pth.tar", "step_3/odd.pt", "step_4/optimizer.bin"})
    run.torch(name);
  run.text("step_5.pt", "");
  run.weights("step_6/unet/diffusion_pytorch_model.safetensors");
  run.text("step_10.log", "a log");
  run.text("step_16.zip", "PK\x03\x04 an archive of logs");
  run.text("step_17.pkl", "\x80\x04}.");
  run.text("step_11.json", "{}");
  run.text("step_12/config.json", "{}");
  run.text("step_13/openvino_model.bin", "\xcd\xcc\xcc\x3d");
  run.text("step_14/eval.bin", "\xcd\xcc\xcc\x3d");
  std::filesystem::create_directory(run.folder / "step_15");
  run.torch("step_best.pt");
  const LookedAt at = look_at(run.folder.path(), {}, CheckpointNames("step_*"));
  std::vector<std::string> names;
  for (const CheckpointFacts& c : at.run().checkpoints) names.push_back(c.name);
  CHECK(names ==
        std::vector<std::string>{"step_1.pt", "step_2.pth.tar", "step_3", "step_4", "step_5.pt", "step_6"});
  CHECK(at.of(4).why == "no weights");
  CHECK(at.of(5).why == "is empty");
  CHECK(at.of(1).shows_complete);
  CHECK_FALSE(at.of(6).shows_complete);
  CHECK(at.run().left_alone ==
        std::vector<std::string>{"left alone, neither weights nor training state: step_10.log, step_11.json, "
                                 "step_12, step_13, step_14 and 3 more",
                                 "left alone, no number in the name, unlike the others: step_best.pt"});
}

TEST_CASE("layouts: a node's own disk holds only the files of its ranks") {
  const RunByHand run;
  for (int rank = 8; rank < 16; ++rank) {
    run.torch(fmt::format("checkpoint-1/rng_state_{}.pth", rank));
    run.torch(fmt::format("checkpoint-1/global_step1/bf16_zero_pp_rank_{}_mp_rank_00_optim_states.pt", rank));
  }
  CheckpointFacts facts = run.facts();
  CHECK(facts.is_rank_only);
  CHECK(facts.is_complete());
  CHECK_FALSE(facts.shows_complete);
  run.remove("checkpoint-1/rng_state_9.pth");
  CHECK(run.fault() == "rng_state of rank 9 is missing between those of other ranks");
  run.torch("checkpoint-1/rng_state_9.pth");
  run.weights("checkpoint-1/model.safetensors");
  facts = run.facts();
  CHECK_FALSE(facts.is_rank_only);
  CHECK(facts.condition == Condition::kTorn);
}

TEST_CASE("layouts: the training arguments say how many processes there were") {
  const RunByHand run;
  std::filesystem::copy(kRealCheckpoint, run.folder / "checkpoint-40",
                        std::filesystem::copy_options::recursive);
  run.remove("checkpoint-40/rng_state.pth");
  run.torch("checkpoint-40/rng_state_0.pth");
  CHECK(run.condition() == Condition::kResumable);  // one process trained the fixture
  const std::string arguments = run.folder / "checkpoint-40/training_args.bin";
  std::string bytes = get(arguments);
  // X, length, name, q and a memo, then BININT1 and the number.
  const std::size_t at = bytes.find("num_processes");
  REQUIRE(at != std::string::npos);
  const std::size_t value = bytes.find('K', at);
  REQUIRE(value < at + 24);
  bytes[value + 1] = 4;
  put(arguments, bytes);
  CHECK(run.fault() == "random states of 1 rank, 4 expected: rank 1's is missing");
  for (int rank = 1; rank < 4; ++rank) run.torch(fmt::format("checkpoint-40/rng_state_{}.pth", rank));
  CHECK(run.condition() == Condition::kResumable);
}

// Makes an argument that is False True.
void set_true(const std::string& arguments, const std::string& name) {
  std::string bytes = get(arguments);
  // X, length, name, q and a memo, then NEWTRUE or NEWFALSE.
  const std::size_t at = bytes.find(name);
  REQUIRE(at != std::string::npos);
  const std::size_t value = bytes.find('\x89', at);
  REQUIRE(value < at + name.size() + 9);
  bytes[value] = '\x88';
  put(arguments, bytes);
}

TEST_CASE("layouts: with save_on_each_node other nodes have no weights") {
  const RunByHand run;
  std::filesystem::copy(kRealCheckpoint, run.folder / "checkpoint-40",
                        std::filesystem::copy_options::recursive);
  for (const char* const name : {"rng_state.pth", "model.safetensors", "config.json"})
    run.remove(std::string("checkpoint-40/") + name);
  run.torch("checkpoint-40/rng_state_1.pth");
  CHECK_FALSE(run.fault().empty());
  set_true(run.folder / "checkpoint-40/training_args.bin", "save_on_each_node");
  CHECK(run.condition() == Condition::kResumable);
  CHECK_FALSE(run.facts().slim_block.empty());
  run.torch("checkpoint-40/rng_state_0.pth");  // the first node has them
  CHECK(run.fault() == "no weights");
  run.remove("checkpoint-40/rng_state_0.pth");
  run.remove("checkpoint-40/trainer_state.json");
  CHECK(run.condition() == Condition::kTorn);
}

TEST_CASE("layouts: a run that saves only the model says so itself") {
  const RunByHand run;
  std::filesystem::copy(kRealCheckpoint, run.folder / "checkpoint-40",
                        std::filesystem::copy_options::recursive);
  run.remove("checkpoint-40/optimizer.pt");
  CHECK(run.condition() == Condition::kInferenceOnly);
  CHECK_FALSE(run.facts().saves_model_only);
  set_true(run.folder / "checkpoint-40/training_args.bin", "save_only_model");
  CHECK(run.facts().saves_model_only);
}
