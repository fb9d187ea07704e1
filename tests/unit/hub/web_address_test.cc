// SPDX-License-Identifier: Apache-2.0
#include "hub/web_address.h"

#include <doctest/doctest.h>

#include <string>

namespace mu {
namespace {

constexpr std::string_view kHub = "https://huggingface.co";

std::string shown(std::string_view url, std::string_view endpoint = kHub) {
  const std::optional<WebAddress> address = read_web_address(url, endpoint);
  return address ? address->place + " " + address->page : "-";
}

TEST_CASE("web address: what is shown at an address has a name") {
  struct Row {
    std::string_view url, shown;
  };
  for (const Row& row : {
           Row{"https://huggingface.co/ada/x", "hf://ada/x "},
           {"https://huggingface.co/ada/x/", "hf://ada/x "},
           {"https://HuggingFace.co/ada/x?library=transformers#how-to-use", "hf://ada/x "},
           {"https://hf.co/ada/x", "hf://ada/x "},
           {"http://huggingface.co/ada/x", "hf://ada/x "},
           {"https://huggingface.co:443/ada/x", "hf://ada/x "},
           {"https://huggingface.co/datasets/ada/x", "hf://datasets/ada/x "},
           {"https://huggingface.co/spaces/ada/x/tree/main", "hf://spaces/ada/x@main tree"},
           {"https://huggingface.co/ada/x/tree", "hf://ada/x tree"},
           {"https://huggingface.co/ada/x/tree/v1", "hf://ada/x@v1 tree"},
           {"https://huggingface.co/ada/x/tree/v1/a/b%20c/", "hf://ada/x@v1/a/b c tree"},
           {"https://huggingface.co/ada/x/tree/feature%2Fx/a", "hf://ada/x@feature%2Fx/a tree"},
           {"https://huggingface.co/ada/x/tree/refs%2Fpr%2F3", "hf://ada/x@refs%2Fpr%2F3 tree"},
           {"https://huggingface.co/ada/x/tree/refs/pr/3", "hf://ada/x@refs/pr/3 tree"},
           {"https://huggingface.co/ada/x/blob/main/model.safetensors?download=true",
            "hf://ada/x@main/model.safetensors blob"},
           {"https://huggingface.co/ada/x/resolve/main/a/b.json", "hf://ada/x@main/a/b.json resolve"},
           {"https://huggingface.co/ada/x/commit/0123abc", "hf://ada/x@0123abc commit"},
           {"https://huggingface.co/ada/x/discussions/3", "hf://ada/x@refs/pr/3 discussions"},
       }) {
    CAPTURE(row.url);
    CHECK(shown(row.url) == row.shown);
  }
}

TEST_CASE("web address: other hosts and other pages are none") {
  for (const std::string_view url : {"https://huggingface.co.example.org/ada/x",
                                     "https://example.org/huggingface.co/ada/x",
                                     "https://huggingface.co@example.org/ada/x",
                                     "https://ada:secret@huggingface.co/ada/x",
                                     "https://huggingface.co:444/ada/x",
                                     "https://www.huggingface.co/ada/x",
                                     "ftp://huggingface.co/ada/x",
                                     "file:///huggingface.co/ada/x",
                                     "//huggingface.co/ada/x",
                                     "huggingface.co/ada/x",
                                     "ada/x",
                                     "hf://ada/x",
                                     "https://huggingface.co",
                                     "https://huggingface.co/",
                                     "https://huggingface.co/ada",
                                     "https://huggingface.co//ada/x",
                                     "https://huggingface.co/ada//x",
                                     "https://huggingface.co/datasets/ada",
                                     "https://huggingface.co/docs/transformers",
                                     "https://huggingface.co/api/models/ada/x",
                                     "https://huggingface.co/ada/x/settings",
                                     "https://huggingface.co/ada/x/discussions",
                                     "https://huggingface.co/ada/x/discussions/new",
                                     "https://huggingface.co/ada/x/blob",
                                     "https://huggingface.co/ada/x y"}) {
    CAPTURE(url);
    CHECK(shown(url) == "-");
  }
}

TEST_CASE("web address: the endpoint in force decides") {
  CHECK(shown("https://hub.example/ada/x", "https://hub.example") == "hf://ada/x ");
  CHECK(shown("https://hub.example:443/ada/x", "https://hub.example/") == "hf://ada/x ");
  CHECK(shown("http://127.0.0.1:8080/hf/ada/x/tree/v1", "http://127.0.0.1:8080/hf") == "hf://ada/x@v1 tree");
  CHECK(shown("https://huggingface.co/ada/x", "https://hf.co") == "hf://ada/x ");
  for (const std::string_view url :
       {"https://huggingface.co/ada/x", "https://hf.co/ada/x", "http://hub.example/hf/ada/x",
        "https://hub.example/ada/x", "https://hub.example/hfx/ada/x", "https://hub.example:8443/hf/ada/x"}) {
    CAPTURE(url);
    CHECK(shown(url, "https://hub.example/hf") == "-");
    CHECK(shown(url, "file:///cache") == "-");
  }
}

}  // namespace
}  // namespace mu
