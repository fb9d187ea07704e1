// SPDX-License-Identifier: Apache-2.0
// What programs that write ask of an input, and what they say about it.
#include <fmt/format.h>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "model/adapter_names.h"
#include "model/input.h"
#include "model/pickled.h"
#include "os/folder.h"
#include "weights/ranks/megatron.h"
#include "weights/ranks/zero_files.h"

namespace mu {
namespace {

constexpr std::size_t kShownKeys = 8;  // in a message

}  // namespace

void require_model(const Input& input, std::string_view advice) {
  if (input.is_adapter() || holds_only_adapter(input.weights))
    throw malformed("is an adapter, not a base model").in_file(escape_name(input.name)).hint(advice);
}

void require_sound(const Input& input) {
  input.weights.findings.throw_if_unloadable();
  // Where a storage begins stands before it alone, so each would cost a request.
  for (const WeightsFile& file : input.weights.files) {
    if (file.object && file.object->container == TorchContainer::kLegacy && file.file && file.file->far())
      throw malformed("is not a zip archive but a torch file of the old kind, which can't be read by ranges")
          .in_file(escape_name(file.name))
          .hint("download it, then name the copy");
  }
  for (const Finding& finding : input.folder_findings.list()) {
    if (finding.rule == "MD-JSON") throw malformed(finding.message).in_file(escape_name(finding.file));
  }
  if (!input.weights.index || input.weights.findings.count("IX-MISSING") == 0) return;
  const TensorsByName names = tensors_by_name(input.weights);
  for (const auto& [tensor, shard] : input.weights.index->weight_map) {
    if (names.contains(tensor)) continue;
    throw malformed(fmt::format("tensor '{}' should be in {} but is in no shard [IX-MISSING]",
                                escape_name(tensor), escape_name(shard)))
        .in_file(escape_name(input.weights.index->path));
  }
}

namespace {

// Says what --key could name in a torch file that has no state dict where one is looked for.
void refuse_key(const WeightsFile& file) {
  const TorchObject& object = *file.object;
  if (object.state_dict_key.empty() && object.other_state_dicts.empty()) return;
  std::vector<std::string> keys;
  for (const std::string& key : object.other_state_dicts) {
    if (keys.size() == kShownKeys) break;
    keys.push_back("'" + escape_name(key) + "'");
  }
  const std::string list = join(keys, ", ") + (object.other_state_dicts.size() > keys.size() ? ", …" : "");
  if (object.state_dict_key.empty())
    throw malformed("holds several state dicts: " + list)
        .in_file(escape_name(file.name))
        .hint("st-pack --key KEY takes one of them");
  Error error = malformed(fmt::format("holds no state dict under '{}'", escape_name(object.state_dict_key)));
  if (!keys.empty()) error.hint("--key can be " + list);
  throw error.in_file(escape_name(file.name));
}

// The file of one rank, whose tensors are pieces.
Error one_rank_only(const WeightsFile& file) {
  const RankPlace& place = file.object->place;
  const std::string of = place.ranks > 0 ? fmt::format(" of {}", place.ranks) : "";
  return malformed(place.rank
                       ? fmt::format("rank {}'s part{}: its tensors are pieces [DC-RANK]", *place.rank, of)
                       : fmt::format("one rank's part{}: its tensors are pieces [DC-RANK]", of))
      .in_file(escape_name(file.name))
      .hint("give the folder with the files of all ranks");
}

// Files that hold some of a model's layers or experts, or a part of each, under names of their own.
void refuse_part_of_model(const std::string& path) {
  const std::string_view name = base_name(path);
  if (is_megatron_file(name)) throw megatron_error(parent_of(path));
  in_file(path, [&] { refuse_parallel_file(name); });
}

}  // namespace

void require_state_dicts(const Input& input, bool salvage) {
  for (const WeightsFile& file : input.weights.files) {
    if (!file.object) continue;
    if (!salvage && file.object->worst() == Verdict::kDangerous) {
      throw malformed("its pickle names something that is dangerous to load")
          .in_file(escape_name(file.name))
          .hint(
              "st-inspect --check lists it; --salvage takes the tensors anyway, without running "
              "anything");
    }
    refuse_part_of_model(file.name);
    if (file.object->is_state_dict && file.object->container != TorchContainer::kScript) {
      if (file.object->has_pieces) throw one_rank_only(file);
      continue;
    }
    if (file.object->container != TorchContainer::kScript) refuse_key(file);
    const PickledKind kind = pickled_kind(*file.object);
    Error error = malformed(fmt::format("not weights: {}", pickled_kind_name(kind)));
    if (kind == PickledKind::kModule) error.hint("save the module's state_dict()");
    if (parse_zero_file_name(base_name(file.name)))
      error.hint("this is one rank's file of a checkpoint of DeepSpeed: name the folder it lies in");
    throw error.in_file(escape_name(file.name));
  }
}

namespace {

// "; others are under 'ema' (st-pack --key)"
std::string other_keys(const TorchObject& object) {
  if (object.other_state_dicts.empty()) return "";
  const std::size_t count = object.other_state_dicts.size();
  return fmt::format("; {} under '{}'{} (st-pack --key)", count == 1 ? "another is" : "others are",
                     escape_name(object.other_state_dicts.front()), count == 1 ? "" : ", …");
}

}  // namespace

std::vector<std::string> left_out_notes(const Input& input) {
  std::vector<std::string> notes;
  if (const std::optional<FromRanks>& ranks = input.weights.from_ranks) {
    notes.push_back("made whole from " + ranks->origin);
    notes.insert(notes.end(), ranks->notes.begin(), ranks->notes.end());
  }
  for (const WeightsFile& file : input.weights.files) {
    if (!file.object) continue;
    if (!file.object->state_dict_key.empty())
      notes.push_back(fmt::format("the weights are under '{}' of {}{}",
                                  escape_name(file.object->state_dict_key), escape_name(base_name(file.name)),
                                  other_keys(*file.object)));
    const std::uint64_t more = file.object->left_out_count - file.object->left_out.size();
    if (!file.object->left_out.empty())
      notes.push_back("left out, not tensors: " + join(file.object->left_out, ", ") +
                      (more > 0 ? fmt::format(" and {} more", group_digits(more)) : ""));
  }
  return notes;
}

}  // namespace mu
