// SPDX-License-Identifier: Apache-2.0
#include "hub/guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>
#include <set>

#include "base/bytes.h"
#include "base/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "hub/repo.h"
#include "model/pickled.h"
#include "model/roles.h"
#include "os/folder.h"
#include "os/threads.h"
#include "weights/sniff.h"
#include "weights/torch_file.h"
#include "weights/weights.h"

namespace mu {
namespace {

constexpr std::uint64_t kMaxText = 10ULL << 20;      // bytes
constexpr std::uint64_t kSmall = 256U << 10;         // bytes; larger files are looked at one by one
constexpr std::size_t kMaxFolderEntries = 10'000;    // the Hub's
constexpr std::uint64_t kMaxFile = 500'000'000'000;  // bytes, the Hub's

enum RuleIndex : std::size_t {
  kSecret,
  kKey,
  kPickle,
  kName,
  kPointer,
  kTorn,
  kLarge,
  kRegular,
  kFolder,
  kCase,
  kConfig,
  kTokenizer
};

class Guard {
 public:
  void look_at(const LocalFile& file) {
    if (const std::optional<std::string> fault = path_fault(file.name)) add(kName, file.name, *fault);
    if (file.stamp.size > kMaxFile)
      add(kLarge, file.name,
          fmt::format("{} is more than the Hub takes (500 GB)", format_size(file.stamp.size)));
    const std::string_view name = base_name(file.name);
    const FileRole role = role_of(name, false);
    if (name == ".env" || name == ".netrc" || name == "id_rsa" || name == "id_ed25519")
      add(kKey, file.name, "a file of this name usually holds secrets");
    const InputFile input(file.path);
    std::string start(static_cast<std::size_t>(std::min<std::uint64_t>(input.size(), 4096)), '\0');
    input.read_at(0, std::as_writable_bytes(std::span(start)));
    if (input.size() < 1024 && is_lfs_pointer(start)) {
      add(kPointer, file.name, "a pointer of Git LFS, not the file itself: fetch it with git lfs pull");
    } else if (role == FileRole::kWeights || role == FileRole::kWeightsIndex) {
      check_weights(file, role == FileRole::kWeightsIndex);
    } else if (role == FileRole::kTorchWeights || is_torch_start(start) || name.ends_with(".pkl") ||
               name.ends_with(".pickle")) {
      // Other programs call their data .bin, too: what can't be read is cut only where it began as torch's.
      const bool torch =
          is_torch_start(start) || name.starts_with("pytorch_model") || name.starts_with("adapter_model");
      check_pickle(file, torch);
    } else if (start.find('\0') == std::string::npos && role != FileRole::kTokenizer) {
      check_text(file, input, std::move(start));
    }
  }

  void look_at_all(const FileChoice& choice, bool is_model) {
    check_names(choice);
    if (is_model) check_model(choice);
  }

  [[nodiscard]] std::vector<GuardFinding>& findings() { return findings_; }

 private:
  void add(RuleIndex rule, std::string file, std::string message) {
    findings_.push_back({&guard_rules()[rule], std::move(file), std::move(message)});
  }

  void check_weights(const LocalFile& file, bool is_index) {
    try {
      const Weights weights = is_index ? open_sharded(file.path) : open_weights(file.path);
      if (const Finding* finding = weights.findings.first_up_to(Level::kLoads))
        add(kTorn, file.name, fmt::format("{} [{}]", finding->message, finding->rule));
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      add(kTorn, file.name, error.message());
    }
  }

  void check_pickle(const LocalFile& file, bool must_be_whole) {
    try {
      for (const WeightsFile& part : open_weights(file.path).files) {
        if (!part.object || part.object->worst() != Verdict::kDangerous) continue;
        for (const PickleReport& report : part.object->reports) {
          if (report.worst != Verdict::kDangerous) continue;
          add(kPickle, file.name,
              fmt::format("loading it would run code: it names '{}'",
                          escape_name(report.globals.front().name)));
          return;
        }
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kMalformed) throw;
      if (must_be_whole) add(kTorn, file.name, error.message());
    }
  }

  // `text`: what the file begins with.
  void check_text(const LocalFile& file, const InputFile& input, std::string text) {
    if (input.size() > kMaxText) return;
    const std::size_t known = text.size();
    text.resize(static_cast<std::size_t>(input.size()));
    if (known < text.size()) input.read_at(known, std::as_writable_bytes(std::span(text)).subspan(known));
    if (text.find('\0') != std::string::npos) return;
    for (const std::string_view mark :
         {"-----BEGIN PRIVATE KEY", "-----BEGIN RSA PRIVATE KEY", "-----BEGIN EC PRIVATE KEY",
          "-----BEGIN OPENSSH PRIVATE KEY", "-----BEGIN ENCRYPTED PRIVATE KEY"}) {
      if (text.find(mark) != std::string::npos) return add(kKey, file.name, "it holds a private key");
    }
    // mask_secrets() replaces what looks like a token, so a text that it changes has one.
    const std::string masked = mask_secrets(text);
    if (masked == text) return;
    const std::size_t at = static_cast<std::size_t>(
        std::mismatch(text.begin(), text.end(), masked.begin(), masked.end()).first - text.begin());
    const std::ptrdiff_t line =
        std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(at), '\n') + 1;
    add(kSecret, file.name, fmt::format("line {} holds what looks like an access token", line));
  }

