// SPDX-License-Identifier: Apache-2.0
#include "pack/far_record.h"

#include <bit>

#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"

namespace mu {
namespace {

using Numbers = std::vector<std::uint64_t>;

template <typename List, typename Row>
void write_rows(JsonWriter& json, std::string_view key, const List& list, Row row) {
  if (list.empty()) return;
  json.key(key).begin_array();
  for (const auto& one : list) json.numbers(row(one));
  json.end_array();
}

// The whole numbers of a list; nothing if it is anything else.
std::optional<Numbers> numbers_of(const JsonValue& list, std::size_t count) {
  Numbers numbers;
  for (const JsonValue& item : list.items()) {
    const std::optional<std::uint64_t> number = item.as_u64();
    if (!number) return std::nullopt;
    numbers.push_back(*number);
  }
  return numbers.size() == count ? std::optional(numbers) : std::nullopt;
}

// Calls `take` with each list of `count` numbers below a key. False if something there is not such a list.
template <typename Take>
bool read_rows(const JsonValue& root, std::string_view key, std::size_t count, Take take) {
  const JsonValue* const list = root.find(key);
  if (list == nullptr) return true;
  for (const JsonValue& item : list->items()) {
    const std::optional<Numbers> numbers = numbers_of(item, count);
    if (!numbers) return false;
    take(*numbers);
  }
  return list->is_array();
}

bool read_hashes(const JsonValue& root, FarStep& step) {
  const JsonValue* const hashes = root.find("hashes");
  if (hashes == nullptr) return true;
  for (const JsonValue& item : hashes->items()) {
    const std::optional<std::uint64_t> job = item.find_u64("job");
    const std::string* const hash = item.find_string("hash");
    if (!job || hash == nullptr) return false;
    step.hashes.emplace_back(*job, *hash);
  }
  return true;
}

std::uint64_t bits_of(double number) {
  return std::bit_cast<std::uint64_t>(number);
}

double number_of(std::uint64_t bits) {
  return std::bit_cast<double>(bits);
}

}  // namespace

std::string FarStep::text() const {
  std::string line;
  JsonWriter json(line, 0);
  json.begin_object();
  if (mark) json.key("mark").raw(mark->text());
  write_rows(json, "done", done, [](std::size_t job) { return Numbers{job}; });
  write_rows(json, "losses", losses, [](const FarLoss& loss) {
    const CastReport& report = loss.report;
    return Numbers{loss.file, loss.tensor, report.overflowed, report.clipped, report.underflowed};
  });
  write_rows(json, "pieces", pieces, [](const FarPiece& piece) {
    return Numbers{piece.file, piece.tensor, piece.at, piece.size, piece.crc};
  });
  write_rows(json, "errors", errors, [](const std::pair<std::size_t, QuantError::Piece>& error) {
    const QuantError::Piece& sum = error.second;
    return Numbers{error.first, sum.count, bits_of(sum.squares), bits_of(sum.difference),
                   bits_of(sum.largest)};
  });
  if (!hashes.empty()) {
    json.key("hashes").begin_array();
    for (const auto& [job, hash] : hashes)
      json.begin_object().member("job", job).member("hash", hash).end_object();
    json.end_array();
  }
  json.end_object();
  return line;
}

std::optional<FarStep> FarStep::parse(std::string_view line) {
  FarStep step;
  try {
    const JsonDocument document = parse_json(line);
    const JsonValue& root = document.root;
    if (!root.is_object()) return std::nullopt;
    if (const JsonValue* const mark = root.find("mark")) {
      step.mark = FetchMark::parse(line.substr(mark->begin(), mark->end() - mark->begin()));
      if (!step.mark) return std::nullopt;
    }
    const bool sound =
        read_rows(root, "done", 1, [&](const Numbers& n) { step.done.push_back(n[0]); }) &&
        read_rows(root, "losses", 5,
                  [&](const Numbers& n) {
                    step.losses.push_back({n[0], n[1], {n[2], n[3], n[4]}});
                  }) &&
        read_rows(root, "pieces", 5,
                  [&](const Numbers& n) {
                    step.pieces.push_back({n[0], n[1], n[2], n[3], static_cast<std::uint32_t>(n[4])});
                  }) &&
        read_rows(
            root, "errors", 5,
            [&](const Numbers& n) {
              step.errors.push_back({n[0], {0, n[1], number_of(n[2]), number_of(n[3]), number_of(n[4])}});
            }) &&
        read_hashes(root, step);
    return sound ? std::optional(step) : std::nullopt;
  } catch (const Error&) {  // no JSON
    return std::nullopt;
  }
}

}  // namespace mu
