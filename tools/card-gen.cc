// SPDX-License-Identifier: Apache-2.0
// card-gen: the model card. Options, a folder and the run that trained it become facts, facts a card; the card
// is printed, written into the folder, compared with the one that lies there, or judged. generate() and lint()
// read as the steps of that. What lib/card can't know is passed to it: how to reach a base model on a hub, and
// which checkpoint of a run is the newest complete one.
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/in_file.h"
#include "base/text.h"
#include "card-gen-options.h"
#include "card/card_text.h"
#include "card/gather.h"
#include "card/lint.h"
#include "card/plot.h"
#include "card/report.h"
#include "card/results_table.h"
#include "card/update.h"
#include "ckpt/scan.h"
#include "cli/console.h"
#include "cli/run.h"
#include "hub/repo.h"
#include "hub/web_address.h"
#include "net/environment.h"
#include "net/url.h"
#include "os/file.h"
#include "os/folder.h"
#include "os/stage.h"
#include "remote.h"

namespace {

using namespace mu;
using Options = CardGenOptions;

std::string read_text(const std::string& path, std::uint64_t limit) {
  return path == "-" ? read_whole_stream(0, limit, "standard input") : read_whole_file(path, limit);
}

// Adds the name of its file to what is wrong with a card.
CardFile open_card(const std::string& path) {
  return in_file(path, [&] { return read_card(read_text(path, kMaxCardBytes)); });
}

void write_file(const std::string& path, std::string_view text) {
  StagedFile staged(path, true);
  staged.file().write_at(0, std::as_bytes(std::span(text)));
  staged.commit();
}

void print_lines(const std::string& report) {
  for (const std::string_view line : split(trim(report), '\n')) {
    if (!line.empty()) print_note(line);
  }
}

int lint(const Options& o) {
  const std::string path = o.operands.empty() ? "README.md" : o.operands.front();
  CardFile card = open_card(path);
  if (o.fix) {
    const std::string fixed = fix_card(card);
    if (path == "-") {
      out(fixed);
    } else if (fixed != card.text) {
      write_file(path, fixed);
    }
    card = read_card(fixed);
  }
  const std::vector<LintFinding> findings = lint_card(card);
  const std::string name = path == "-" ? "standard input" : path;
  const std::string report = o.common.json ? lint_json(findings, name) : lint_text(findings, name);
  if (o.fix && path == "-") {
    print_lines(report);
  } else {
    out(report);
  }
  for (const LintFinding& finding : findings) {
    if (finding.rule->is_error) return 1;
  }
  return 0;
}

// If the base in the cache can't be read, there is one source less.
void learn_from_cache(CardFacts& facts, const CardOptions& card) {
  try {
    add_base_model(facts, card, false);
  } catch (const Error& error) {
    if (card.base_folder || error.kind() == ErrorKind::kIo) throw;
    facts.unknown.push_back(std::string("the base model in the cache: ") + error.what());
  }
}

std::string id_at(const RemotePlace& place) {
  return place.revision == "main" ? place.repo.id : place.repo.id + "@" + place.revision;
}

// The id in an hf:// name or in the address of a page of the hub; text without a scheme is judged as it is. Throws
// kUsage.
std::string pasted_id(const std::string& text, RepoType type) {
  if (text.find("://") == std::string::npos) return text;
  const std::optional<WebAddress> address =
      text.starts_with("hf://") ? WebAddress{text, ""} : read_web_address(text, hub_endpoint());
  const std::optional<RemotePlace> place =
      address ? std::optional(parse_place(address->place)) : std::nullopt;
  if (!place || place->repo.type != type)
    throw usage(fmt::format("'{}' is not a {} on the hub", printable_url(text), repo_type_name(type)))
        .hint("give its id: owner/name");
  return type == RepoType::kModel ? id_at(*place) : place->repo.id;
}

// A place on a hub also names the base model.
void find_base(CardOptions& card) {
  card.base_folder = reach(*card.base_folder);
  const std::string& place = *card.base_folder;
  if (!is_folder(place)) {
    Error error(ErrorKind::kIo, "is not a model folder or repository");
    if (const std::optional<std::string> name = name_on_hub(place))
      error.hint("to read it from the hub, write " + *name);
    throw error.in_file(escape_name(place));
  }
  if (!place.starts_with("hf://") || !card.base.empty()) return;
  card.base.push_back(id_at(parse_place(place)));
}

CardFacts gather(const Options& o) {
  CardFacts facts;
  CardOptions card = o.card;
  for (std::string& base : card.base) base = pasted_id(base, RepoType::kModel);
  for (std::string& dataset : card.datasets) dataset = pasted_id(dataset, RepoType::kDataset);
  if (card.base_folder) find_base(card);
  card.newest_checkpoint = newest_checkpoint;
  add_options(facts, card);
  if (!o.operands.empty()) {
    add_folder(facts, o.operands.front(), card);
  } else {
    if (card.run) add_named_run(facts, card);
    learn_from_cache(facts, card);
  }
  if (o.facts) add_inspection(facts, read_text(*o.facts, 256U << 20));
  for (const std::string& file : card.eval_files) {
    in_file(file, [&] { add_evaluation_file(facts, read_text(file, 256U << 20), file); });
  }
  add_conclusions(facts);
  return facts;
}

// If stdout is the folder's own card, the shell has emptied it.
void warn_of_own_card(const std::string& folder) {
  struct stat card {
  }, target{};
  if (::stat(join_path(folder, "README.md").c_str(), &card) != 0 || ::fstat(STDOUT_FILENO, &target) != 0)
    return;
  if (card.st_dev == target.st_dev && card.st_ino == target.st_ino) {
    print_warning(
        "stdout is the folder's own README.md, which the shell has emptied; next time use card-gen -i "
        "FOLDER, which keeps what people wrote");
  } else if (card.st_size > 0) {
    print_note("the folder has a card already; card-gen -i FOLDER updates it and keeps what people wrote");
  }
}

void print_notes(const CardFacts& facts) {
  for (const std::string& line : facts.notes) print_note(line);
  for (const std::string& line : facts.unknown) print_warning("unknown: " + line);
}

// Prints the faults for which the Hub would refuse the card; true if there are any.
bool print_lint_errors(const std::string& text, const std::string& path) {
  std::vector<LintFinding> findings = lint_card(read_card(text));
  std::erase_if(findings, [](const LintFinding& finding) { return !finding.rule->is_error; });
  print_lines(lint_text(findings, path));
  return !findings.empty();
}

int update(const Options& o, const CardText& card, const CardFacts& facts) {
  const std::string path = join_path(o.operands.front(), "README.md");
  const bool there = exists(path);
  const CardFile old = there ? open_card(path) : CardFile{};
  if (!there || trim(old.text).empty()) {
    if (o.check) {
      out("README.md: " + std::string(there ? "is empty" : "is missing") + "\n");
      return 1;
    }
    const std::string text = render_card(card);
    write_file(path, text);
    print_note("wrote " + escape_name(path));
    return print_lint_errors(text, path) ? 1 : 0;
  }
  CardUpdate result;
  in_file(path, [&] { result = update_card(old, card, facts); });
  for (const std::string& line : result.kept) print_note(line);
  if (o.check) {
    for (const std::string& line : result.changes) out(line + "\n");
    return print_lint_errors(result.text, path) || !result.changes.empty() ? 1 : 0;
  }
  for (const std::string& line : result.changes) print_detail(line);
  if (result.text != old.text) write_file(path, result.text);
  print_note(result.text == old.text
                 ? escape_name(path) + " is up to date"
                 : fmt::format("updated {}, {}", escape_name(path), plural(result.changes.size(), "change")));
  return print_lint_errors(result.text, path) ? 1 : 0;
}

CardStyle style_of(std::string_view name) {
  return name == "trl" ? CardStyle::kTrl : name == "minimal" ? CardStyle::kMinimal : CardStyle::kFull;
}

// Beside the card, unless a path was given.
std::string plot_path(const Options& o, const std::string& plot) {
  const bool beside = o.in_place && (!o.plot || plot.find('/') == std::string::npos);
  return beside ? join_path(o.operands.front(), base_name(plot)) : plot;
}

int generate(const Options& o) {
  const bool writes = o.in_place || o.check;
  if (!o.operands.empty() && !writes) warn_of_own_card(o.operands.front());
  CardFacts facts = gather(o);
  // A card in place remembers how it was made.
  const auto remembered = [&](std::string_view name, const std::optional<std::string>& said) {
    if (!writes || !said) return said ? *said : writes ? facts.text(name) : std::string();
    std::erase_if(facts.given, [&](const Fact& fact) { return fact.name == name; });
    facts.given.push_back({std::string(name), {*said}, false, false, "option"});
    return *said;
  };
  const std::string plot = remembered("plot", o.plot);
  const CardText card = compose_card(facts, style_of(remembered("style", o.style)), base_name(plot));
  // A remembered curve is drawn only if there is one, and before anything is written.
  const bool draws = !plot.empty() && !o.check && (o.plot || !plotted_curve(facts).empty());
  const std::string svg = draws ? loss_svg(facts) : "";
  if (o.preview) {
    if (const std::string line = loss_blocks(facts, 60); !line.empty()) print_note(line);
  }
  print_notes(facts);
  int code = 0;
  if (o.common.json) {
    out(facts_json(facts));
  } else if (o.explain) {
    out(facts_text(facts));
  } else if (writes) {
    code = update(o, card, facts);
  } else {
    out(render_card(card));
  }
  if (!svg.empty()) write_file(plot_path(o, plot), svg);
  return code == 0 && o.strict && !facts.unknown.empty() ? 3 : code;
}

}  // namespace

int main(int argc, char** argv) {
  return mu::run("card-gen", [&] {
    const Options options = parse_card_options(argc, argv);
    return options.lint ? lint(options) : generate(options);
  });
}
