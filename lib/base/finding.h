// SPDX-License-Identifier: Apache-2.0
// What a check found: a stable rule id, the level it breaks, the place and the reason. Readers report every
// oddity as a finding; only its level decides whether it is fatal.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mu {

// The three levels of conformance, weakest first (st-inspect(1) describes the rules of each).
enum class Level : std::uint8_t {
  kLoads,  // the reference library opens it
  kSpec,   // the format's README and what the reference writer produces
  kHub,    // what the Hub's readers and the loaders of models accept; folders are complete
};
std::string_view level_name(Level level);

struct Finding {
  std::string_view rule;  // "ST-SIZE"; a literal
  Level level;            // the weakest level it breaks
  bool warning = false;
  std::string message;
  std::string file{};                     // as named by the user or the index
  std::optional<std::uint64_t> offset{};  // byte in that file
};

// Findings in the order they were made. A hostile header can produce millions, so each rule keeps only its
// first kKept and counts the rest.
class Findings {
 public:
  static constexpr std::uint64_t kKept = 100;

  void add(Finding finding);
  void add_all(const Findings& other);

  // All but those of a rule.
  [[nodiscard]] Findings without(std::string_view rule) const;

  [[nodiscard]] const std::vector<Finding>& list() const { return list_; }
  // How many of a rule there were, the dropped ones included.
  [[nodiscard]] std::uint64_t count(std::string_view rule) const;
  // The first that breaks `level` or a weaker one; null when there is none.
  [[nodiscard]] const Finding* first_up_to(Level level) const;
  // Throws kMalformed with the first finding that keeps the reference library from opening the input.
  void throw_if_unloadable() const;

 private:
  std::vector<Finding> list_;
  std::map<std::string_view, std::uint64_t> counts_;
};

}  // namespace mu