  void check_names(const FileChoice& choice) {
    std::map<std::string, std::string> by_lower;
    std::map<std::string, std::set<std::string>> entries;
    for (const LocalFile& file : choice.files) {
      std::string lower = file.name;
      std::transform(lower.begin(), lower.end(), lower.begin(),
                     [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      const auto [found, fresh] = by_lower.try_emplace(lower, file.name);
      if (!fresh) add(kCase, file.name, "differs from '" + escape_name(found->second) + "' by case alone");
      std::string name = file.name;
      for (std::size_t slash = name.rfind('/');; slash = name.rfind('/')) {
        const std::string folder = slash == std::string::npos ? "" : name.substr(0, slash);
        entries[folder].insert(name);
        if (slash == std::string::npos) break;
        name = folder;
      }
    }
    for (const auto& [folder, names] : entries) {
      if (names.size() > kMaxFolderEntries)
        add(kFolder, folder + "/",
            fmt::format("{} entries; the Hub takes 10,000 a folder", group_digits(names.size())));
    }
  }

  void check_model(const FileChoice& choice) {
    bool weights = false, config = false, adapter = false, tokenizer = false;
    for (const LocalFile& file : choice.files) {
      const FileRole role = role_of(base_name(file.name), false);
      weights = weights || role == FileRole::kWeights || role == FileRole::kTorchWeights;
      config = config || role == FileRole::kConfig;
      adapter = adapter || role == FileRole::kAdapterConfig;
      tokenizer = tokenizer || role == FileRole::kTokenizer || role == FileRole::kProcessor;
    }
    if (!weights) return;
    if (!config && !adapter)
      add(kConfig, "", "there are weights, but neither config.json nor adapter_config.json");
    if (config && !adapter && !tokenizer)
      add(kTokenizer, "", "there are weights, but no tokenizer or processor");
  }

  std::vector<GuardFinding> findings_;
};

}  // namespace

const std::vector<GuardRule>& guard_rules() {
  // In the order of RuleIndex.
  static const std::vector<GuardRule> rules = {
      {"secret", true, "an access token in a text file"},
      {"private-key", true, "a private key, or a file that usually holds secrets"},
      {"pickle", true, "a pickle that runs code when it is loaded"},
      {"name", true, "a name that the Hub refuses"},
      {"lfs-pointer", true, "a Git LFS pointer in place of the file"},
      {"torn", true, "weights that are cut short or malformed, shards that are missing"},
      {"large-file", true, "a file of more than 500 GB"},
      {"large-regular", true, "a file of more than 10 MiB that the hub keeps in git"},
      {"folder-size", true, "more than 10,000 entries in a folder"},
      {"case", false, "names that differ by case alone"},
      {"config", false, "weights without a config"},
      {"tokenizer", false, "weights without a tokenizer or processor"},
  };
  return rules;
}

std::vector<GuardFinding> guard_files(const FileChoice& choice, bool is_model, unsigned jobs) {
  std::vector<Guard> guards(choice.files.size() + 1);  // each file's own, one for the whole
  std::vector<std::size_t> small, large;
  for (std::size_t i = 0; i < choice.files.size(); ++i)
    (choice.files[i].stamp.size <= kSmall ? small : large).push_back(i);
  const auto look_at = [&](std::size_t i) { guards[i].look_at(choice.files[i]); };
  parallel_for(small.size(), jobs, [&](std::size_t i) { look_at(small[i]); });
  for (const std::size_t i : large) look_at(i);
  guards.back().look_at_all(choice, is_model);
  std::vector<GuardFinding> findings;
  for (Guard& guard : guards)
    std::move(guard.findings().begin(), guard.findings().end(), std::back_inserter(findings));
  return findings;
}

GuardFinding too_large_for_git(const std::string& file, std::uint64_t size) {
  return {&guard_rules()[kRegular], file,
          fmt::format("{}, but the hub keeps it in git, which takes 10 MiB", format_size(size))};
}

void enforce_guard(const std::vector<GuardFinding>& findings, const std::vector<std::string>& allowed,
                   const std::function<void(const std::string&)>& warning) {
  constexpr std::size_t kShown = 20;
  const auto text_of = [](const GuardFinding& finding) {
    const std::string where = finding.file.empty() ? "" : escape_name(finding.file) + ": ";
    return fmt::format("{}{} [{}]", where, finding.message, finding.rule->id);
  };
  std::vector<const GuardFinding*> stops;
  for (const GuardFinding& finding : findings) {
    if (finding.rule->stops && std::find(allowed.begin(), allowed.end(), finding.rule->id) == allowed.end()) {
      stops.push_back(&finding);
    } else {
      warning(text_of(finding));
    }
  }
  if (stops.empty()) return;
  for (std::size_t i = 1; i < stops.size() && i < kShown; ++i) warning(text_of(*stops[i]));
  const std::string more = stops.size() > 1 ? fmt::format(", and {} more", stops.size() - 1) : "";
  throw refused(text_of(*stops.front()) + more)
      .hint(fmt::format("leave it out with --exclude, or --allow {}", stops.front()->rule->id));
}

}  // namespace mu
