// SPDX-License-Identifier: Apache-2.0
#include "model/names_in_base.h"

#include <fmt/format.h>

#include "base/text.h"

namespace mu {

std::string NamesInBase::operator()(std::string_view name) const {
  constexpr std::string_view kModel = "model.", kInner = ".model.";
  switch (way_) {
    case Way::kAsIs:
      return std::string(name);
    case Way::kPublished:
      return names_->published(name);
    case Way::kMemory:
      return names_->memory(name);
    case Way::kWithout:
      return std::string(name.starts_with(prefix_) ? name.substr(prefix_.size()) : name);
    case Way::kWith:
      return (tops_.contains(std::string(name.substr(0, name.find('.')))) ? prefix_ : "") + std::string(name);
    case Way::kText:
      break;
  }
  std::string result(name);
  if (name.starts_with(kModel)) {
    result = prefix_ + std::string(name.substr(kModel.size()));
  } else if (prefix_.ends_with(kInner)) {
    // The head of "language_model.model." lies beside that "model".
    result = prefix_.substr(0, prefix_.size() - kModel.size()) + std::string(name);
  }
  return names_ ? names_->published(result) : result;
}

std::string NamesInBase::note() const {
  switch (way_) {
    case Way::kAsIs:
      return "";
    case Way::kMemory:
      return "names in the adapter are those of files, the base has those of the model in memory";
    case Way::kPublished:
      return "names in the adapter are those of the model in memory, the base has those of files";
    case Way::kText:
      return "the adapter of a text model is merged into the language model of the base";
    case Way::kWithout:
      return fmt::format("names in the adapter begin with '{}', names in the base don't",
                         escape_name(prefix_));
    case Way::kWith:
      return fmt::format("names in the base begin with '{}', names in the adapter don't", prefix_);
  }
  return "";
}

}  // namespace mu
