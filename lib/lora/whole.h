// SPDX-License-Identifier: Apache-2.0
// What an adapter holds whole: modules of modules_to_save, biases, and the embeddings of a vocabulary that was
// resized. They replace tensors of the base or are added to it, and may undo ties, as in PEFT: a module of
// modules_to_save has weights of its own, so the embedding that it was tied to keeps the old ones.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lora/merge_base.h"
#include "model/names_in_base.h"

namespace mu {

class WholeModules {
 public:
  // With `keep_dtypes` tensors keep their own dtype, else they get that of the tensor they replace.
  WholeModules(MergeBase& base, bool keep_dtypes) : base_(base), keep_dtypes_(keep_dtypes) {}

  // Replaces what the adapter holds whole. Throws kMalformed for shapes that don't fit, and kRefused for a
  // tensor that another adapter holds with other bytes.
  void take(const AdapterUse& use, const NamesInBase& names);

  // To be called for a tensor of which an adapter changes a part. Throws kRefused if another adapter trained it
  // whole, before or afterwards: the change has no meaning for that.
  void note_change(const AdapterUse& use, const std::string& name);

  // After all adapters: throws kMalformed if the vocabulary was resized, but not all tensors that belong to it;
  // else the config gets the new size.
  void finish();

 private:
  struct Whole {
    std::string name;  // in the base
    const ReplacedTensor* from;
  };
  struct Taken {
    std::shared_ptr<const Adapter> adapter;
    const ReplacedTensor* from;
  };
  struct Vocabulary {
    std::uint64_t before, after, width;
    std::string name;  // the tensor that shows it
  };

  std::vector<Whole> gather(const AdapterUse& use, const NamesInBase& names) const;
  void settle_ties(const AdapterUse& use, std::vector<Whole>& wholes);
  void spread_untrained(std::vector<Whole>& wholes) const;
  [[noreturn]] static void refuse_both(const Adapter& whole, const Adapter& change, const std::string& name);
  bool repeats_taken(const AdapterUse& use, const Whole& whole) const;
  void replace(const AdapterUse& use, const Whole& whole);
  void check_shape(const AdapterUse& use, const Whole& whole, const Tensor& old);

  MergeBase& base_;
  bool keep_dtypes_;
  std::map<std::string, Taken> taken_;  // by name in the base
  std::map<std::string, std::shared_ptr<const Adapter>> changed_;
  std::optional<Vocabulary> vocabulary_;
};

}  // namespace mu
