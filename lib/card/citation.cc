// SPDX-License-Identifier: Apache-2.0
// The training method of a model, and what to cite for it.
#include <fmt/format.h>

#include "card/card_text.h"
#include "card/markdown.h"
#include "card/tables.h"

namespace mu {
namespace {

bool is_on_arxiv(const Trainer& trainer) {
  return !trainer.paper.starts_with("https://");
}

std::string paper_address(const Trainer& trainer) {
  return (is_on_arxiv(trainer) ? "https://huggingface.co/papers/" : "") + std::string(trainer.paper);
}

std::string paper_entry(const Trainer& trainer) {
  std::string out =
      fmt::format("@misc{{{},\n  title  = {{{{{}}}}},\n  author = {{{}}},\n  year   = {{{}}},\n", trainer.key,
                  trainer.title, trainer.authors, trainer.year);
  if (is_on_arxiv(trainer))
    out += fmt::format("  eprint = {{{}}},\n  archivePrefix = {{arXiv}},\n", trainer.paper);
  return out + fmt::format("  url    = {{{}{}}}\n}}", is_on_arxiv(trainer) ? "https://arxiv.org/abs/" : "",
                           trainer.paper);
}

// Libraries are cited as their authors ask (TRL: its CITATION.cff).
constexpr std::string_view kTrl =
    "@software{vonwerra2020trl,\n"
    "  title  = {{TRL: Transformers Reinforcement Learning}},\n"
    "  author = {von Werra, Leandro and Belkada, Younes and Tunstall, Lewis and Beeching, Edward and Thrush, "
    "Tristan and Lambert, Nathan and Huang, Shengyi and Rasul, Kashif and Gallouédec, Quentin},\n"
    "  license = {Apache-2.0},\n"
    "  url    = {https://github.com/huggingface/trl},\n"
    "  year   = {2020}\n}";

}  // namespace

std::string method_sentence(const CardFacts& facts) {
  const Trainer* trainer = trainer_by_tag(facts.text("method"));
  if (trainer == nullptr) return "";
  std::string out = fmt::format("Trained with {} ({})", md_link("TRL", "https://github.com/huggingface/trl"),
                                trainer->name);
  if (!trainer->paper.empty()) out += ", the method of " + md_link(trainer->title, paper_address(*trainer));
  return out + ".\n";
}

namespace {

// What to cite, each entry under a line made of its name ("{}:").
std::string entries(const CardFacts& facts, std::string_view before, std::string_view after) {
  std::string out;
  const auto add = [&](std::string_view what, std::string_view entry) {
    out += out.empty() ? "" : "\n";
    if (!what.empty()) out.append(before).append(what).append(after).append(":\n\n");
    out += md_block("bibtex", entry);
  };
  if (facts.has("citation")) add("", facts.text("citation"));
  const Trainer* trainer = trainer_by_tag(facts.text("method"));
  if (trainer != nullptr && !trainer->paper.empty()) add(trainer->name, paper_entry(*trainer));
  if (trainer != nullptr) add("TRL", kTrl);
  return out;
}

}  // namespace

std::string citation_region(const CardFacts& facts) {
  const std::string out = entries(facts, "", "");
  return out.empty() ? "" : "## Citation\n\n" + out;
}

std::string trl_citations(const CardFacts& facts) {
  const std::string out = entries(facts, "Cite ", " as");
  return out.empty() ? "" : "## Citations\n\n" + out;
}

}  // namespace mu
