// SPDX-License-Identifier: Apache-2.0
// What lora-extract found, as text for people and as JSON for programs (schema "modelutils.lora-extract/1").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lora/compare.h"
#include "lora/extract.h"
#include "lora/pair.h"
#include "lora/pair_fetch.h"

namespace mu {

// One line for each module: rank, scale, shapes.
std::string modules_text(const Extraction& extraction);

// "6 modules of rank 4, alpha 8, 1,664 parameters".
std::string extraction_line(const Extraction& extraction);

// `files` are the names and bytes of what is, or will be, written.
// `to_read`: bytes that come over the network, if any do.
std::string extraction_json(const Extraction& extraction, const std::string& out, bool done,
                            std::optional<std::uint64_t> to_read,
                            const std::vector<std::pair<std::string, std::uint64_t>>& files);

// For a pair, one row for each module: rank, error, energy, gap; with `spectra` also the singular values as
// blocks, one block lower for each power of two below the largest.
std::string pair_text(const PairResult& result, bool spectra);

// What is lost, and what is stored whole: one line each, with the first names.
std::vector<std::string> pair_notes(const PairResult& result);

// Rows of a comparison: distance, cosine, angles, ranks; of tensors that are not factors the distance alone.
std::string comparison_text(const AdapterComparison& found);
std::string comparison_json(const AdapterComparison& found, const std::string& a, const std::string& b);
// Rows of a resized adapter: ranks and what was lost.
std::string resized_text(const Resized& resized);
std::string resized_json(const Resized& resized, const std::string& input, const std::string& out, bool done);

// What would be compared, before anything large is read: those of the plan's tensors that `units` names. `fetch` is
// what of it would come over the network.
std::string pair_plan_json(const PairPlan& plan, const std::vector<std::size_t>& units,
                           const std::string& base, const std::string& tuned, const std::string& out,
                           const PairFetch& fetch);
// A line; empty if nothing would come over the network.
std::string to_read_text(const PairFetch& fetch);
std::string pair_json(const PairResult& result, const std::string& base, const std::string& tuned,
                      const std::string& out, bool done,
                      const std::vector<std::pair<std::string, std::uint64_t>>& files);

}  // namespace mu
