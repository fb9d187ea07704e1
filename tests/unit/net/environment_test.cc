// SPDX-License-Identifier: Apache-2.0
#include "net/environment.h"

#include <doctest/doctest.h>
#include <pwd.h>
#include <unistd.h>

#include <map>
#include <string>

#include "net/variables.h"

using namespace mu;

// Every right side is what huggingface_hub 2.4.0 (constants.py) makes of the left.
TEST_CASE("environment: the cache of the libraries lies where huggingface_hub has it") {
  struct Row {
    std::map<std::string, const char*> set;
    std::string cache;
  };
  for (const Row& row : {
           Row{{}, "/h/.cache/huggingface/hub"},
           {{{"XDG_CACHE_HOME", "/x"}}, "/x/huggingface/hub"},
           {{{"XDG_CACHE_HOME", "rel"}}, "rel/huggingface/hub"},
           {{{"XDG_CACHE_HOME", "~/x"}}, "/h/x/huggingface/hub"},
           {{{"HF_HOME", "/hf"}, {"XDG_CACHE_HOME", "/x"}}, "/hf/hub"},
           {{{"HF_HOME", "~/hf"}}, "/h/hf/hub"},
           {{{"HF_HOME", "~"}}, "/h/hub"},
           {{{"HF_HOME", "$HOME/a${HOME}"}}, "/h/a/h/hub"},
           {{{"HF_HOME", "/a/$MU_NOT_SET/${MU_NOT_SET}/$"}}, "/a/$MU_NOT_SET/${MU_NOT_SET}/$/hub"},
           {{{"HF_HOME", "/per%20cent"}}, "/per%20cent/hub"},
           {{{"HF_HOME", ""}}, "hub"},
           {{{"HF_HUB_CACHE", "~/c"}, {"HF_HOME", "/hf"}}, "/h/c"},
           {{{"HF_HUB_CACHE", "a~b"}}, "a~b"},
           {{{"HF_HUB_CACHE", "~nobody-of-that-name/c"}}, "~nobody-of-that-name/c"},
           {{{"HUGGINGFACE_HUB_CACHE", "~/old"}}, "/h/old"},
           {{{"HUGGINGFACE_HUB_CACHE", "/old"}, {"HF_HUB_CACHE", "/new"}}, "/new"},
       }) {
    std::map<std::string, const char*> set = row.set;
    set["HOME"] = "/h";
    const Variables variables(set);
    CHECK(hub_cache_home() == row.cache);
  }
}

TEST_CASE("environment: our own folders are absolute, the list of users tells where HOME does not") {
  const passwd* const user = ::getpwuid(::getuid());
  const std::string home = user == nullptr ? "" : user->pw_dir;
  for (const char* value : {static_cast<const char*>(nullptr), "", "relative", "."}) {
    const Variables variables({{"HOME", value}, {"XDG_CACHE_HOME", "relative"}});
    if (home.starts_with('/')) {
      CHECK(cache_home() == (home == "/" ? "/.cache/modelutils" : home + "/.cache/modelutils"));
      CHECK(state_home().starts_with('/'));
    } else {
      CHECK(cache_home().empty());
    }
  }
  const Variables variables({{"XDG_CACHE_HOME", "/c"}, {"XDG_STATE_HOME", "/s"}, {"HOME", nullptr}});
  CHECK(cache_home() == "/c/modelutils");
  CHECK(state_home() == "/s/modelutils");
}

TEST_CASE("environment: TRANSFORMERS_OFFLINE counts where HF_HUB_OFFLINE says nothing") {
  {
    const Variables variables({{"HF_HUB_OFFLINE", "0"}, {"TRANSFORMERS_OFFLINE", "1"}});
    CHECK_FALSE(is_offline());
  }
  const Variables variables({{"HF_HUB_OFFLINE", ""}, {"TRANSFORMERS_OFFLINE", "yes"}});
  CHECK(is_offline());
}
