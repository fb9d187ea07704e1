// SPDX-License-Identifier: Apache-2.0
// The regions of a card that state facts about model, data and run. Each function turns facts into the
// Markdown of one region, and returns an empty string if it has nothing to say: a card never shows a heading
// without content, or a value that nobody knows. All text from files passes through the functions of
// markdown.h, so it can't break out of its place. The wording is fixed: the hash of a region's text tells
// whether people have changed it (update.cc), so every change of wording makes the regions of existing cards
// stale.

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/sizes.h"
#include "base/text.h"
#include "card/card_text.h"
#include "card/markdown.h"
#include "card/results_table.h"
#include "card/tables.h"

namespace mu {
namespace {

std::string hub_link(const std::string& id, std::string_view kind = "") {
  // We can't be sure that a single name without an owner has a page of its own.
  if (id.find('/') == std::string::npos) return md_code(id);
  return md_link(id, fmt::format("https://huggingface.co/{}{}", kind, id));
}

std::string linked(const std::vector<std::string>& ids, std::string_view kind = "") {
  std::string out;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += i + 1 == ids.size() ? " and " : ", ";
    out += hub_link(ids[i], kind);
  }
  return out;
}

std::string codes(const std::vector<std::string>& values) {
  std::string out;
  for (const std::string& value : values) out += (out.empty() ? "" : ", ") + md_code(value);
  return out;
}

std::string join_words(const std::vector<std::string>& words) {
  std::vector<std::string> texts;
  for (const std::string& word : words) texts.push_back(md_text(word));
  return join(texts, " and ");
}

// Labels of a classifier, or prompts; of very many only the first.
std::string label_list(const std::vector<std::string>& labels) {
  constexpr std::size_t kShown = 20;
  if (labels.size() <= kShown) return codes(labels);
  return fmt::format("{} and {} more",
                     codes({labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(kShown)}),
                     group_digits(labels.size() - kShown));
}

std::string counted(double number) {
  return group_digits(static_cast<std::uint64_t>(std::max(0.0, number)));
}

std::string size_of(double bytes) {
  return format_size(static_cast<std::uint64_t>(std::max(0.0, bytes)));
}

// A list of "- name: value" under a heading; empty without items.
class Bullets {
 public:
  void add(std::string_view name, const std::string& value) {
    if (!value.empty()) text_ += fmt::format("- {}: {}\n", name, value);
  }
  [[nodiscard]] std::string under(std::string_view heading) const {
    return text_.empty() ? "" : fmt::format("{}\n\n{}", heading, text_);
  }

 private:
  std::string text_;
};

std::string count_fact(const CardFacts& facts, std::string_view name) {
  const std::optional<double> number = facts.number(name);
  return number ? counted(*number) : "";
}

std::string plain_fact(const CardFacts& facts, std::string_view name) {
  return facts.has(name) ? md_text(facts.text(name)) : "";
}

std::string run_links(const CardFacts& facts) {
  std::string out;
  const auto add = [&](std::string_view fact, std::string_view name) {
    if (facts.has(fact)) out += (out.empty() ? "" : ", ") + md_link(name, facts.text(fact));
  };
  add("wandb", "Weights & Biases");
  add("comet", "Comet");
  add("trackio", "Trackio");
  add("tensorboard", "TensorBoard");
  return out.empty() ? "" : "The run's logs: " + out + ".\n";
}

}  // namespace

std::string summary_region(const CardFacts& facts) {
  const std::vector<std::string> bases = facts.list("base_model"), datasets = facts.list("datasets");
  const std::string relation = facts.text("base_model_relation");
  std::string out;
  if (!bases.empty()) {
    const std::string_view what = relation == "adapter"     ? "An adapter for "
                                  : relation == "merge"     ? "A merge of "
                                  : relation == "quantized" ? "A quantised version of "
                                                            : "A fine-tune of ";
    out = std::string(what) + linked(bases);
    if (facts.has("base_model_revision"))
      out += " (revision " + md_code(facts.text("base_model_revision")) + ")";
    if (facts.has("merge_method")) out += " (mergekit, " + md_code(facts.text("merge_method")) + ")";
  } else if (facts.has("architecture") || facts.text("kind").starts_with("adapter")) {
    out = facts.text("kind").starts_with("adapter")
              ? std::string("An adapter")
              : "A model of the architecture " + md_code(facts.text("architecture"));
  }
  if (!datasets.empty())
    out += (out.empty() ? "Trained on " : ", trained on ") + linked(datasets, "datasets/");
  if (!out.empty()) out += ".\n";
  out += method_sentence(facts);
  if (const std::vector<std::string> authors = facts.list("authors"); !authors.empty()) {
    std::vector<std::string> names;
    for (const std::string& author : authors) names.push_back(md_text(author));
    out += "By " + join(names, ", ") + ".\n";
  }
  return out;
}

