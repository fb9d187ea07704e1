// SPDX-License-Identifier: Apache-2.0
#include "pack/names.h"

#include <doctest/doctest.h>

#include "model/name_table.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

using Class = NameFacts::Class;
using Experts = NamesOptions::Experts;
using Mode = NamesOptions::Mode;

// What becomes of names: what is written, or the kind of the error.
struct Outcome {
  std::optional<NameChange> change;
  std::optional<ErrorKind> error;
  bool said = false;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome(Mode mode, std::optional<Experts> experts, const NameFacts& facts) {
  Outcome result;
  result.error = error_of([&] {
    const NameDecision decision = decide_names({mode, experts}, facts);
    result.change = decision.change;
    result.said = !decision.left.empty();
  });
  return result;
}

// Of a whole model, unless the test says otherwise.
NameFacts facts_of(Class of, TensorNames::Counts counts = {}) {
  return {.of = of, .name = "X", .converts = true, .is_whole = true, .counts = std::move(counts)};
}

const Outcome kKept = {NameChange::kNone, {}, false};
const Outcome kSaid = {NameChange::kNone, {}, true};
const Outcome kPublishedNames = {NameChange::kToPublished, {}, false};
const Outcome kMemoryNames = {NameChange::kToMemory, {}, false};
const Outcome kMalformed = {{}, ErrorKind::kMalformed, false};
const Outcome kRefused = {{}, ErrorKind::kRefused, false};

const TensorNames::Counts kMemorys = {.neutral = 2, .memory = 3, .published = 0, .foreign = 0};
const TensorNames::Counts kPublisheds = {.neutral = 2, .memory = 0, .published = 3, .foreign = 0};
const TensorNames::Counts kNeutrals = {.neutral = 2, .memory = 0, .published = 0, .foreign = 0};
const TensorNames::Counts kBoth = {.neutral = 2, .memory = 3, .published = 1, .foreign = 0};
const TensorNames::Counts kMemoryForeign = {.neutral = 2, .memory = 3, .published = 0, .foreign = 1};
const TensorNames::Counts kPublishedForeign = {
    .neutral = 2, .memory = 0, .published = 3, .foreign = 1, .a_foreign = "f"};
const TensorNames::Counts kForeigns = {.neutral = 2, .memory = 0, .published = 0, .foreign = 1};

}  // namespace

TEST_CASE("names: each case under each option") {
  NameFacts file = facts_of(Class::kRenames, kMemorys), adapter = file, quantised = file,
            no_converters = file;
  file.is_whole = false;
  adapter.is_adapter = true;
  quantised.is_quantised = true;
  no_converters.converts = false;
  NameFacts quantised_published = facts_of(Class::kRenames, kPublisheds);
  quantised_published.is_quantised = true;
  NameFacts quantised_plain = facts_of(Class::kPlain);
  quantised_plain.is_quantised = true;
  NameFacts plain = facts_of(Class::kPlain);
  plain.converts = false;
  const struct {
    const char* name;
    NameFacts facts;
    Outcome automatic, published, split, stack;
  } kCases[] = {
      {"memory's", facts_of(Class::kRenames, kMemorys), kPublishedNames, kPublishedNames, kPublishedNames,
       kKept},
      {"published", facts_of(Class::kRenames, kPublisheds), kKept, kKept, kKept, kMemoryNames},
      {"neutral", facts_of(Class::kRenames, kNeutrals), kKept, kKept, kKept, kKept},
      {"both", facts_of(Class::kRenames, kBoth), kSaid, kMalformed, kMalformed, kMalformed},
      {"memory's and foreign", facts_of(Class::kRenames, kMemoryForeign), kSaid, kMalformed, kMalformed,
       kMalformed},
      {"published and foreign", facts_of(Class::kRenames, kPublishedForeign), kSaid, kMalformed, kMalformed,
       kMalformed},
      {"foreign", facts_of(Class::kRenames, kForeigns), kSaid, kMalformed, kMalformed, kMalformed},
      {"plain", plain, kKept, kKept, kMalformed, kMalformed},
      {"unknown", facts_of(Class::kUnknown), kKept, kMalformed, kMalformed, kMalformed},
      {"own code", facts_of(Class::kOwnCode), kKept, kMalformed, kMalformed, kMalformed},
      {"no class", facts_of(Class::kNone), kKept, kMalformed, kMalformed, kMalformed},
      {"not told apart", facts_of(Class::kUntold), kKept, kMalformed, kMalformed, kMalformed},
      {"a file", file, kKept, kPublishedNames, kPublishedNames, kKept},
      {"an adapter", adapter, kSaid, kSaid, kMalformed, kMalformed},
      {"quantised", quantised, kSaid, kRefused, kRefused, kRefused},
      {"quantised, published", quantised_published, kKept, kRefused, kRefused, kRefused},
      {"quantised, plain", quantised_plain, kKept, kRefused, kRefused, kRefused},
      {"no converters", no_converters, kPublishedNames, kPublishedNames, kMalformed, kMalformed},
  };
  for (const auto& one : kCases) {
    CAPTURE(one.name);
    CHECK(outcome(Mode::kAsIs, {}, one.facts) == kKept);
    CHECK(outcome(Mode::kAuto, {}, one.facts) == one.automatic);
    CHECK(outcome(Mode::kPublished, {}, one.facts) == one.published);
    CHECK(outcome(Mode::kAuto, Experts::kSplit, one.facts) == one.split);
    CHECK(outcome(Mode::kPublished, Experts::kSplit, one.facts) == one.split);
    CHECK(outcome(Mode::kAuto, Experts::kStack, one.facts) == one.stack);
  }
}

TEST_CASE("names: what is said of names that stay") {
  const auto said = [](const TensorNames::Counts& counts) {
    return decide_names({Mode::kAuto, {}}, facts_of(Class::kRenames, counts)).left;
  };
  CHECK(said(kBoth) == "names of both kinds (3 memory's, 1 published): left as they are");
  CHECK(said(kPublishedForeign) ==
        "1 name that belongs to neither memory nor files, such as 'f': all names are left as they are");
}

TEST_CASE("names: the side as --json says it") {
  CHECK(side_text(facts_of(Class::kRenames, kMemorys)) == "memory");
  CHECK(side_text(facts_of(Class::kRenames, kPublisheds)) == "published");
  CHECK(side_text(facts_of(Class::kRenames, kBoth)) == "mixed");
  CHECK(side_text(facts_of(Class::kRenames, kMemoryForeign)) == "foreign");
  CHECK(side_text(facts_of(Class::kRenames, kNeutrals)) == "neutral");
  CHECK(side_text(facts_of(Class::kPlain)) == "neutral");
  CHECK(side_text(facts_of(Class::kUnknown)) == "unknown");
}

TEST_CASE("names: classes that rename nothing are known") {
  CHECK(is_plain_class("LlamaForCausalLM"));
  CHECK(is_plain_class("GptOssForCausalLM"));
  CHECK_FALSE(is_plain_class("MixtralForCausalLM"));
  CHECK_FALSE(is_plain_class("Llama"));
  CHECK_FALSE(is_plain_class("LlamaForCausalLM MistralForCausalLM"));
  CHECK_FALSE(is_plain_class(""));
  CHECK(is_plain_type("llama"));
  CHECK_FALSE(is_plain_type("mixtral"));
  CHECK_FALSE(is_plain_type("none"));
  CHECK_FALSE(is_plain_type(""));
}
