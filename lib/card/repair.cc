// SPDX-License-Identifier: Apache-2.0
#include "card/repair.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "card/card_text.h"
#include "card/markdown.h"
#include "card/placeholders.h"
#include "card/tables.h"
#include "model/hf_cache.h"
#include "os/folder.h"

namespace mu {
namespace {

std::string link(const std::string& id, std::string_view kind) {
  return md_link(id, fmt::format("https://huggingface.co/{}{}", kind, id));
}

class Repairs {
 public:
  Repairs(std::string& body, const CardFile& card, const CardFacts& facts, std::vector<std::string>& changes)
      : body_(body), card_(card), facts_(facts), changes_(changes) {}

  void run() {
    const std::vector<std::string> bases = facts_.list("base_model"), datasets = facts_.list("datasets");
    const std::string base = bases.empty() ? "a model that is not named here" : link(bases.front(), "");
    const std::string data = datasets.empty() ? "" : link(datasets.front(), "datasets/");
    replace_all("[None](https://huggingface.co/None)", base, "the link to the base model is dead");
    replace_all("[None](https://huggingface.co/datasets/None)",
                data.empty() ? "a dataset that is not named here" : data, "the link to the dataset is dead");
    if (const YamlValue* value = card_.data.find("base_model");
        value != nullptr && value->is_string() && is_local_path(value->text))
      replace_all(fmt::format("[{0}](https://huggingface.co/{0})", value->text), base,
                  "the link to the base model is a local path");
    local_datasets(data);
    replace_all("model=\"None\"", "model=" + python_text(model_id(facts_)),
                "the usage does not name a model");
    replace_all("# Model Card for Model ID", "# " + md_text(facts_.text("name")),
                "the title does not name a model");
    if (!data.empty()) replace_all(" on an unknown dataset.", " on " + data + ".", "the dataset is known");
    quick_start();
    placeholders();
  }

 private:
  void replace_all(std::string_view from, std::string_view to, const std::string& why) {
    std::string out;
    std::size_t at = 0;
    for (std::size_t found = body_.find(from); found != std::string::npos; found = body_.find(from, at)) {
      out.append(body_, at, found - at).append(to);
      at = found + from.size();
    }
    if (at == 0) return;
    body_ = out.append(body_, at);
    changes_.push_back(why);
  }

  // Trainers name a dataset as it was given to them, in a link or bare.
  void local_datasets(const std::string& data) {
    const YamlValue* value = card_.data.find("datasets");
    if (value == nullptr) return;
    for (const std::string& name : value->texts()) {
      if (name.size() < 2 || !is_bad_dataset(name)) continue;
      const std::string known = data.empty() ? "" : "the " + data;
      const std::string why = "the dataset is named by a path";
      const std::string to = " on " + (known.empty() ? std::string("a local") : known) + " dataset";
      replace_all(fmt::format(" on the [{0}](https://huggingface.co/datasets/{0}) dataset", name), to, why);
      replace_all(fmt::format(" on the {} dataset", name), to, why);
    }
  }

  // TRL's quick start loads the folder of an adapter as if it were a whole model.
  void quick_start() {
    if (facts_.text("library_name") != "peft") return;
    const std::optional<std::size_t> section = find_heading(body_, {"## Quick start"});
    if (!section) return;
    constexpr std::string_view kFence = "```python\n";
    const std::string ours = trl_quick_start(facts_);
    const std::size_t from = ours.find(kFence), to = ours.find("\n```", from + 1);
    std::size_t begin = body_.find("```python", *section);
    begin = begin == std::string::npos ? begin : body_.find('\n', begin);
    if (from == std::string::npos || to == std::string::npos || begin == std::string::npos) return;
    const std::size_t end = body_.find("\n```", begin);
    if (end == std::string::npos) return;
    const std::string_view theirs = std::string_view(body_).substr(begin, end - begin);
    const bool of_trl = theirs.find("from transformers import pipeline") != std::string_view::npos &&
                        theirs.find("peft") == std::string_view::npos &&
                        (theirs.find("question = \"If you had a time machine") != std::string_view::npos ||
                         theirs.find("text = \"The capital of France is Paris.\"") != std::string_view::npos);
    if (!of_trl) return;
    std::string code = ours.substr(from + kFence.size(), to - from - kFence.size());
    if (card_.eol != "\n") code = with_line_ends(code, card_.eol);
    body_ = body_.substr(0, begin + 1) + code +
            std::string(body_, end > begin && body_[end - 1] == '\r' ? end - 1 : end);
    changes_.emplace_back("the quick start does not load an adapter");
  }

  void placeholders() {
    struct Row {
      std::string_view label, fact;
    };
    static constexpr Row kRows[] = {{"**License:**", "license"},
                                    {"**Finetuned from model", "base_model"},
                                    {"**Language(s)", "language"},
                                    {"**Model type:**", "architecture"}};
    std::string repaired = without_placeholders(body_, [&](std::string_view label) {
      std::optional<std::string> value;
      for (const Row& row : kRows) {
        if (label.find(row.label) != std::string_view::npos && facts_.has(row.fact))
          value = md_text(join(facts_.list(row.fact), ", "));
      }
      return value;
    });
    if (repaired == body_) return;
    body_ = std::move(repaired);
    changes_.emplace_back("placeholders that nobody has filled in");
  }

  std::string& body_;
  const CardFile& card_;
  const CardFacts& facts_;
  std::vector<std::string>& changes_;
};

}  // namespace

bool is_bad_id(const std::string& id) {
  return id == "None" || !is_repo_id(id) || base_name(id).starts_with("checkpoint-");
}

bool is_bad_dataset(const std::string& id) {
  return id == "None" || !is_repo_id(id) || is_data_file(id);
}

bool is_bad_tag(const std::string& tag) {
  constexpr std::string_view kAdapter = "base_model:adapter:";
  return tag.starts_with(kAdapter) && is_bad_id(tag.substr(kAdapter.size()));
}

void repair_body(std::string& body, const CardFile& card, const CardFacts& facts,
                 std::vector<std::string>& changes) {
  Repairs(body, card, facts, changes).run();
}

}  // namespace mu
