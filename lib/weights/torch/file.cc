// SPDX-License-Identifier: Apache-2.0
// The three containers differ in where the pickle and the storages lie; tensors.cc reads what the pickle says
// of them.
//
// A zip archive (torch 1.6 and later) has the pickle in the member data.pkl and each storage in a member
// data/KEY, below a folder with the name that the file was written under. A legacy stream is four pickles in
// a row, of a magic number, the protocol, facts of the system and the object, then a pickled list of the
// storages' keys and the storages themselves, each with its count of elements before it. A plain pickle has
// no storages.
//
// Whatever the container, the pickle is read by the inert reader (pickle.h), reported (safety.h) and, if it
// is sound, its tensors are added. Further pickles in the file are reported too, because a loader may run
// them: members that look like pickles, and pickles behind the end of the first. They are read one after the
// other, and their number and size have ceilings, so that memory holds the object's own pickle and one other.
#include "weights/torch/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "weights/archive/zip.h"
#include "weights/torch/distributed.h"
#include "weights/torch/rank_place.h"
#include "weights/torch/tensors.h"

namespace mu {
namespace {

using namespace std::string_view_literals;

// The number that begins a legacy file, as a pickle of it reads. It is compared as a value of the inert
// reader: a program that lets Python make it has already lost.
constexpr std::string_view kLegacyMagic = "0x1950a86a20f9469cfc6c",
                           kLegacyMagicLine = "119547037146038801333356";
constexpr std::uint64_t kMaxMagic = 64;              // bytes of its pickle
constexpr std::uint64_t kFirstPickle = 1U << 20;     // bytes read at first when a pickle's size is not known
constexpr std::uint64_t kMaxSmallPickle = 8U << 20;  // bytes of those around the one that counts
constexpr std::size_t kMaxStacked = 100;             // further pickles of a file or archive
constexpr std::uint64_t kMaxExtraBytes = 64U << 20;  // of members that look like pickles, unpacked, together

Error fault_error(const PickleFault& fault, std::string_view what) {
  return malformed(fmt::format("{} is broken: {} [PK-BROKEN]", what, fault.message))
      .at(fmt::format("byte {} of the pickle", fault.at));
}

// Reads the pickle at `offset`, whose size is not known: reads more and more of the file until the pickle ends.
void read_pickle_at(const InputFile& file, std::uint64_t offset, std::string& data,
                    std::unique_ptr<Pickle>& pickle, std::uint64_t most = Pickle::kMaxBytes,
                    std::size_t max_memory = Pickle::kMaxMemory) {
  const std::uint64_t available = std::min<std::uint64_t>(file.size() - offset, most);
  for (std::uint64_t size = std::min(available, kFirstPickle);; size = std::min(available, 8 * size)) {
    pickle.reset();
    data.assign(static_cast<std::size_t>(size), '\0');
    file.read_at(offset, std::as_writable_bytes(std::span(data)));
    pickle = std::make_unique<Pickle>(data, max_memory);
    if (!pickle->fault() || !pickle->fault()->truncated || size == available) return;
  }
}

// The size of the pickle that marks a legacy file; 0 when the file is not one.
std::size_t legacy_magic_size(std::string_view start) {
  const Pickle pickle(start.substr(0, kMaxMagic));
  if (pickle.fault() || pickle.kind(pickle.root()) != PickleKind::kBigInt) return 0;
  const std::string_view magic = pickle.text(pickle.root());
  return magic == kLegacyMagic || magic == kLegacyMagicLine ? pickle.size() : 0;
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

// The pickle, broken or not. Returns its member.
const ZipEntry& read_zip_pickle(const ZipArchive& zip, TorchObject& object) {
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
  return *pickle;
}

// Where the storages lie.
void read_zip_storages(const ZipArchive& zip, const TorchObject& object, TorchStorages& storages) {
  const std::string prefix = object.root_name.empty() ? "" : object.root_name + "/";
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
    if (storages.by_key.size() == TorchStorages::kMost)
      throw malformed(fmt::format("it holds more than {} storages", group_digits(TorchStorages::kMost)));
    storages.by_key.emplace(entry.name.substr(data_folder.size()), std::move(storage));
  }
}

class TorchFileReader {
 public:
  TorchFileReader(Weights& weights, InputFile file, std::string_view key)
      : weights_(weights),
        source_(static_cast<std::uint32_t>(weights.files.size())),
        file_(std::move(file)),
        name_(file_.path()),
        key_(key),
        object_(std::make_shared<TorchObject>()) {}

