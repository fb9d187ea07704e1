// SPDX-License-Identifier: Apache-2.0
// The three containers differ in where the pickle and the storages lie; what the pickle says of them is read
// in torch_tensors.cc.
#include "weights/torch_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/text.h"
#include "weights/torch_tensors.h"
#include "weights/zip.h"

namespace mu {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kLegacyStart = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"sv;
constexpr std::uint64_t kFirstPickle = 1U << 20;  // bytes read at first where a pickle's size is not known
constexpr std::size_t kMaxStacked = 16;           // further pickles that are reported

Error fault_error(const PickleFault& fault, std::string_view what) {
  return malformed(fmt::format("{} is broken: {} [PK-BROKEN]", what, fault.message))
      .at(fmt::format("byte {} of the pickle", fault.at));
}

// Reads the pickle at `offset`, whose size is not known: more and more of the file until it ends.
void read_pickle_at(const InputFile& file, std::uint64_t offset, std::string& data,
                    std::unique_ptr<Pickle>& pickle) {
  const std::uint64_t available = std::min<std::uint64_t>(file.size() - offset, Pickle::kMaxBytes);
  for (std::uint64_t size = std::min(available, kFirstPickle);; size = std::min(available, 8 * size)) {
    pickle.reset();
    data.assign(static_cast<std::size_t>(size), '\0');
    file.read_at(offset, std::as_writable_bytes(std::span(data)));
    pickle = std::make_unique<Pickle>(data);
    if (!pickle->fault() || !pickle->fault()->truncated || size == available) return;
  }
}

std::string pickle_member(const std::string& root_name) {
  return (root_name.empty() ? "" : root_name + "/") + "data.pkl";
}

void read_byte_order(const ZipArchive& zip, const std::string& prefix, TorchStorages& storages) {
  const ZipEntry* const entry = zip.find(prefix + "byteorder");
  if (entry == nullptr) return;
  const std::string order = zip.read(*entry, 64);
  if (order != "little" && order != "big")
    throw malformed("its byte order is '" + escape_name(order) + "', neither little nor big");
  storages.big_endian = order == "big";
}

// The pickle, broken or not, and the places of the storages.
void read_torch_zip(const ZipArchive& zip, TorchObject& object, TorchStorages& storages) {
  object.container = TorchContainer::kZip;
  if (zip.entries().empty()) throw malformed("the zip archive is empty");
  // torch takes the first entry's folder for the archive's (caffe2/serialize/inline_container.cc).
  const std::string_view first = zip.entries().front().name;
  const std::size_t slash = first.find('/');
  object.root_name = first.substr(0, slash == std::string_view::npos ? 0 : slash);
  const std::string prefix = object.root_name.empty() ? "" : object.root_name + "/";
  const ZipEntry* const pickle = zip.find(pickle_member(object.root_name));
  if (pickle == nullptr)
    throw malformed("the zip archive holds neither a torch pickle (data.pkl) nor NumPy arrays")
        .hint("unpack it first if the weights lie inside");
  if (zip.find(prefix + "constants.pkl") != nullptr) object.container = TorchContainer::kScript;
  object.data = zip.read(*pickle, Pickle::kMaxBytes);
  object.pickle = std::make_unique<Pickle>(object.data);
  read_byte_order(zip, prefix, storages);
  const std::string data_folder = prefix + "data/";
  for (const ZipEntry& entry : zip.entries()) {
    if (!entry.name.starts_with(data_folder) || entry.is_folder()) continue;
    TorchStorage storage;
    storage.bytes = entry.size;
    if (entry.method == 0) {
      storage.offset = zip.data_offset(entry);
    } else {
      storage.inflated = zip.inflated(entry);
    }
    storages.by_key.emplace(entry.name.substr(data_folder.size()), std::move(storage));
  }
}

class TorchFileReader {
 public:
  TorchFileReader(Weights& weights, InputFile file)
      : weights_(weights),
        source_(static_cast<std::uint32_t>(weights.files.size())),
        file_(std::move(file)),
        name_(file_.path()),
        object_(std::make_shared<TorchObject>()) {}

  void read() {
    std::string start(static_cast<std::size_t>(std::min<std::uint64_t>(file_.size(), kLegacyStart.size())),
                      '\0');
    file_.read_at(0, std::as_writable_bytes(std::span(start)));
    std::uint64_t data_begin = 0;
    if (start.starts_with("PK")) {
      read_zip();
    } else if (start == kLegacyStart) {
      data_begin = read_legacy();
    } else {
      read_plain();
    }
    for (const PickleReport& report : object_->reports) note_fault(report);
    if (object_->pickle && !object_->pickle->fault())
      add_torch_tensors(weights_, *object_, storages_, source_, name_);
    const std::uint64_t size = file_.size();
    WeightsFile file{
        .name = name_, .file = std::move(file_), .size = size, .data_begin = data_begin, .metadata = {}};
    file.object = std::move(object_);
    weights_.files.push_back(std::move(file));
  }

