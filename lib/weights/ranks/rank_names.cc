// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/rank_names.h"

#include <charconv>

namespace mu {
namespace {

bool take(std::string_view& text, std::string_view start) {
  if (!text.starts_with(start)) return false;
  text.remove_prefix(start.size());
  return true;
}

std::optional<std::uint64_t> take_number(std::string_view& text) {
  std::uint64_t value = 0;
  const std::from_chars_result parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc() || value >= kMostRanks) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
  return value;
}

// "PREFIX3SUFFIX", nothing else.
std::optional<std::uint64_t> number_between(std::string_view name, std::string_view prefix,
                                            std::string_view suffix) {
  if (!take(name, prefix)) return std::nullopt;
  const std::optional<std::uint64_t> number = take_number(name);
  return number && name == suffix ? number : std::nullopt;
}

std::optional<RankName> parse_world_size(std::string_view name) {
  const std::size_t at = name.find("_world_size_");
  if (at == std::string_view::npos || at == 0) return std::nullopt;
  std::string_view rest = name.substr(at + std::string_view("_world_size_").size());
  const std::optional<std::uint64_t> processes = take_number(rest);
  if (!processes || !take(rest, "_rank_")) return std::nullopt;
  const std::optional<std::uint64_t> rank = take_number(rest);
  if (!rank || (!rest.empty() && rest.front() != '.')) return std::nullopt;
  return RankName{std::string(name.substr(0, at)) + std::string(rest), *rank, processes};
}

std::optional<RankName> parse_rank_of(std::string_view name) {
  std::string_view rest = name;
  if (!take(rest, "rank")) return std::nullopt;
  const std::optional<std::uint64_t> rank = take_number(rest);
  if (!rank || !take(rest, "-of-")) return std::nullopt;
  const std::optional<std::uint64_t> processes = take_number(rest);
  if (!processes || !take(rest, "-") || rest.empty()) return std::nullopt;
  return RankName{std::string(rest), *rank, processes};
}

std::optional<RankName> parse_accelerate(std::string_view name) {
  if (!name.starts_with("pytorch_model_fsdp_") && !name.starts_with("optimizer_")) return std::nullopt;
  const std::size_t at = name.find("_rank");
  if (at == std::string_view::npos) return std::nullopt;
  const std::optional<std::uint64_t> rank = number_between(name.substr(at), "_rank", ".bin");
  if (!rank) return std::nullopt;
  return RankName{std::string(name.substr(0, at)) + ".bin", *rank, std::nullopt};
}

}  // namespace

std::optional<RankName> parse_rank_name(std::string_view name) {
  if (const std::optional<std::uint64_t> rank = number_between(name, "rng_state_", ".pth"))
    return RankName{"rng_state", *rank, std::nullopt, true};
  if (const std::optional<std::uint64_t> rank = number_between(name, "random_states_", ".pkl"))
    return RankName{"random_states", *rank, std::nullopt, true};
  if (std::optional<RankName> found = parse_world_size(name)) return found;
  if (std::optional<RankName> found = parse_rank_of(name)) return found;
  return parse_accelerate(name);
}

std::optional<std::uint64_t> distcp_rank(std::string_view name) {
  if (!name.ends_with(".distcp") || !take(name, "__")) return std::nullopt;
  const std::optional<std::uint64_t> rank = take_number(name);
  return rank && name.starts_with('_') ? rank : std::nullopt;
}

std::optional<std::vector<std::uint64_t>> parse_model_rank_folder(std::string_view name) {
  if (!take(name, "mp_rank")) return std::nullopt;
  std::vector<std::uint64_t> place;
  while (!name.empty()) {
    if (!take(name, "_")) return std::nullopt;
    const std::optional<std::uint64_t> number = take_number(name);
    if (!number || place.size() == 4) return std::nullopt;
    place.push_back(*number);
  }
  return place.empty() ? std::nullopt : std::optional(place);
}

std::optional<std::uint64_t> first_missing(const std::set<std::uint64_t>& ranks, std::uint64_t end) {
  std::uint64_t expected = 0;
  for (const std::uint64_t rank : ranks) {
    if (rank != expected) break;
    ++expected;
  }
  return expected < end ? std::optional(expected) : std::nullopt;
}

}  // namespace mu