  void read() {
    std::string start(static_cast<std::size_t>(std::min(file_.size(), kMaxMagic)), '\0');
    file_.read_at(0, std::as_writable_bytes(std::span(start)));
    std::uint64_t data_begin = 0;
    try {
      if (start.starts_with("PK")) {
        read_zip();
      } else if (const std::size_t magic = legacy_magic_size(start); magic > 0) {
        data_begin = read_legacy(magic);
      } else {
        read_plain();
      }
      const bool broken = std::any_of(object_->reports.begin(), object_->reports.end(),
                                      [](const PickleReport& report) { return report.fault.has_value(); });
      if (object_->pickle && !broken) {
        add_torch_tensors(weights_, *object_, storages_, source_, name_, key_);
        object_->place = find_rank_place(*object_->pickle, storages_, file_);
        object_->has_pieces = std::any_of(
            weights_.tensors.begin(), weights_.tensors.end(),
            [&](const Tensor& tensor) { return tensor.source == source_ && is_distributed_type(tensor); });
      }
    } catch (const Error& error) {
      // What the pickles would do is reported anyway.
      if (error.kind() != ErrorKind::kMalformed || object_->reports.empty()) throw;
      odd("PT-BROKEN", Level::kLoads, error.what());
    }
    for (const PickleReport& report : object_->reports) note_problems(report);
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

  void note_problems(const PickleReport& report) {
    const std::string which = report.pickle.empty() ? "the pickle" : escape_name(report.pickle);
    if (report.fault)
      weights_.findings.add({"PK-BROKEN", Level::kLoads, false,
                             fmt::format("{} is broken: {}", which, report.fault->message), name_,
                             report.fault->at});
    if (report.oddity)
      weights_.findings.add({"PK-ODD", Level::kSpec, false,
                             fmt::format("{}: {}", which, report.oddity->message), name_, report.oddity->at});
  }

  void report(const Pickle& pickle, std::string member) {
    PickleReport result = report_pickle(pickle);
    result.pickle = std::move(member);
    object_->reports.push_back(std::move(result));
  }

  // --- zip ---

  void read_zip() {
    const ZipArchive zip(file_, 0, file_.size(), weights_.findings);
    const ZipEntry& member = read_zip_pickle(zip, *object_);
    report(*object_->pickle, std::string(member.name));
    if (!ZipArchive::is_intact(member, object_->data))
      odd("ZP-CRC", Level::kSpec, "the checksum of '" + escape_name(member.name) + "' differs");
    if (!object_->pickle->fault() && object_->pickle->size() != object_->data.size())
      report_stacked(object_->pickle->size());
    report_other_pickles(zip, &member);
    read_zip_storages(zip, *object_, storages_);
  }

  // Any other member that is a pickle by its name or its first bytes: TorchScript has some, attackers hide
  // theirs.
  void report_other_pickles(const ZipArchive& zip, const ZipEntry* main) {
    std::uint64_t bytes = 0;
    for (const ZipEntry& entry : zip.entries()) {
      const bool storage = entry.name.find("/data/") != std::string_view::npos;
      if (&entry == main || storage || entry.is_folder() || entry.size < 2) continue;
      const bool named = entry.name.ends_with(".pkl") || entry.name.ends_with(".pickle");
      const std::string start = zip.read_start(entry, 2);
      const bool looks = start[0] == '\x80' && static_cast<unsigned char>(start[1]) <= 5;
      if (!named && !looks) continue;
      bytes += entry.size;
      if (bytes > kMaxExtraBytes || object_->reports.size() > kMaxStacked)
        return odd("PT-MANY", Level::kLoads,
                   "it holds more further pickles than are looked into; the next is '" +
                       escape_name(entry.name) + "'");
      const std::string data = zip.read(entry, kMaxExtraBytes);
      const Pickle pickle(data, Pickle::kMaxSideMemory);
      // Bytes that happen to begin like a pickle and break off at once are not one.
      if (!named && pickle.fault() && pickle.globals().empty()) continue;
      report(pickle, std::string(entry.name));
      if (object_->container != TorchContainer::kScript)
        odd("PT-EXTRA", Level::kSpec,
            "the member '" + escape_name(entry.name) + "' is a further pickle, which torch does not write");
    }
  }

  // Pickles that follow the first in the same member or file: a program that loads twice runs them.
  void report_stacked(std::size_t from) {
    odd("PT-TRAILING", Level::kSpec, fmt::format("{} bytes follow the pickle", object_->data.size() - from));
    std::size_t count = 0;
    while (from < object_->data.size()) {
      const Pickle pickle(std::string_view(object_->data).substr(from), Pickle::kMaxSideMemory);
      if (pickle.fault() && pickle.globals().empty()) return;  // not a pickle, or one that does nothing
      if (++count > kMaxStacked)
        return odd("PT-MANY", Level::kLoads,
                   fmt::format("more than {} pickles follow one another", kMaxStacked));
      report(pickle, fmt::format("the pickle at byte {}", from));
      if (pickle.fault()) return;
      from += pickle.size();
    }
  }

  // --- the legacy stream ---

  // The next pickle of the stream, which must be whole. torch unpickles all of them, so each is reported when
  // it names anything.
  std::uint64_t next_pickle(std::uint64_t at, std::string& data, std::unique_ptr<Pickle>& pickle,
                            std::string_view what) {
    if (at >= file_.size())
      throw malformed(fmt::format("the file ends before its {}", what)).at(fmt::format("byte {}", at));
    read_pickle_at(file_, at, data, pickle, kMaxSmallPickle, Pickle::kMaxSideMemory);
    if (!pickle->globals().empty() || !pickle->calls().empty())
      report(*pickle, fmt::format("its {} at byte {}", what, at));
    if (pickle->fault() && pickle->globals().empty()) throw fault_error(*pickle->fault(), what);
    return at + pickle->size();
  }

  // Reads on where the magic number ends. Returns where the storages begin.
  std::uint64_t read_legacy(std::uint64_t at) {
    object_->container = TorchContainer::kLegacy;
    std::string data;
    std::unique_ptr<Pickle> part;
    at = next_pickle(at, data, part, "protocol number");
    if (part->fault()) return at;
    if (part->kind(part->root()) != PickleKind::kInt || part->integer(part->root()) != 1001) {
      odd("PT-PROTOCOL", Level::kLoads, "its torch protocol is not 1001");
      return at;
    }
    at = next_pickle(at, data, part, "system information");
    if (part->fault()) return at;
    const PickleId little = pickle_find(*part, part->root(), "little_endian");
    storages_.big_endian =
        little != kNoNode && part->kind(little) == PickleKind::kBool && !part->truth(little);
    part.reset();
    read_pickle_at(file_, at, object_->data, object_->pickle);
    report(*object_->pickle, "");
    if (object_->pickle->fault()) return at;
    at = next_pickle(at + object_->pickle->size(), data, part, "list of storages");
    if (!part->fault()) read_storages(*part, at);
    return at;
  }

  // The storages, one after the other from byte `at`, in the order of a list of their keys.
  void read_storages(const Pickle& keys, std::uint64_t at) {
    // Only the references tell the sizes of elements.
    const Pickle& pickle = *object_->pickle;
    std::map<std::string_view, std::uint64_t> element_bytes;
    for (PickleId id = 0; id < pickle.node_count(); ++id) {
      const std::optional<StorageReference> reference = find_storage_reference(pickle, id);
      if (reference && reference->type) element_bytes.emplace(reference->key, reference->type->bytes);
      if (element_bytes.size() > TorchStorages::kMost)
        throw malformed(fmt::format("it holds more than {} storages", group_digits(TorchStorages::kMost)));
    }
    for (const PickleId key : keys.items(keys.root())) {
      const std::string_view name = keys.text(key);
      const std::string name_shown = escape_name(shorten(name, 40));
      const auto known = element_bytes.find(name);
      if (known == element_bytes.end())
        throw malformed("the storage '" + name_shown + "' is used by no tensor");
      if (file_.size() - at < 8)
        throw malformed("the file ends before its storages").at(fmt::format("byte {}", at));
      std::byte count[8];
      file_.read_at(at, count);
      const std::optional<std::uint64_t> bytes = checked_mul(load_le<std::uint64_t>(count), known->second);
      at += 8;
      if (!bytes || *bytes > file_.size() - at)
        throw malformed(fmt::format("the storage '{}' reaches beyond the end of the file", name_shown))
            .at(fmt::format("byte {}", at));
      if (!storages_.by_key.emplace(name, TorchStorage{at, *bytes}).second)
        throw malformed(fmt::format("the storage '{}' appears twice", name_shown))
            .at(fmt::format("byte {}", at));
      at += *bytes;
    }
    if (at != file_.size())
      odd("PT-TRAILING", Level::kSpec, fmt::format("{} bytes follow the last storage", file_.size() - at));
  }

  // --- a plain pickle ---

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
  std::string_view key_;
  std::shared_ptr<TorchObject> object_;
  TorchStorages storages_;
};

}  // namespace

TorchArchive open_torch_archive(const InputFile& file, std::uint64_t begin, std::uint64_t size,
                                Findings& findings) {
  TorchArchive part;
  const ZipArchive zip(file, begin, size, findings);
  read_zip_pickle(zip, *part.object);
  read_zip_storages(zip, *part.object, part.storages);
  if (part.object->pickle->fault()) throw fault_error(*part.object->pickle->fault(), "the pickle");
  return part;
}

bool is_torch_start(std::string_view start) {
  if (start.starts_with("PK\x03\x04"sv) || start.starts_with("PK\x05\x06"sv)) return true;
  // A safetensors header may be 0x…80 bytes long; its length fills eight bytes, and "{" follows.
  const bool safetensors = start.size() > 8 && start[8] == '{' && start.substr(4, 4) == "\0\0\0\0"sv;
  return !safetensors && start.size() > 2 && start[0] == '\x80' && start[1] >= 1 && start[1] <= 5;
}

void add_torch_file(Weights& weights, InputFile file, std::string_view key) {
  const std::string name = file.path();
  in_file(name, [&] { TorchFileReader(weights, std::move(file), key).read(); });
}

}  // namespace mu
