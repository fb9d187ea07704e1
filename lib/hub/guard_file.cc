// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/sizes.h"
#include "base/text.h"
#include "hub/guard.h"
#include "hub/repo.h"
#include "model/links.h"
#include "model/pickled.h"
#include "model/roles.h"
#include "model/secrets.h"
#include "os/folder.h"
#include "weights/open/open.h"
#include "weights/sniff.h"
#include "weights/torch/file.h"
#include "weights/weights.h"

namespace mu {
namespace {

constexpr std::uint64_t kStart = 4096;               // bytes that show what a file is
constexpr std::uint64_t kMaxFile = 500'000'000'000;  // bytes, the Hub's

bool is_secret_name(std::string_view name) {
  constexpr std::array kNames =
      std::to_array<std::string_view>({".env", ".netrc", "_netrc", ".git-credentials", ".pypirc", "id_rsa",
                                       "id_dsa", "id_ecdsa", "id_ed25519"});
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

class FileGuard {
 public:
  FileGuard(const LocalFile& file, HashCache& cache, const std::function<void(const std::string&)>& detail)
      : file_(file), cache_(cache), detail_(detail) {}

  std::vector<GuardFinding> run() {
    const std::string_view name = base_name(file_.name);
    if (const std::optional<std::string> fault = path_fault(file_.name)) add(Rule::kName, *fault);
    if (const std::optional<std::string> fault = portable_fault(file_.name)) add(Rule::kPortable, *fault);
    if (file_.stamp.size > kMaxFile)
      add(Rule::kLarge, fmt::format("{} is more than the Hub takes (500 GB)", format_size(file_.stamp.size)));
    if (is_secret_name(name)) add(Rule::kKey, "a file of this name usually holds secrets");
    const InputFile input(file_.path);
    const std::string start = input.read_start(kStart);
    if (!file_.outside.empty() && is_text_start(start))
      add(Rule::kLink,
          fmt::format("a link to the text file {}, which is outside the folder", escape_name(file_.outside)));
    look_inside(input, start, name, role_of(name, false));
    search(input, start);
    return std::move(findings_);
  }

 private:
  void add(Rule rule, std::string message) {
    findings_.push_back(against(rule, file_.name, std::move(message)));
  }

  void look_inside(const InputFile& input, const std::string& start, std::string_view name, FileRole role) {
    if (input.size() < 1024 && is_lfs_pointer(start)) {
      add(Rule::kPointer, "a Git LFS pointer, not the file itself: fetch it with git lfs pull");
    } else if (role == FileRole::kWeights || role == FileRole::kWeightsIndex) {
      check_weights(role == FileRole::kWeightsIndex);
    } else if (role == FileRole::kTorchWeights || is_torch_start(start) || name.ends_with(".pkl") ||
               name.ends_with(".pickle")) {
      // Other programs name their data .bin, too: only what begins like a file of torch must be complete.
      check_pickle(is_torch_start(start) || name.starts_with("pytorch_model") ||
                   name.starts_with("adapter_model"));
    }
  }

  void check_weights(bool is_index) {
    try {
      const Weights weights = is_index ? open_sharded(file_.path) : open_weights(file_.path);
      if (const Finding* finding = weights.findings.first_up_to(Level::kLoads))
        add(Rule::kTorn, fmt::format("{} [{}]", finding->message, finding->rule));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      add(Rule::kTorn, error.message());
    }
  }

  void check_pickle(bool must_be_whole) {
    try {
      for (const WeightsFile& weights : open_weights(file_.path).files) {
        if (!weights.object || weights.object->worst() != Verdict::kDangerous) continue;
        for (const PickleReport& report : weights.object->reports) {
          if (report.worst != Verdict::kDangerous) continue;
          add(Rule::kPickle, fmt::format("loading it would run code: it names '{}'",
                                         escape_name(report.globals.front().name)));
          return;
        }
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      if (must_be_whole) add(Rule::kTorn, error.message());
    }
  }

  // Searches every file, whatever its name, so that the verdict can be remembered without the name.
  void search(const InputFile& input, const std::string& start) {
    const std::uint64_t limit = looks_like_safetensors(start, input.size())
                                    ? load_le<std::uint64_t>(as_bytes(start).data()) + 8  // the header
                                    : kSearched;
    if (limit == kSearched && input.size() > kSearched)
      detail_(fmt::format("{}: only its first {} were searched for secrets", escape_name(file_.name),
                          format_size(kSearched)));
    const std::optional<FileHashes> known = cache_.find(file_.stamp);
    if (known && known->clean == kSecretsVersion) return;
    const std::optional<SecretInFile> found = search_file(input, limit);
    if (!found) {
      FileHashes verdict;
      verdict.clean = kSecretsVersion;
      if (input.stamp() == file_.stamp) cache_.add(file_.stamp, verdict);
    } else if (found->kind == SecretKind::kPrivateKey) {
      add(Rule::kKey, fmt::format("line {} begins a private key", found->line));
    } else {
      add(Rule::kSecret, fmt::format("line {} holds what looks like an access token", found->line));
    }
  }

  const LocalFile& file_;
  HashCache& cache_;
  const std::function<void(const std::string&)>& detail_;
  std::vector<GuardFinding> findings_;
};

}  // namespace

std::vector<GuardFinding> guard_file(const LocalFile& file, HashCache& cache,
                                     const std::function<void(const std::string&)>& detail) {
  return FileGuard(file, cache, detail).run();
}

}  // namespace mu
