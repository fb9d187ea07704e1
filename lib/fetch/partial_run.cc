// SPDX-License-Identifier: Apache-2.0
#include "fetch/partial_run.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "cli/console.h"
#include "os/stage.h"

namespace mu {
namespace {

// Whether the same command could come further another time.
bool is_worth_keeping(ErrorKind kind) {
  return kind == ErrorKind::kTemporary || kind == ErrorKind::kIo;
}

// Nothing of this may hide why the run ends.
void remove_quietly(PartialOutput& partial) noexcept {
  try {
    partial.remove();
  } catch (...) {  // the next run with this output deletes it
  }
}

// Whether the output can only be put in place with --force. After a signal nothing may be interrupted.
bool is_in_the_way(const std::string& target) {
  std::error_code failed;
  if (!std::filesystem::exists(target, failed)) return false;
  for (std::filesystem::directory_iterator entry(target, failed), end; !failed && entry != end;
       entry.increment(failed)) {
    if (entry->path().filename() != kPartialInside) return true;
  }
  return static_cast<bool>(failed);  // a file, for one
}

void keep(PartialOutput& partial, const std::string& target) noexcept {
  try {
    partial.require_held();
    const std::uint64_t bytes = partial.bytes();
    if (bytes == 0 && partial.lines().empty()) return partial.remove();
    note_at_end(
        continue_note(PartialOutput::path_of(target), bytes, console().command, is_in_the_way(target)));
  } catch (...) {  // it is another run's by now, or can't be read: nothing can be said about it
  }
}

}  // namespace

std::string continue_note(const std::string& path, std::uint64_t bytes,
                          const std::vector<std::string>& command, bool is_in_the_way) {
  std::vector<std::string> words;
  for (const std::string& word : command) {
    if (word != "--force") words.push_back(shell_word(word));
  }
  const bool forced = words.size() != command.size();
  return fmt::format("{} keeps {}; to continue{}: {}{}", escape_name(path), format_size(bytes),
                     forced && is_in_the_way ? ", move what it was to replace away and run" : "",
                     join(words, " "), forced ? " (--force would start anew)" : "");
}

void with_partial_output(const std::string& target, const std::string& identity, bool fresh,
                         const std::function<void(PartialOutput& partial)>& work) {
  note_at_end("");  // of an earlier try of this process
  PartialOutput partial(target, identity, fresh);
  try {
    work(partial);
  } catch (const Error& error) {
    is_worth_keeping(error.kind()) ? keep(partial, target) : remove_quietly(partial);
    throw;
  } catch (...) {  // a signal, above all
    keep(partial, target);
    throw;
  }
  partial.remove();
}

}  // namespace mu
