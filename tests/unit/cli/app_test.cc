// SPDX-License-Identifier: Apache-2.0
#include "cli/app.h"

#include <doctest/doctest.h>

#include <map>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/run.h"
#include "testing.h"

namespace mu {
namespace {

using Words = std::vector<std::string>;

// A program with one option of each kind.
struct Parsed {
  Words operands, filters;
  bool names = false;
  std::optional<std::string> sort, torn, check;
  CommonOptions common;
  std::string help, what, options;
  std::optional<ErrorKind> error;

  explicit Parsed(const Words& arguments) {
    App app({"prog",
             "Say what a rather long summary says, so that it has to be broken at the eightieth column.",
             "PATH...", "prog x"});
    app.operands(operands);
    app.group("First");
    app.flag("-t,--names", names, "a flag");
    app.optional_value("--check", "LEVEL", "spec", check, "a flag with a value");
    app.value("-s,--sort", "KEY", sort, "a value");
    app.value("--torn", "WHAT", torn, "a choice", {"keep", "remove", "aside"});
    app.list("--filter", "GLOB", filters, "a list");
    app.common(common, "nj0pt");
    help = app.help();
    options = app.options_json();
    std::vector<const char*> argv = {"prog"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    try {
      app.parse(static_cast<int>(argv.size()), argv.data());
    } catch (const Error& fault) {
      error = fault.kind();
      what = fault.what();
    }
  }
};

bool is_usage(const Words& arguments) {
  return Parsed(arguments).error == ErrorKind::kUsage;
}

TEST_CASE("app: an optional value follows =, the next argument is an operand") {
  CHECK(Parsed({"--check", "x"}).check == "spec");
  CHECK(Parsed({"--check", "x"}).operands == Words{"x"});
  CHECK(Parsed({"--check=hub", "x"}).check == "hub");
  CHECK(Parsed({"--check=hub", "--check"}).check == "spec");
  CHECK(!Parsed({"x"}).check);
}

TEST_CASE("app: a choice takes nothing else, but asking for help comes first") {
  CHECK(Parsed({"--torn=aside"}).torn == "aside");
  CHECK(Parsed({"--torn=throw"}).what == "--torn takes keep, remove or aside, not 'throw'");
  CHECK(is_usage({"--torn", "keep", "--torn", "KEEP"}));
  CHECK_THROWS_AS(Parsed({"--torn=throw", "--help"}), ExitNow);
}

TEST_CASE("app: the options as a document") {
  const std::string text = Parsed({}).options;
  const JsonDocument document = parse_json(text);
  CHECK(*document.root.find_string("schema") == "modelutils.options/1");
  CHECK(*document.root.find_string("operands") == "PATH...");
  std::map<std::string, const JsonValue*> options;
  for (const JsonValue& option : document.root.find("options")->items())
    options[*option.find("names")->items().back().as_string()] = &option;
  CHECK(options.at("--names")->find("names")->items().size() == 2);
  CHECK(*options.at("--names")->find_string("takes") == "nothing");
  CHECK(options.at("--names")->find("value") == nullptr);
  CHECK(*options.at("--check")->find_string("takes") == "value after =, or nothing");
  CHECK(*options.at("--sort")->find_string("takes") == "value");
  CHECK(*options.at("--sort")->find_string("value") == "KEY");
  CHECK(*options.at("--sort")->find_string("help") == "a value");
  CHECK(*options.at("--sort")->find_string("group") == "First");
  CHECK(!options.at("--sort")->find_true("repeatable"));
  CHECK(options.at("--filter")->find_true("repeatable"));
  CHECK(options.at("--torn")->find("choices")->items().size() == 3);
  CHECK(options.count("--help") == 1);
  CHECK_THROWS_AS(Parsed({"--dump-options"}), ExitNow);
  CHECK(is_usage({"--dump-options", "x"}));
}

TEST_CASE("app: the last of a repeated value counts, a list takes one value per use") {
  CHECK(Parsed({"-s", "a", "--sort=b", "-sc"}).sort == "c");
  const Parsed list({"--filter", "a", "b", "--filter=c", "d"});
  CHECK(list.filters == Words{"a", "c"});
  CHECK(list.operands == Words{"b", "d"});
}

TEST_CASE("app: operands and values are taken as they are") {
  const Words odd = {"[a,b]", "{}", "++", "-", "", "a=b", "[m]"};
  CHECK(Parsed(odd).operands == odd);
  CHECK(Parsed({"--filter", "{}", "--filter", "[a,b]", "--filter", ""}).filters == Words{"{}", "[a,b]", ""});
  CHECK(Parsed({"--sort", "--names"}).sort == "--names");
  CHECK(Parsed({"--sort", "--", "x"}).operands == Words{"x"});
}

TEST_CASE("app: -- ends options") {
  const Parsed parsed({"-t", "--", "--names", "-x", "--"});
  CHECK(!parsed.error);
  CHECK(parsed.operands == Words{"--names", "-x", "--"});
}

TEST_CASE("app: unknown options are wrong usage, abbreviations too") {
  for (const char* argument :
       {"--nam", "--nope", "-x", "-tx", "-5", "---names", "--=", "--names=1", "--names=false",
        "--filter=", "--filter", "-s", "--check=", "--verbose=2", "--operands=x"}) {
    CAPTURE(argument);
    CHECK(is_usage({argument}));
  }
  CHECK(Parsed({"--no\x1b[2J"}).what.find('\x1b') == std::string::npos);
  CHECK(Parsed({"-\x1b"}).what.find('\x1b') == std::string::npos);
}

TEST_CASE("app: numbers of threads") {
  CHECK(Parsed({"-j", "3"}).common.threads == 3);
  CHECK(Parsed({"-j7", "-j2"}).common.thread_count() == 2);
  CHECK(Parsed({}).common.thread_count() >= 1);
  for (const char* count : {"0", "-1", "x", "1.5", "2x", "", "1025", "99999999999999999999"}) {
    CAPTURE(count);
    CHECK(is_usage({"-j", count}));
  }
}

TEST_CASE("app: of --progress and --no-progress the last counts") {
  CHECK(Parsed({"--no-progress", "--progress"}).common.progress == true);
  CHECK(Parsed({"--progress", "--no-progress"}).common.progress == false);
  CHECK(!Parsed({}).common.progress);
}

TEST_CASE("app: short options may stand together") {
  const Parsed parsed({"-nt0j4", "x"});
  CHECK(parsed.common.dry_run);
  CHECK(parsed.names);
  CHECK(parsed.common.null);
  CHECK(parsed.common.threads == 4);
  CHECK(parsed.operands == Words{"x"});
}

TEST_CASE("app: help fits a screen and shows every option once") {
  const std::string help = Parsed({}).help;
  for (const std::string_view line : split(help, '\n')) CHECK(line.size() <= 80);
  CHECK(help.starts_with("Usage: prog [OPTIONS] PATH...\n"));
  CHECK(help.find("\nFirst:\n  -t, --names                 a flag\n") != std::string::npos);
  CHECK(help.find("      --check[=LEVEL]         a flag with a value\n") != std::string::npos);
  CHECK(help.find("  -s, --sort KEY              a value\n") != std::string::npos);
  CHECK(help.ends_with("\nExample: prog x\nSee prog(1) and modelutils(7).\n"));
}

}  // namespace
}  // namespace mu
