// SPDX-License-Identifier: Apache-2.0
#include "ckpt/state_file.h"

#include <algorithm>
#include <span>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "ckpt/log_mark.h"

namespace mu {
namespace {

constexpr std::uint64_t kSmall =
    32U << 10;  // bytes; a smaller file is parsed as quickly as its two ends are read
constexpr std::uint64_t kHead = 8U << 10;  // everything before the log, even with long paths
constexpr std::uint64_t kTail = 8U << 10;  // … and the last entry of the log with what follows it
constexpr std::uint64_t kMaxState =
    512U << 20;  // bytes: over three million entries of a log, at some 150 bytes each

std::string read_text(const InputFile& file, std::uint64_t offset, std::uint64_t size) {
  std::string text(static_cast<std::size_t>(size), '\0');
  file.read_at(offset, std::as_writable_bytes(std::span(text)));
  return text;
}

}  // namespace

StateHead read_state_head(const InputFile& file, bool whole) {
  if (!whole && file.size() > kSmall) {
    const std::string head = read_text(file, 0, kHead);
    const std::size_t log = head.find("\"log_history\"");
    const std::string_view before = trim(std::string_view(head).substr(0, log));
    if (log != std::string::npos && before.ends_with(',')) {
      const TrainerState state = parse_trainer_state(std::string(before.substr(0, before.size() - 1)) + "}");
      const std::string tail = read_text(file, file.size() - kTail, kTail);
      if (!trim(tail).ends_with('}')) throw malformed("it is cut: the closing brace is missing");
      if (state.global_step) return {state.global_step, state.epoch, mark_log_ends(head, tail)};
    }
  }
  const TrainerState state = read_state(file);
  return {state.global_step, state.epoch, mark_log(state)};
}

TrainerState read_state(const InputFile& file) {
  if (file.size() > kMaxState) throw malformed("larger than 512 MiB").in_file(escape_name(file.path()));
  return parse_trainer_state(read_text(file, 0, file.size()));
}

}  // namespace mu