std::string model_region(const CardFacts& facts) {
  Bullets list;
  std::string architecture = facts.has("architecture") ? md_code(facts.text("architecture")) : "";
  if (!architecture.empty() && facts.has("num_hidden_layers"))
    architecture +=
        fmt::format(", {} layers of width {}", facts.text("num_hidden_layers"), facts.text("hidden_size"));
  list.add("Architecture", architecture);
  list.add("Parameters", count_fact(facts, "parameters"));
  list.add("Stored as", codes(facts.list("dtypes")));
  if (const std::optional<double> bytes = facts.number("bytes")) {
    std::string text = size_of(*bytes);
    if (const std::optional<double> files = facts.number("files"))
      text += " in " + plural(static_cast<std::uint64_t>(*files), "file");
    list.add("Weights", text);
  }
  if (const std::optional<double> parameters = facts.number("parameters");
      parameters && !facts.has("quantization") && !facts.has("gguf_file"))
    list.add("Memory for the weights alone",
             fmt::format("{} in 16 bits, {} in 8, {} in 4", size_of(*parameters * 2), size_of(*parameters),
                         size_of(*parameters / 2)));
  const std::optional<double> layers = facts.number("num_hidden_layers"),
                              heads = facts.number("num_key_value_heads"), width = facts.number("head_dim");
  if (layers && heads && width)
    list.add("Key/value cache", size_of(2 * *layers * *heads * *width * 2) + " a token in 16 bits");
  list.add("Context", facts.has("max_position_embeddings")
                          ? count_fact(facts, "max_position_embeddings") + " tokens"
                          : "");
  list.add("Quantisation", facts.has("quantization") ? md_code(facts.text("quantization")) : "");
  list.add("Pipeline", facts.has("pipeline_class") ? md_code(facts.text("pipeline_class")) : "");
  list.add("Pooling", join_words(facts.list("pooling")));
  list.add("Vectors",
           facts.has("embedding_dimension") ? count_fact(facts, "embedding_dimension") + " dimensions" : "");
  list.add("Compared by", facts.has("similarity") ? md_code(facts.text("similarity")) : "");
  // Since sentence-transformers 6 the tokenizer keeps it.
  const std::string_view longest = facts.has("max_seq_length") ? "max_seq_length" : "tokenizer_max_length";
  list.add("Longest input",
           facts.has("sentence_class") && facts.has(longest) ? count_fact(facts, longest) + " tokens" : "");
  list.add("Prompts", label_list(facts.list("prompts")));
  list.add("Labels", label_list(facts.list("label_names")));
  list.add("Language", codes(facts.list("language")));
  if (const std::string license = facts.text("license"); !license.empty()) {
    const std::optional<std::string_view> name = license_name(license);
    list.add("Licence", facts.has("license_name") ? plain_fact(facts, "license_name")
                        : name                    ? md_text(*name)
                                                  : md_text(license));
  }
  return list.under("## Model");
}

std::string adapter_region(const CardFacts& facts) {
  if (!facts.has("peft_type")) return "";
  Bullets list;
  list.add("Kind", md_code(facts.text("peft_type")) + (facts.has("use_dora") ? " with DoRA" : "") +
                       (facts.has("use_rslora") ? ", rank-stabilised (rsLoRA)" : ""));
  list.add("Rank", plain_fact(facts, "lora_r"));
  if (facts.has("lora_alpha"))
    list.add("Alpha", facts.text("lora_alpha") +
                          (facts.has("lora_scaling")
                               ? fmt::format(" (scaling {:.4g})", facts.number("lora_scaling").value_or(1))
                               : ""));
  list.add("Dropout", plain_fact(facts, "lora_dropout"));
  list.add("On", codes(facts.list("target_modules")));
  list.add("On parameters", codes(facts.list("target_parameters")));
  list.add("Fully trained modules", codes(facts.list("modules_to_save")));
  list.add("Initialised by", facts.has("init_lora_weights") ? md_code(facts.text("init_lora_weights")) : "");
  if (const std::optional<double> own = facts.number("adapter_parameters")) {
    std::string text = counted(*own);
    if (const std::optional<double> base = facts.number("base_parameters"); base && *base > 0)
      text += fmt::format(" ({:.4g} % of all)", 100 * *own / (*own + *base));
    list.add("Trained parameters", text);
  }
  list.add("Layers touched", plain_fact(facts, "layers_touched"));
  list.add("Only layers", codes(facts.list("layers_to_transform")));
  return list.under("## Adapter");
}

