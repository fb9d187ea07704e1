// SPDX-License-Identifier: Apache-2.0
#include "ckpt/trackers.h"

#include <doctest/doctest.h>

#include "runs_on_disk.h"

using namespace mu;
using namespace mu::testing;

TEST_CASE("trackers: meaning of texts and names") {
  struct Row {
    const char* text;
    const char* entry;
    std::optional<std::uint64_t> number;
  };
  const Row rows[] = {{"100", "100", 100},
                      {" 0000100\n", "0000100", 100},
                      {"global_step200", "global_step200", {}},
                      {"checkpoint-30/\n", "checkpoint-30", {}},
                      {"release", "release", {}},
                      {"99999999999999999999999", "99999999999999999999999", {}},
                      {"-1", "-1", {}},
                      {"", "", {}},
                      {"..", "", {}},
                      {"/x/global_step200", "", {}},
                      {"../b/global_step200", "", {}}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const Tracker tracker = parse_tracker("latest", row.text);
    CHECK(tracker.entry == row.entry);
    CHECK(tracker.number == row.number);
  }
  for (const char* const name :
       {"last.ckpt", "last-v3.ckpt", "latest", "last", "m--val_loss=1.0-step=5-last.ckpt",
        "checkpoint_last.pt", "run-last", "last_checkpoint"})
    CHECK_MESSAGE(names_the_last(name), name);
  for (const char* const name : {"blast.ckpt", "step=5.ckpt", "lastly", "checkpoint-5", "last-vx.ckpt", ""})
    CHECK_FALSE_MESSAGE(names_the_last(name), name);
}

TEST_CASE("scan: trackers of a run, as files, links and names") {
  const TempFolder run;
  for (const std::uint64_t step : {100U, 200U, 300U}) add_checkpoint(run.path(), step);
  const auto verbs_of = [&] {
    std::string verbs;
    const Plan plan = make_plan(look_at(run.path()).facts, keep_last(1));
    for (const PlanItem& item : plan.runs[0].items) verbs += verb_name(item.verb).front();
    return verbs;
  };
  CHECK(verbs_of() == "rrk");
  for (const std::string& text :
       std::vector<std::string>{"100", "checkpoint-100\n", run / "checkpoint-100", "./checkpoint-100/"}) {
    put(run / "latest", text);
    CAPTURE(text);
    CHECK(verbs_of() == "kkk");
  }
  for (const char* const text : {"/elsewhere/checkpoint-100", "70", "", "../x/checkpoint-100"}) {
    put(run / "latest", text);
    CHECK(verbs_of() == "rrk");
  }
  put(run / "latest", std::string(5000, '1'));
  CHECK(look_at(run.path()).run().trackers.at(0).entry.empty());
  std::filesystem::remove(run / "latest");
  std::filesystem::create_symlink("checkpoint-200", run / "last.ckpt");
  CHECK(verbs_of() == "rkk");
  const Plan plan = make_plan(look_at(run.path()).facts, keep_last(1));
  CHECK(plan.runs[0].anchor == 1);
  std::filesystem::remove(run / "last.ckpt");
  std::filesystem::create_symlink("/nowhere", run / "last.ckpt");
  CHECK(verbs_of() == "rrk");
}
