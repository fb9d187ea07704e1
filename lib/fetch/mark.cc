// SPDX-License-Identifier: Apache-2.0
#include "fetch/mark.h"

#include "base/decimal.h"
#include "base/error.h"
#include "base/json.h"
#include "base/json_write.h"
#include "hash/sha256.h"

namespace mu {
std::string FetchMark::text() const {
  std::string text;
  JsonWriter json(text, 0);
  json.begin_object().member("range", range).member("at", at).key("hashes").begin_object();
  for (const auto& [first, state] : hashes) json.member(std::to_string(first), state);
  json.end_object().end_object();
  return text;
}

std::optional<FetchMark> FetchMark::parse(std::string_view text) try {
  const JsonDocument document = parse_json(text);
  const JsonValue& root = document.root;
  const std::optional<std::uint64_t> range = root.find_u64("range"), at = root.find_u64("at");
  const JsonValue* const hashes = root.find("hashes");
  if (!range || !at || hashes == nullptr || !hashes->is_object() || root.members().size() != 3 ||
      !document.duplicates.empty())
    return std::nullopt;
  FetchMark mark{static_cast<std::size_t>(*range), *at};
  for (const JsonValue::Member& member : hashes->members()) {
    const std::optional<std::uint64_t> first = parse_decimal(member.key);
    const std::string* const state = member.value.as_string();
    if (!first || state == nullptr || !Sha256::from_state(*state)) return std::nullopt;
    mark.hashes.emplace(static_cast<std::size_t>(*first), *state);
  }
  return mark;
} catch (const Error&) {
  return std::nullopt;
}

}  // namespace mu