std::string tokenizer_region(const CardFacts& facts) {
  Bullets list;
  list.add("Class", facts.has("tokenizer_class") ? md_code(facts.text("tokenizer_class")) : "");
  std::vector<std::string> tokens;
  for (const std::string_view key : {"bos_token", "eos_token", "pad_token"}) {
    if (facts.has(key)) tokens.push_back(fmt::format("{} {}", key.substr(0, 3), md_code(facts.text(key))));
  }
  list.add("Special tokens", join(tokens, ", "));
  if (facts.has("has_tokenizer")) list.add("Chat template", facts.has("chat_template") ? "yes" : "none");
  list.add("Roles it names", codes(facts.list("chat_roles")));
  list.add("Marks it writes", codes(facts.list("chat_markers")));
  list.add("It knows", join(facts.list("chat_features"), ", "));
  std::string out = list.under("## Tokenizer");
  if (!out.empty() && facts.has("chat_example"))
    out += "\nA question as the model sees it:\n\n" + md_block("text", facts.text("chat_example"));
  return out;
}

std::string hyperparameter_region(const CardFacts& facts) {
  if (facts.hyperparameters.empty()) return "";
  std::vector<std::vector<std::string>> changed, all;
  for (const UsedHyperparameter& used : facts.hyperparameters) {
    const std::vector<std::string> row = {md_code(used.name), md_code(used.value),
                                          used.fallback.empty() ? "" : md_code(used.fallback)};
    if (used.differs) changed.push_back(row);
    all.push_back(row);
  }
  std::string out = "### Hyper-parameters\n\n";
  if (facts.has("effective_batch_size"))
    out += fmt::format("Effective batch size: {}.\n\n", facts.text("effective_batch_size"));
  if (!changed.empty())
    out +=
        "Those that differ from the defaults:\n\n" + md_table({"name", "value", "default"}, changed) + "\n";
  return out + fmt::format("<details>\n<summary>All {}</summary>\n\n{}\n</details>\n", all.size(),
                           md_table({"name", "value", "default"}, all));
}

std::string evaluation_region(const CardFacts& facts) {
  if (facts.results.empty()) return "";
  std::vector<std::vector<std::string>> rows;
  for (const EvalResult& result : facts.results) {
    std::string value = fmt::format("{:.4g}", result.value);
    if (result.error) value += fmt::format(" ± {:.2g}", *result.error);
    rows.push_back({result.task.empty() ? "the run's own evaluation" : md_text(result.task),
                    md_text(result.metric), result.shots, value});
  }
  return "## Evaluation\n\n" + md_table({"task", "metric", "shots", "value"}, rows);
}

namespace {

std::string framework_versions(const CardFacts& facts, std::string_view after_name) {
  std::string out;
  for (const Fact& fact : facts.facts) {
    if (fact.name.starts_with("version_"))
      out +=
          fmt::format("- {}{} {}\n", md_text(fact.name.substr(8)), after_name, md_text(fact.values.front()));
  }
  return out.empty() ? "" : "### Framework versions\n\n" + out;
}

}  // namespace

// Without a colon: PEFT looks for its own line in this form before it adds one.
std::string versions_region(const CardFacts& facts) {
  return framework_versions(facts, "");
}

std::string trl_versions(const CardFacts& facts) {
  return framework_versions(facts, ":");
}

