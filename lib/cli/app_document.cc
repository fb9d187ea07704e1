// SPDX-License-Identifier: Apache-2.0
// The options of a program as a document. tools/python/make-functions turns it into the functions of the Python package.
#include <CLI/CLI.hpp>

#include "base/json_write.h"
#include "cli/app.h"

namespace mu {

std::string App::options_json() const {
  constexpr const char* kTakes[] = {"nothing", "value after =, or nothing", "value"};
  std::string text;
  JsonWriter json(text);
  json.begin_object().member("schema", "modelutils.options/1");
  json.member("program", text_.name).member("version", MU_VERSION).member("summary", text_.summary);
  json.member("operands", text_.operands).member("example", text_.example);
  json.key("options").begin_array();
  for (const CLI::Option* const option : std::as_const(*app_).get_options()) {
    const Traits& traits = traits_.at(option);
    json.begin_object().key("names").begin_array();
    for (const std::string& name : option->get_snames()) json.value("-" + name);
    for (const std::string& name : option->get_lnames()) json.value("--" + name);
    json.end_array().member("group", option->get_group()).member("takes", kTakes[int(traits.takes)]);
    if (traits.takes != Takes::kNothing) json.member("value", option->get_option_text());
    if (option->get_multi_option_policy() == CLI::MultiOptionPolicy::TakeAll) json.member("repeatable", true);
    if (!traits.choices.empty()) {
      json.key("choices").begin_array();
      for (const std::string_view choice : traits.choices) json.value(choice);
      json.end_array();
    }
    json.member("help", option->get_description()).end_object();
  }
  json.end_array().end_object();
  return text + "\n";
}

}  // namespace mu