 private:
  void odd(std::string_view rule, Level level, std::string message) {
    weights_.findings.add({rule, level, false, std::move(message), name_});
  }

  void note_fault(const PickleReport& report) {
    if (!report.fault) return;
    weights_.findings.add(
        {"PK-BROKEN", Level::kLoads, false,
         fmt::format("{} is broken: {}", report.pickle.empty() ? "the pickle" : escape_name(report.pickle),
                     report.fault->message),
         name_, report.fault->at});
  }

  void report(const Pickle& pickle, std::string member) {
    PickleReport result = report_pickle(pickle);
    result.pickle = std::move(member);
    object_->reports.push_back(std::move(result));
  }

  // --- zip ---

  void read_zip() {
    const ZipArchive zip(file_, 0, file_.size(), weights_.findings);
    read_torch_zip(zip, *object_, storages_);
    const ZipEntry* const pickle = zip.find(pickle_member(object_->root_name));
    report(*object_->pickle, std::string(pickle->name));
    if (!object_->pickle->fault() && object_->pickle->size() != object_->data.size())
      report_stacked(object_->pickle->size());
    report_other_pickles(zip, pickle);
  }

  // Any other member that begins like a pickle: TorchScript has some, attackers hide theirs.
  void report_other_pickles(const ZipArchive& zip, const ZipEntry* main) {
    constexpr std::uint64_t kLargest = 16U << 20;
    for (const ZipEntry& entry : zip.entries()) {
      if (&entry == main || entry.is_folder() || entry.size < 2 || entry.size > kLargest) continue;
      const bool storage = entry.name.find("/data/") != std::string_view::npos;
      const bool named = entry.name.ends_with(".pkl") || entry.name.ends_with(".pickle");
      if (storage || (!named && entry.name.find("/.data/") != std::string_view::npos)) continue;
      const std::string data = zip.read(entry, kLargest);
      const bool looks = data[0] == '\x80' && static_cast<unsigned char>(data[1]) <= 5;
      if (!looks && !named) continue;
      const Pickle pickle(data);
      if (!named && pickle.fault()) continue;
      report(pickle, std::string(entry.name));
      if (object_->container != TorchContainer::kScript)
        odd("PT-EXTRA", Level::kSpec,
            "the member '" + escape_name(entry.name) + "' is a further pickle, which torch does not write");
      if (object_->reports.size() > kMaxStacked) return;
    }
  }

  // Pickles that follow the first in the same member or file.
  void report_stacked(std::size_t from) {
    std::size_t count = 0;
    while (from < object_->data.size() && count < kMaxStacked) {
      const std::string_view rest = std::string_view(object_->data).substr(from);
      if (rest.front() != '\x80') break;
      const Pickle pickle(rest);
      report(pickle, fmt::format("the pickle at byte {}", from));
      ++count;
      if (pickle.fault()) break;
      from += pickle.size();
    }
    odd("PT-TRAILING", Level::kSpec,
        fmt::format("{} bytes follow the pickle", object_->data.size() - object_->pickle->size()));
  }

  // --- the legacy stream ---

  // The next pickle of the stream, which must be whole.
  std::uint64_t next_pickle(std::uint64_t at, std::string& data, std::unique_ptr<Pickle>& pickle,
                            std::string_view what) {
    if (at >= file_.size())
      throw malformed(fmt::format("the file ends before its {}", what)).at(fmt::format("byte {}", at));
    read_pickle_at(file_, at, data, pickle);
    if (pickle->fault()) throw fault_error(*pickle->fault(), what);
    return at + pickle->size();
  }