std::string provenance_region(const CardFacts& facts) {
  Bullets list;
  if (const std::optional<double> seconds = facts.number("date_epoch")) {
    const auto time = static_cast<std::time_t>(*seconds);
    std::tm parts{};
    char text[32];
    if (::gmtime_r(&time, &parts) != nullptr && std::strftime(text, sizeof text, "%Y-%m-%d", &parts) > 0)
      list.add("Date", text);
  }
  list.add("Training code", facts.has("source_revision") ? md_code(facts.text("source_revision")) : "");
  for (const std::string& line : facts.list("sha256"))
    list.add("SHA-256 of " + md_code(line.substr(66)), md_code(line.substr(0, 64)));
  return list.under("## Provenance");
}

std::string trl_procedure(const CardFacts& facts) {
  const std::string text = run_links(facts) + method_sentence(facts);
  return text.empty() ? "" : "## Training procedure\n\n" + text;
}

namespace {

// "3.25 at the end, 2.375 at the start" of a metric; empty if it never was a number.
std::string course(const MetricCurve& curve) {
  const auto known = [](const CurvePoint& point) { return std::isfinite(point.value); };
  const auto first = std::find_if(curve.points.begin(), curve.points.end(), known);
  if (first == curve.points.end()) return "";
  const auto last = std::find_if(curve.points.rbegin(), curve.points.rend(), known);
  if (first->step == last->step) return fmt::format("{:.4g}", last->value);
  return fmt::format("{:.4g} at the end, {:.4g} at the start", last->value, first->value);
}

// The numbers that tell most about the run; of a language model these are the losses.
void add_metrics(const CardFacts& facts, Bullets& list) {
  for (const MetricCurve& curve : facts.metrics) {
    std::string text = course(curve);
    if (const std::optional<double> last = last_evaluated(facts, curve.metric))
      text += fmt::format("{}{:.4g} in the last evaluation", text.empty() ? "" : "; ", *last);
    list.add(heading_of(curve.label), text);
  }
}

void add_best_losses(const CardFacts& facts, Bullets& list) {
  if (plotted_label(facts) != "loss") return;
  const std::optional<double> best = facts.number("best_eval_loss");
  if (!best) {
    if (const std::optional<double> last = facts.number("last_eval_loss"))
      list.add("Last validation loss", fmt::format("{:.4g}", *last));
    return;
  }
  const std::vector<SetLoss> sets = best_losses(facts);
  if (sets.size() > 1) {
    for (const SetLoss& set : sets)
      list.add("Best validation loss on " + md_code(set.name),
               fmt::format("{:.4g} at step {}", set.loss, set.step));
    return;
  }
  std::string text = fmt::format("{:.4g}", *best);
  if (facts.has("best_step")) text += " at step " + facts.text("best_step");
  if (const std::optional<double> perplexity = facts.number("perplexity"))
    text += fmt::format(" (perplexity {:.4g})", *perplexity);
  list.add("Best validation loss", text);
}

}  // namespace

std::string training_region(const CardFacts& facts, std::string_view plot) {
  Bullets list;
  if (facts.metrics_first) add_metrics(facts, list);
  list.add("Steps", count_fact(facts, "global_step"));
  if (const std::optional<double> epochs = facts.number("epochs"))
    list.add("Epochs", fmt::format("{:.4g}", *epochs));
  list.add("Tokens seen", count_fact(facts, "tokens_seen"));
  const std::optional<double> seconds = facts.number("train_runtime_seconds");
  if (seconds)
    list.add("Run time", *seconds < 120    ? fmt::format("{:.3g} s", *seconds)
                         : *seconds < 7200 ? fmt::format("{:.3g} min", *seconds / 60)
                                           : fmt::format("{:.3g} h", *seconds / 3600));
  list.add("Processes", plain_fact(facts, "processes"));
  if (const std::optional<double> loss = facts.number("mean_train_loss"))
    list.add("Mean training loss", fmt::format("{:.4g}", *loss));
  add_best_losses(facts, list);
  if (!facts.metrics_first) add_metrics(facts, list);
  const std::string bullets = list.under(""), table = results_table(facts), links = run_links(facts);
  std::string out;
  if (!links.empty()) out += "\n" + links;
  if (!bullets.empty()) out += bullets.substr(1);
  if (!plot.empty() && !plotted_curve(facts).empty())
    out += fmt::format("\n![{} over steps]({})\n", heading_of(plotted_label(facts)), plot);
  if (!table.empty()) out += "\n" + table;
  return out.empty() ? "" : "## Training\n" + out;
}

}  // namespace mu
