// SPDX-License-Identifier: Apache-2.0
// Where the bytes of one file are, which the hub says by a redirect. It is asked once for all threads that read the
// file: one looks the link up, and the others wait for it. Links expire; then they are dropped and looked up again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/error.h"
#include "net/range_answer.h"

namespace mu {

class Link {
 public:
  // Answers are held to `held`, as far as it says something, and to the first answer.
  Link(std::string url, bool is_redirected, Validators held = {})
      : url_(std::move(url)), is_redirected_(is_redirected), held_(std::move(held)) {}

  [[nodiscard]] const std::string& url() const { return url_; }
  [[nodiscard]] bool is_redirected() const { return is_redirected_; }  // so it may expire
  [[nodiscard]] std::string if_range() const;
  // Returns false if an answer is of another version than those before it.
  bool hold(const Validators& answer);

 private:
  const std::string url_;
  const bool is_redirected_;
  mutable std::mutex mutex_;
  Validators held_;
};

// The link of a file, shared by its threads.
class FileLink {
 public:
  // What a thread does with the link while it reads a range.
  class Turn {
   public:
    explicit Turn(FileLink& of) : of_(of) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn();  // a look-up that is under way is left to the next thread

    // The link. Null: this thread is to look it up, as long as the others can wait. Throws what fail() was told.
    std::shared_ptr<Link> link();
    void found(std::shared_ptr<Link> link);        // by a look-up, or by a redirect of the link itself
    void settle(std::shared_ptr<Link> link);       // it gave bytes: found, if this thread still looks it up
    void fail(const Error& error);                 // the look-up, if it is this thread's
    void drop(const std::shared_ptr<Link>& link);  // it leads nowhere any more

   private:
    void end_look_up();

    FileLink& of_;
    bool looks_up_ = false;
  };

 private:
  std::mutex mutex_;  // guards all
  std::condition_variable changed_;
  std::shared_ptr<Link> link_;
  bool busy_ = false;        // a thread looks it up
  std::uint64_t round_ = 0;  // look-ups that have ended
  struct Fault {
    std::uint64_t round;
    Error error;
  };
  std::optional<Fault> fault_;  // of the last look-up that failed
};

}  // namespace mu
