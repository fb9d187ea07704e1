// SPDX-License-Identifier: Apache-2.0
// The first version of the format stores zero points less one, taken from whole words, so that a zero point of 0
// borrowed from its neighbour. Adding it to the whole word undoes that.
#include "weights/quant/gptq.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "base/error.h"
#include "base/regex.h"
#include "base/text.h"
#include "weights/quant/in_out.h"
#include "weights/quant/settings.h"

namespace mu {
namespace {

struct Form {
  std::uint64_t bits = 4;
  std::uint64_t group_size = 0;  // 0: all
};

class Gptq {
 public:
  explicit Gptq(const QuantContext& context) : context_(context) {
    const JsonValue& settings = context.settings;
    form_ = read(settings, {4, 128});
    read_version();
    const JsonValue* const dynamic = settings.find("dynamic");
    if (dynamic == nullptr || !dynamic->is_object()) return;
    for (const JsonValue::Member& member : dynamic->members()) {
      const std::string_view key = member.key;
      const bool marked = key.starts_with("-:") || key.starts_with("+:");
      const Regex pattern(std::string(marked ? key.substr(2) : key), member.key);
      pattern.check();
      overrides_.push_back({pattern, key.starts_with("-:"), &member.value});
    }
  }

  PlainWeight make(const StoredWeight& stored) {
    const Form form = form_of(stored);
    if (form.bits != 2 && form.bits != 4 && form.bits != 8)
      throw refused(fmt::format("'{}' is stored by GPTQ in {} bits, and 2, 4 and 8 can be read",
                                escape_name(stored.weight->name), form.bits));
    InOutWeight weight{.name = stored.module + ".weight",
                       .bits = static_cast<unsigned>(form.bits),
                       .group_size = form.group_size,
                       .codes = stored.weight,
                       .scales = &stored.require(".scales"),
                       .zeros = &stored.require(".qzeros"),
                       .index = stored.find(".g_idx")};
    for (unsigned i = 0; i < 32 / weight.bits; ++i) weight.places[i] = i;
    // One in each of its values.
    if (first_version_) weight.added = 0xFFFFFFFFU / ((1U << weight.bits) - 1);
    require_direction(weight);
    return plain_in_out(weight, context_);
  }

 private:
  struct Override {
    Regex pattern;
    bool never;  // the module is not quantised
    const JsonValue* settings;
  };

  static Form read(const JsonValue& settings, Form form) {
    form.bits = find_size(settings, "bits").value_or(form.bits);
    if (settings.find("group_size") != nullptr)
      form.group_size = find_size(settings, "group_size").value_or(0);
    return form;
  }

  void read_version() {
    const JsonValue& settings = context_.settings;
    if (settings.find_true("is_marlin_format"))
      throw refused("GPTQ weights in the format marlin can't be made plain");
    std::string format;
    for (const std::string_view key : {"format", "checkpoint_format"}) {
      const std::string* const text = settings.find_string(key);
      if (text == nullptr) continue;
      const std::string lower = lower_ascii(*text);
      if (!format.empty() && format != lower)
        throw refused(fmt::format("the config says that GPTQ's format is {}, and that it is {}",
                                  escape_name(format), escape_name(lower)));
      format = lower;
    }
    if (format.empty()) return;
    first_version_ = format == "gptq";
    if (!first_version_ && format != "gptq_v2")
      throw refused(fmt::format("GPTQ weights in the format {} can't be made plain", escape_name(format)));
  }

  // The first pattern that a name begins with decides (dynamic_get of gptqmodel).
  Form form_of(const StoredWeight& stored) {
    for (const Override& override : overrides_) {
      if (!override.pattern.match_start(stored.module, budget_)) continue;
      if (override.never)
        throw refused(fmt::format("'{}' is quantised, and the config's dynamic says by '{}' that it is not",
                                  escape_name(stored.weight->name), escape_name(override.pattern.pattern())));
      return read(*override.settings, form_);
    }
    return form_;
  }

  QuantContext context_;
  Form form_;
  bool first_version_ = true;
  std::vector<Override> overrides_;
  RegexBudget budget_{60 * RegexBudget::kSecond};  // a hundred thousand modules times hundreds of patterns
};

}  // namespace

PlainOf plain_gptq(const QuantContext& context) {
  return [gptq = std::make_shared<Gptq>(context)](const StoredWeight& stored) { return gptq->make(stored); };
}

}  // namespace mu
