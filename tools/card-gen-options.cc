// SPDX-License-Identifier: Apache-2.0
#include "card-gen-options.h"

#include "base/error.h"
#include "net/libcurl_version.h"

namespace mu {
namespace {

constexpr ProgramText kText = {
    "card-gen", "Write the model card of a fine-tuned model, from its folder and options.",
    "[FOLDER | --lint [FILE]]", "card-gen -i out --base owner/name --dataset owner/data", describe_libcurl};

void add_fact_options(App& app, CardOptions& c) {
  app.group("Model");
  app.list("--base", "ID[@REV]", c.base, "the base model (repeated: a merge of several)");
  app.value("--base-from", "PLACE", c.base_folder, "hf://owner/name or folder with the base's card");
  app.value("--relation", "KIND", c.relation, "adapter, finetune, merge or quantized",
            {"adapter", "finetune", "merge", "quantized"});
  app.value("--name", "NAME", c.name, "title (default: the repository's or folder's name)");
  app.value("--repo", "OWNER/NAME", c.repo, "where it will be published; used in the snippets");
  app.value("--license", "ID", c.license, "the Hub's id of a licence, such as apache-2.0");
  app.value("--license-name", "TEXT", c.license_name, "name of the licence, with --license other");
  app.value("--license-link", "URL", c.license_link, "address of the licence, with --license other");
  app.list("--language", "CODE", c.languages, "ISO 639 code (repeatable)");
  app.list("--tag", "TAG", c.tags, "add a tag (repeatable)");
  app.value("--library", "NAME", c.library, "library_name, such as peft or transformers");
  app.value("--pipeline-tag", "TASK", c.pipeline_tag, "the task, such as text-generation");
  app.list("--set", "KEY=VALUE", c.set, "set any other front matter key (repeatable)");
  app.group("Training");
  app.list("--dataset", "ID", c.datasets, "a dataset it was trained on (repeatable)");
  app.value("--run", "DIR", c.run, "the checkpoint or run that shows the training");
  app.value("--method", "METHOD", c.method, "a tag of TRL's trainers: sft, dpo, grpo …");
  app.value("--wandb", "URL", c.wandb, "the run at Weights & Biases");
  app.value("--comet", "URL", c.comet, "the run at Comet");
  app.value("--trackio", "URL", c.trackio, "the run at Trackio");
  app.value("--tensorboard", "URL", c.tensorboard, "the run's TensorBoard");
  app.list("--eval", "FILE", c.eval_files, "results of lm-eval or a trainer (repeatable)");
  app.list("--library-version", "NAME=V", c.library_versions, "a library version that was used (repeatable)");
  app.list("--author", "NAME", c.authors, "who made it (repeatable)");
  app.value("--citation", "TEXT", c.citation, "a BibTeX entry for the model");
  app.value("--source-revision", "REV", c.source_revision, "commit of the training code");
}

}  // namespace

CardGenOptions parse_card_options(int argc, char** argv) {
  CardGenOptions o;
  App app(kText);
  app.operands(o.operands);
  add_fact_options(app, o.card);
  app.group("Output");
  app.flag("-i,--in-place", o.in_place, "update FOLDER/README.md, keep what people wrote");
  app.flag("--check", o.check, "report where card and folder disagree (exit 1)");
  app.flag("--lint", o.lint, "judge FILE (README.md, or -) as the Hub would");
  app.flag("--fix", o.fix, "with --lint: fix what is safe to fix");
  app.value("--style", "STYLE", o.style, "full (default), trl or minimal", {"full", "trl", "minimal"});
  app.optional_value("--plot", "FILE", "loss.svg", o.plot, "write the loss curve as an SVG (loss.svg)");
  app.flag("--preview", o.preview, "show the loss curve on stderr");
  app.flag("--explain", o.explain, "print each fact and its source instead of a card");
  app.value("--facts", "FILE", o.facts, "add facts from st-inspect --json (FILE or -)");
  app.flag("--provenance", o.card.hash_weights, "add the SHA-256 of the weights (reads all of them)");
  app.flag("--strict", o.strict, "exit 3 when a fact is unknown");
  app.common(o.common, "j");
  app.parse(argc, argv);
  if (o.operands.size() > 1) throw usage("give only one FOLDER").hint("see card-gen --help");
  const bool said = !o.card.base.empty() || !o.card.datasets.empty() || o.card.name || o.card.repo ||
                    o.facts || o.card.method || o.card.base_folder || o.card.run;
  if (o.operands.empty() && (o.in_place || o.check)) throw usage("name a FOLDER");
  if (o.operands.empty() && !said && !o.lint)
    throw usage("name a FOLDER, or give at least --base").hint("see card-gen --help");
  if (o.lint && o.card.run) throw usage("--run is for writing a card, not for --lint");
  if (o.fix && !o.lint) throw usage("--fix needs --lint");
  if (o.in_place + o.check + o.lint + o.explain > 1)
    throw usage("-i, --check, --lint and --explain exclude one another");
  return o;
}

}  // namespace mu
