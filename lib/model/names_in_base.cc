// SPDX-License-Identifier: Apache-2.0
#include "model/names_in_base.h"

#include <fmt/format.h>

#include "base/text.h"

namespace mu {

RenamedTensor NamesInBase::renamed(std::string_view name) const {
  const auto as = [](std::string text) { return RenamedTensor{.name = std::move(text)}; };
  switch (way_) {
    case Way::kAsIs:
      break;
    case Way::kPublished:
      return names_->save(name);
    case Way::kMemory:
      return names_->load(name);
    case Way::kText:
      return names_ ? names_->save(in_language_model(name)) : as(in_language_model(name));
    case Way::kWithout:
      return as(std::string(name.starts_with(prefix_) ? name.substr(prefix_.size()) : name));
    case Way::kWith:
      return as((tops_.contains(std::string(name.substr(0, name.find('.')))) ? prefix_ : "") +
                std::string(name));
  }
  return as(std::string(name));
}

std::string NamesInBase::in_language_model(std::string_view name) const {
  constexpr std::string_view kModel = "model.", kInner = ".model.";
  if (name.starts_with(kModel)) return prefix_ + std::string(name.substr(kModel.size()));
  // The head of "language_model.model." lies beside that "model".
  const std::size_t beside = prefix_.ends_with(kInner) ? prefix_.size() - kModel.size() : 0;
  return prefix_.substr(0, beside) + std::string(name);
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
      return "the adapter is of a text model, and goes into the language model of the base";
    case Way::kWithout:
      return fmt::format("names in the adapter begin with '{}', names in the base don't",
                         escape_name(prefix_));
    case Way::kWith:
      return fmt::format("names in the base begin with '{}', names in the adapter don't", prefix_);
  }
  return "";
}

}  // namespace mu
