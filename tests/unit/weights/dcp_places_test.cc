// SPDX-License-Identifier: Apache-2.0
#include "weights/ranks/dcp_places.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

const std::string kFolder = std::string(MU_FIXTURES) + "/fsdp-run/checkpoint-1/pytorch_model_fsdp_0/";

}  // namespace

TEST_CASE("dcp places: files and how long they are at least") {
  DcpPlaces places;
  REQUIRE(add_dcp_places(get(kFolder + ".metadata"), places));
  REQUIRE(places.ends.size() == 2);
  for (const auto& [name, end] : places.ends) {
    CAPTURE(name);
    CHECK(end == std::filesystem::file_size(kFolder + name));
  }
  CHECK_FALSE(places.has_optimizer);
}

TEST_CASE("dcp places: metadata cut anywhere are malformed, changed anywhere they end") {
  const std::string whole = get(kFolder + ".metadata");
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    CAPTURE(size);
    DcpPlaces places;
    CHECK(error_of([&] { add_dcp_places(whole.substr(0, size), places); }) == ErrorKind::kMalformed);
  }
  for (std::size_t at = 0; at < whole.size(); at += 3) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x15);
    DcpPlaces places;
    const std::optional<ErrorKind> kind = error_of([&] { add_dcp_places(changed, places); });
    CHECK((!kind || kind == ErrorKind::kMalformed));
  }
}

TEST_CASE("dcp places: a name that leads elsewhere is not followed, another pickle says nothing") {
  std::string text = get(kFolder + ".metadata");
  std::size_t at = text.find("__0_0.distcp");
  REQUIRE(at != std::string::npos);
  text.replace(at, 12, "../../passwd");
  DcpPlaces places;
  CHECK(error_of([&] { add_dcp_places(text, places); }) == ErrorKind::kMalformed);
  DcpPlaces none;
  CHECK_FALSE(add_dcp_places(std::string_view("\x80\x02}q\0.", 6), none));
}
