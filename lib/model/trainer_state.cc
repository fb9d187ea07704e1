// SPDX-License-Identifier: Apache-2.0
#include "model/trainer_state.h"

#include <algorithm>
#include <unordered_map>

#include "base/json_scan.h"
#include "base/text.h"

namespace mu {
namespace {

class StateParser {
 public:
  explicit StateParser(std::string_view text) : in_(text, 0, JsonDialect::kPython) {}

  TrainerState parse() {
    object([this](std::string_view key) { field(key); });
    in_.expect_end();
    return std::move(state_);
  }

 private:
  // Calls on_key for every member; it must take the value.
  template <typename OnKey>
  void object(OnKey on_key) {
    in_.expect('{', "an object");
    if (in_.take('}')) return;
    do {
      const std::string_view key = in_.string(key_scratch_);
      in_.expect(':', "':'");
      on_key(key);
    } while (in_.take(','));
    in_.expect('}', "',' or '}'");
  }

  void field(std::string_view key) {
    struct Real {
      std::string_view key;
      std::optional<double> TrainerState::*field;
    };
    struct Whole {
      std::string_view key;
      std::optional<std::uint64_t> TrainerState::*field;
    };
    static constexpr Real kReals[] = {
        {"epoch", &TrainerState::epoch},           {"best_metric", &TrainerState::best_metric},
        {"save_steps", &TrainerState::save_steps}, {"eval_steps", &TrainerState::eval_steps},
        {"total_flos", &TrainerState::total_flos}, {"logging_steps", &TrainerState::logging_steps}};
    static constexpr Whole kWholes[] = {{"global_step", &TrainerState::global_step},
                                        {"max_steps", &TrainerState::max_steps},
                                        {"num_train_epochs", &TrainerState::num_train_epochs},
                                        {"best_global_step", &TrainerState::best_global_step},
                                        {"train_batch_size", &TrainerState::train_batch_size},
                                        {"num_input_tokens_seen", &TrainerState::num_input_tokens_seen}};
    if (key == "log_history") return history();
    if (key == "best_model_checkpoint") {
      state_.best_model_checkpoint.clear();
      if (in_.peek() == '"') {
        state_.best_model_checkpoint = in_.string(value_scratch_);
      } else {
        in_.skip_value(1);
      }
      return;
    }
    for (const Real& real : kReals) {
      if (key == real.key) {
        const std::optional<JsonNumber> number = number_or_skip(1);
        state_.*real.field = number ? std::optional(number->value) : std::nullopt;
        return;
      }
    }
    for (const Whole& whole : kWholes) {
      if (key == whole.key) {
        const std::optional<JsonNumber> number = number_or_skip(1);
        state_.*whole.field = number ? number->as_u64() : std::nullopt;
        return;
      }
    }
    in_.skip_value(1);
  }

  std::optional<JsonNumber> number_or_skip(int depth) {
    std::optional<JsonNumber> number = in_.take_number();
    if (!number) in_.skip_value(depth);
    return number;
  }

  void history() {
    state_.log_history.clear();
    if (in_.peek() != '[') return in_.skip_value(1);
    in_.expect('[', "'['");
    if (in_.take(']')) return;
    do {
      if (in_.peek() == '{') {
        entry();
      } else {
        in_.skip_value(2);
      }
    } while (in_.take(','));
    in_.expect(']', "',' or ']'");
  }

  void entry() {
    TrainerLogEntry entry;
    if (!state_.log_history.empty()) entry.metrics.reserve(state_.log_history.back().metrics.size());
    std::size_t place = 0;
    object([&](std::string_view key) {
      const bool is_step = key == "step";
      const bool is_epoch = key == "epoch";
      const std::uint32_t name = is_step || is_epoch ? 0 : intern(key, place++);
      const std::optional<JsonNumber> number = number_or_skip(3);
      if (is_step) {
        entry.step = number ? number->as_u64() : std::nullopt;
      } else if (is_epoch) {
        entry.epoch = number ? std::optional(number->value) : std::nullopt;
      } else if (number) {
        entry.metrics.push_back({name, number->value});
      }
    });
    state_.log_history.push_back(std::move(entry));
  }

  // Entries of one kind have the same keys in the same order, so the name that stood at this place last time
  // is tried first: a comparison instead of a hash.
  std::uint32_t intern(std::string_view name, std::size_t place) {
    if (place < last_at_.size() && state_.metric_names[last_at_[place]] == name) return last_at_[place];
    const auto [found, fresh] =
        ids_.try_emplace(std::string(name), static_cast<std::uint32_t>(state_.metric_names.size()));
    if (fresh) state_.metric_names.emplace_back(name);
    if (place < kRemembered) {
      last_at_.resize(std::max(last_at_.size(), place + 1));
      last_at_[place] = found->second;
    }
    return found->second;
  }

  static constexpr std::size_t kRemembered = 256;

  JsonScanner in_;
  TrainerState state_;
  std::string key_scratch_, value_scratch_;
  std::unordered_map<std::string, std::uint32_t> ids_;
  std::vector<std::uint32_t> last_at_;
};

}  // namespace

std::optional<std::uint32_t> TrainerState::metric_id(std::string_view name) const {
  const auto found = std::find(metric_names.begin(), metric_names.end(), name);
  if (found == metric_names.end()) return std::nullopt;
  return static_cast<std::uint32_t>(found - metric_names.begin());
}

TrainerState parse_trainer_state(std::string_view text) {
  if (const std::optional<std::size_t> bad = find_invalid_utf8(text))
    throw JsonScanError(*bad, "not valid UTF-8");
  return StateParser(text).parse();
}

}  // namespace mu