  // Returns where the storages begin.
  std::uint64_t read_legacy() {
    object_->container = TorchContainer::kLegacy;
    std::string data;
    std::unique_ptr<Pickle> part;
    std::uint64_t at = next_pickle(kLegacyStart.size(), data, part, "protocol number");
    if (part->kind(part->root()) != PickleKind::kInt || part->integer(part->root()) != 1001)
      throw malformed("its torch protocol is not 1001");
    at = next_pickle(at, data, part, "system information");
    const PickleId little = pickle_find(*part, part->root(), "little_endian");
    storages_.big_endian =
        little != kNoNode && part->kind(little) == PickleKind::kBool && !part->truth(little);
    read_pickle_at(file_, at, object_->data, object_->pickle);
    report(*object_->pickle, "");
    if (object_->pickle->fault()) return at;
    at += object_->pickle->size();
    at = next_pickle(at, data, part, "list of storages");
    // Element sizes are known from the references alone.
    std::map<std::string, std::uint64_t, std::less<>> element_bytes;
    for (PickleId id = 0; id < object_->pickle->node_count(); ++id) {
      if (object_->pickle->kind(id) != PickleKind::kPersistent) continue;
      try {
        const StorageReference reference = storage_reference(*object_->pickle, id);
        element_bytes.emplace(reference.key, reference.type.bytes);
      } catch (const Error&) {
        continue;  // ('module', …) and whatever else; who needs it will say so
      }
    }
    const std::uint64_t begin = at;
    for (const PickleId key : part->items(part->root())) {
      const auto known = element_bytes.find(part->text(key));
      if (known == element_bytes.end())
        throw malformed("the storage '" + escape_name(part->text(key)) + "' is used by no tensor");
      if (file_.size() - at < 8)
        throw malformed("the file ends before its storages").at(fmt::format("byte {}", at));
      std::byte count[8];
      file_.read_at(at, count);
      const std::optional<std::uint64_t> bytes = checked_mul(load_le<std::uint64_t>(count), known->second);
      at += 8;
      if (!bytes || *bytes > file_.size() - at)
        throw malformed(
            fmt::format("the storage '{}' reaches beyond the end of the file", escape_name(known->first)))
            .at(fmt::format("byte {}", at));
      storages_.by_key.emplace(known->first, TorchStorage{at, *bytes});
      at += *bytes;
    }
    if (at != file_.size())
      odd("PT-TRAILING", Level::kSpec, fmt::format("{} bytes follow the last storage", file_.size() - at));
    return begin;
  }

  // --- a pickle alone ---

  void read_plain() {
    if (file_.size() > Pickle::kMaxBytes)
      throw malformed(fmt::format("a pickle of {} bytes, more than {}", file_.size(), Pickle::kMaxBytes));
    read_pickle_at(file_, 0, object_->data, object_->pickle);
    report(*object_->pickle, "");
    if (!object_->pickle->fault() && object_->pickle->size() != file_.size()) {
      object_->pickle.reset();
      object_->data.assign(static_cast<std::size_t>(file_.size()), '\0');
      file_.read_at(0, std::as_writable_bytes(std::span(object_->data)));
      object_->pickle = std::make_unique<Pickle>(object_->data);
      report_stacked(object_->pickle->size());
    }
  }

  Weights& weights_;
  std::uint32_t source_;
  InputFile file_;
  std::string name_;
  std::shared_ptr<TorchObject> object_;
  TorchStorages storages_;
};

}  // namespace

std::string_view container_name(TorchContainer container) {
  switch (container) {
    case TorchContainer::kZip:
      return "torch zip";
    case TorchContainer::kLegacy:
      return "torch legacy stream";
    case TorchContainer::kScript:
      return "TorchScript archive";
    case TorchContainer::kPickle:
      return "pickle";
  }
  return "";
}

Verdict TorchObject::worst() const {
  Verdict worst = Verdict::kHarmless;
  for (const PickleReport& report : reports) worst = std::max(worst, report.worst);
  return worst;
}

TorchPart open_torch_part(const InputFile& file, std::uint64_t begin, std::uint64_t size,
                          Findings& findings) {
  TorchPart part;
  read_torch_zip(ZipArchive(file, begin, size, findings), *part.object, part.storages);
  if (part.object->pickle->fault()) throw fault_error(*part.object->pickle->fault(), "the pickle");
  return part;
}

bool is_torch_start(std::string_view start) {
  if (start.starts_with("PK\x03\x04"sv) || start.starts_with("PK\x05\x06"sv)) return true;
  // A safetensors header may be 0x…80 bytes long; its length fills eight bytes, and "{" follows.
  const bool safetensors = start.size() > 8 && start[8] == '{' && start.substr(4, 4) == "\0\0\0\0"sv;
  return !safetensors && start.size() > 2 && start[0] == '\x80' && start[1] >= 1 && start[1] <= 5;
}

void add_torch_file(Weights& weights, InputFile file) {
  const std::string name = file.path();
  try {
    TorchFileReader(weights, std::move(file)).read();
  } catch (Error& error) {
    throw error.in_file(escape_name(name));
  }
}

}  // namespace mu
