// SPDX-License-Identifier: Apache-2.0
// Finished parts beside an output, on any file system that several machines see:
//
//   OUT.parts/FINGERPRINT.I-of-N/           the files of one part, put there by one rename when all are written
//   OUT.parts/FINGERPRINT.I-of-N.partial/   what a part that reads other machines wrote so far (fetch/partial.h)
//   OUT.parts/pinned.KEY                    the commit at which all parts read a repository (hub/pin.h)
//
// No lock: two processes that do the same part write stages of their own, the first rename wins, and both
// wrote the same bytes. No clock is compared. The name says to which plan a part belongs; what else it holds
// is the program's business.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/part.h"

namespace mu {

inline constexpr std::string_view kPinPrefix = "pinned.";

class PartsFolder {
 public:
  // For an output and the fingerprint of its plan. Touches nothing.
  PartsFolder(const std::string& out, std::string fingerprint);

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& fingerprint() const { return fingerprint_; }
  [[nodiscard]] std::string path_of(const Part& part) const;

  // Finished parts of this plan, however many it was cut into, sorted; none where there is no folder. Parts
  // of other plans are named and refused (kRefused), or removed with `discard_others`. What is not a part is
  // always refused: it is not ours.
  [[nodiscard]] std::vector<Part> find(bool discard_others) const;
  // Calls `read` with each finished part and its folder. If `read` throws, the part is refused as not whole, or
  // removed with `discard_others`.
  void read_each(bool discard_others,
                 const std::function<void(const Part& part, const std::string& path)>& read) const;
  // Makes the folder that parts are put in. Throws kIo.
  void make() const;
  // Removes the folder and all parts. A process that still works on one finds its place gone.
  void remove() const;

 private:
  std::string path_, fingerprint_;
};

}  // namespace mu
