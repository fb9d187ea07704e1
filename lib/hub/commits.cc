// SPDX-License-Identifier: Apache-2.0
#include "hub/commits.h"

#include <fmt/format.h>

#include "base/text.h"

namespace mu {

CommitTask CommitSeries::task(const CommitItems& items, std::size_t left) const {
  CommitTask task{revision_, parent_, message_, items, made_.empty() ? unchanged_ : std::string_view()};
  const std::size_t count = made_.size() + left;
  if (count > 1) task.message.title += fmt::format(" (commit {} of {})", made_.size() + 1, count);
  return task;
}

void CommitSeries::land(const CommitResult& made, const CommitItems& items, std::size_t left) {
  for (PushItem* item : items) item->landed = true;
  made_.push_back(made);
  parent_ = made.commit;
  landed_ += items.size();
  left_ -= items.size();
  if (!made.output.empty()) note_("the hub says: " + api_.session().shown(made.output));
  if (made_.size() + left > 1)
    note_(fmt::format("made commit {} of {}: {} with {}", made_.size(), made_.size() + left, made.commit,
                      plural(items.size(), "file")));
}

bool CommitSeries::find_late(Late& late) const {
  if (late.items.empty()) return false;
  const std::string head = api_.find_revision(revision_).commit;
  if (api_.newest_title(head) != late.title ||
      !find_differing(api_, head, {late.items.begin(), late.items.end()}).empty())
    return false;
  late.made = {head, api_.commit_url(head), ""};
  return true;
}

bool CommitSeries::send(std::vector<CommitItems> commits) {
  left_ = 0;
  for (const CommitItems& items : commits) left_ += items.size();
  if (commits.size() > 1)
    note_(fmt::format("{} are too many for one commit: there will be {} commits", plural(left_, "file"),
                      commits.size()));
  Late late;
  for (std::size_t next = 0; next < commits.size();) {
    const std::size_t left = commits.size() - next;
    const SentCommit sent = send_commit(api_, task(commits[next], left));
    switch (sent.fate) {
      case SentCommit::Fate::kMoved:
        if (next != 0 || !find_late(late)) return false;
        commits.erase(commits.begin(), commits.begin() + 2);  // its halves
        land(late.made, late.items, commits.size());
        break;
      case SentCommit::Fate::kMade:
        land(sent.made, commits[next], left - 1);
        ++next;
        break;
      case SentCommit::Fate::kTooLarge:
        late = {task(commits[next], left).message.title, commits[next], {}};
        commits.erase(commits.begin(), commits.begin() + static_cast<std::ptrdiff_t>(next));
        next = 0;
        commits = halve_commits(commits);
        note_(fmt::format("the commit was too large for the hub: there will be {} of at most {}",
                          plural(commits.size(), "commit"), plural(commits.front().size(), "file")));
        break;
    }
  }
  return true;
}

Error CommitSeries::partial(const Error& why) const {
  const std::string files = left_ == 0 ? "everything was committed"
                                       : fmt::format("{} of {} were committed", group_digits(landed_),
                                                     plural(landed_ + left_, "file"));
  return Error(why.kind() == ErrorKind::kTemporary ? ErrorKind::kTemporary : ErrorKind::kPartial,
               fmt::format("{}, in {}, the last of them {}; then: {}", files, plural(made_.size(), "commit"),
                           made_.back().commit, why.what()));
}

}  // namespace mu
