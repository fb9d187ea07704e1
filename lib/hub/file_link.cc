// SPDX-License-Identifier: Apache-2.0
#include "hub/file_link.h"

#include <chrono>
#include <utility>

#include "os/interrupt.h"

namespace mu {

std::string Link::if_range() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return held_.if_range();
}

bool Link::hold(const Validators& answer) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (held_.differ(answer)) return false;
  if (held_.tag.empty() && held_.modified.empty()) held_ = answer;
  return true;
}

FileLink::Turn::~Turn() {
  const std::lock_guard<std::mutex> lock(of_.mutex_);
  end_look_up();
}

// The mutex is held.
void FileLink::Turn::end_look_up() {
  if (!looks_up_) return;
  looks_up_ = of_.busy_ = false;
  ++of_.round_;
  of_.changed_.notify_all();
}

std::shared_ptr<Link> FileLink::Turn::link() {
  constexpr std::chrono::milliseconds kLook(200);  // for a signal
  std::unique_lock<std::mutex> lock(of_.mutex_);
  if (looks_up_) return nullptr;
  while (of_.busy_) {
    const std::uint64_t round = of_.round_;
    of_.changed_.wait_for(lock, kLook);
    check_interrupt();
    if (of_.round_ != round && of_.fault_ && of_.fault_->round == round) throw Error(of_.fault_->error);
  }
  if (of_.link_) return of_.link_;
  looks_up_ = of_.busy_ = true;
  return nullptr;
}

void FileLink::Turn::found(std::shared_ptr<Link> link) {
  const std::lock_guard<std::mutex> lock(of_.mutex_);
  of_.link_ = std::move(link);
  end_look_up();
}

void FileLink::Turn::settle(std::shared_ptr<Link> link) {
  if (looks_up_) found(std::move(link));
}

void FileLink::Turn::fail(const Error& error) {
  const std::lock_guard<std::mutex> lock(of_.mutex_);
  if (looks_up_) of_.fault_ = Fault{of_.round_, error};
  end_look_up();
}

void FileLink::Turn::drop(const std::shared_ptr<Link>& link) {
  const std::lock_guard<std::mutex> lock(of_.mutex_);
  if (of_.link_ == link) of_.link_ = nullptr;
}

}  // namespace mu
