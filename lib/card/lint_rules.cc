// SPDX-License-Identifier: Apache-2.0
// The table of rules, and findings as text and JSON.
#include <fmt/format.h>

#include "base/json_write.h"
#include "base/text.h"
#include "card/lint.h"

namespace mu {

const std::vector<LintRule>& lint_rules() {
  static const std::vector<LintRule> rules = {
      {"CG-BASE", true, false, "write the id of the model, OWNER/NAME"},
      {"CG-DATASET", true, false, "write the id of the dataset, OWNER/NAME"},
      {"CG-LICENSE", true, true, "use an identifier of the Hub, or other with license_name and license_link"},
      {"CG-LINK", true, false, "name the file LICENSE, or give an https address"},
      {"CG-LANGUAGE", true, true, "use a two- or three-letter code; regions belong in language_bcp47"},
      {"CG-TAGS", true, true, "write a list, one tag on each line"},
      {"CG-TYPE", true, false, "give the key a value of that type, and quote it if it is text"},
      {"CG-RELATION", true, false, "use one of the four words"},
      {"CG-INDEX", true, false, "complete or quote the entry, or leave model-index out"},
      {"CG-TOKEN", true, false, "remove it and revoke the token"},
      {"CG-REGION", true, false, "restore its end marker, or remove the begin marker"},
      {"CG-BLANK", true, false, "add keys or remove the two fences"},
      {"CG-OBJECT", true, false, "write keys with values, one on each line"},
      {"CG-EMPTY", false, false, "card-gen -i FOLDER adds it"},
      {"CG-TASK", false, false, "use a task of https://huggingface.co/tasks"},
      {"CG-NOLICENSE", false, false, "declare the licence, usually that of the base model"},
      {"CG-LICENCE", false, true, "write license: with an identifier"},
      {"CG-OTHER", false, false, "add both keys"},
      {"CG-SLUG", false, false, "write lower-case letters, digits and dashes, such as my-license-1.0"},
      {"CG-FAMILY", false, false,
       "declare the licence of the base model, or other with license_name and license_link"},
      {"CG-DATAFILE", false, false, "write the id of the dataset, OWNER/NAME, or leave it out"},
      {"CG-NORELATION", false, false, "add base_model_relation"},
      {"CG-MISSING", false, false, "add the key"},
      {"CG-NONE", false, false, "name the model or remove the line; card-gen -i FOLDER repairs it"},
      {"CG-PLACEHOLDER", false, true, "write the section or remove it"},
      {"CG-PATH", false, false, "write an id or remove it"},
      {"CG-DOUBT", false, false, "check the code"},
      {"CG-BRACKET", false, false, "write one item on each line"},
      {"CG-DIALECT", false, true, "put it in quotes"},
      {"CG-BOM", false, true, "save the file without it"},
  };
  return rules;
}

std::string lint_text(const std::vector<LintFinding>& findings, std::string_view file) {
  std::string out;
  for (const LintFinding& finding : findings) {
    out += fmt::format("{}:{}: {}: {} [{}]; {}\n", escape_name(file), finding.line,
                       finding.rule->is_error ? "error" : "warning", finding.message, finding.rule->id,
                       finding.rule->advice);
  }
  return out;
}

std::string lint_json(const std::vector<LintFinding>& findings, std::string_view file) {
  std::string out;
  JsonWriter json(out);
  json.begin_object()
      .member("schema", "modelutils.card-gen.lint/1")
      .member("file", file)
      .key("findings")
      .begin_array();
  for (const LintFinding& finding : findings) {
    json.begin_object().member("line", finding.line).member("rule", finding.rule->id);
    json.member("severity", finding.rule->is_error ? "error" : "warning").member("message", finding.message);
    json.member("advice", finding.rule->advice).member("fixable", finding.is_fixable).end_object();
  }
  json.end_array().end_object();
  return out + "\n";
}

}  // namespace mu
