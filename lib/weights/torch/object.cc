// SPDX-License-Identifier: Apache-2.0
#include "weights/torch/object.h"

#include <algorithm>

namespace mu {

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

}  // namespace mu
