// SPDX-License-Identifier: Apache-2.0
#include "model/secrets.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "model/links.h"
#include "testing.h"

using namespace mu;
using namespace mu::testing;

namespace {

// Put together here, so that no file of ours looks as if it held one.
const std::string kToken = std::string("hf_") + "abcdefghijklmnop" + "qrstuvwxyzABCDEFGH";
const std::string kKeyLine = std::string("-----BEGIN OPENSSH ") + "PRIVATE KEY-----";

std::string utf16(std::string_view text, bool big, bool mark) {
  std::string out;
  const auto add = [&](char high, char low) {
    out += big ? high : low;
    out += big ? low : high;
  };
  if (mark) add('\xFE', '\xFF');
  for (const char c : text) add('\0', c);
  return out;
}

std::optional<SecretInFile> search(const std::string& bytes, std::uint64_t limit = 1ULL << 30) {
  const TempFolder folder;
  put(folder / "f", bytes);
  return search_file(InputFile(folder / "f"), limit);
}

}  // namespace

TEST_CASE("secrets: tokens in the forms of services") {
  for (const std::string& text : std::vector<std::string>{
           kToken,
           "HF_TOKEN=" + kToken,
           "https://ada:" + kToken + "@huggingface.co",
           "\"mine:\\n" + kToken + "\"",
           "?next=%3Ftoken%3D" + kToken,
           "\\u003d" + kToken + "\\u0022",
           "\\x3d" + kToken,
           std::string("ghp_") + "0aB1cD2eF3gH4iJ5kL6mN7oP8qR9sT0uV1wX",
           std::string("sk-proj-") + "Zx9Yw8Vu7Ts6Rq5Po4Nm3Lk2Ji1",
           std::string("AKIA") + "IOSFODNN7ABCDEFG",
           std::string("\"AIza") + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q\"",
       }) {
    CAPTURE(text);
    REQUIRE(find_secret(text));
    CHECK(find_secret(text)->kind == SecretKind::kToken);
    CHECK(mask_secrets(text).find("***") != std::string::npos);
  }
}

TEST_CASE("secrets: placeholders, words and names in code are not secrets") {
  for (const std::string& text : std::vector<std::string>{
           "hf_" + std::string(34, 'x'),
           "hf_" + std::string(34, 'X'),
           std::string("hf_0123456789012345678901234567890123"),
           std::string("hf_your_token_goes_into_this_place_here"),
           std::string("hf_YOURTOKENHEREYOURTOKENHERE1234"),
           std::string("sk-your-api-key-abcdefghijklmnopqrst"),
           std::string("AKIAIOSFODNN7EXAMPLE"),
           std::string("ghp_") + std::string(36, '1'),
           std::string("hf_dataset_name_or_path_of_the_model"),
           std::string("sk-toggleable__content-fitted-label"),
           std::string("AKIA") + "abcdefghijklmnop",
           "x" + kToken,
           "\\en" + kToken,
           std::string("hf_hub"),
       }) {
    CAPTURE(text);
    CHECK_FALSE(find_secret(text));
  }
  // A placeholder does not hide a secret behind it.
  const std::string both = "hf_" + std::string(34, 'x') + "\n" + kToken;
  REQUIRE(find_secret(both));
  CHECK(find_secret(both)->begin == 38);
}

TEST_CASE("secrets: private keys, not their frames in code and documentation") {
  const std::string body = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZW";
  const std::string end = std::string("-----END OPENSSH ") + "PRIVATE KEY-----\n";
  for (const std::string& text : std::vector<std::string>{
           kKeyLine + "\n" + body + "\n" + end,
           "{\"private_key\": \"" + kKeyLine + "\\n" + body + "\\n" + end + "\"}",
           kKeyLine + "\r\n" + body.substr(0, 30), "text before\n" + kKeyLine + "\nx\n",
           kKeyLine + "\n" + body + "\nand more text, but no end.",
           kKeyLine + "\n> Proc-Type: 4,ENCRYPTED\n> DEK-Info: AES-128-CBC,0123\n>\n> " + body + "\n> " + end,
           "key = \"" + kKeyLine + "\\n\" \\\n  \"" + body + "\\n\" \"" + end + "\""}) {
    CAPTURE(text);
    REQUIRE(find_secret(text));
    CHECK(find_secret(text)->kind == SecretKind::kPrivateKey);
  }
  for (const std::string& text : std::vector<std::string>{
           kKeyLine + "\n...\n" + end, "if \"" + kKeyLine + "\" in text:", "`-----BEGIN PRIVATE KEY`",
           kKeyLine + "\n" + std::string(80, 'x') + "\n" + end,
           "'" + kKeyLine +
               "\\n' + '\\n'.join(textwrap.wrap(private_key_of_the_service_account, 64)) + '\\n" + end,
           "a key begins with " + kKeyLine + " and is long. ![](data:image/png;base64," + body + body + ")",
           "if key.startswith(b'" + kKeyLine + "\\n'):\n  return decode_what_follows(key, password=None)\n",
           std::string("-----BEGIN CERTIFICATE-----\n") + body}) {
    CAPTURE(text);
    CHECK_FALSE(find_secret(text));
  }
}

TEST_CASE("secrets: files are searched in pieces, in UTF-16 too, up to a limit") {
  const std::string line = "token: " + kToken + "\n";
  CHECK(search("a\nb\n" + line)->line == 3);
  CHECK_FALSE(search("a\nb\n"));
  CHECK_FALSE(search(""));
  for (const bool big : {false, true}) {
    for (const bool mark : {false, true}) {
      const std::optional<SecretInFile> found = search(utf16("a\nb\n" + line, big, mark));
      REQUIRE(found);
      CHECK(found->line == 3);
    }
  }
  std::string utf32;
  for (const char c : line) utf32 += std::string({c, '\0', '\0', '\0'});
  CHECK(search(utf32));
  CHECK(search(std::string("\0\1\2", 3) + line));  // a binary file
  // Wherever pieces meet.
  for (const std::size_t piece : {262144U, 524288U}) {
    for (std::size_t before = piece - 60; before <= piece + 2; before += 3) {
      std::string text(before - 1, 'a');
      text += '\n' + line;
      text += std::string(70000, 'b');
      REQUIRE(search(text));
      CHECK(search(text)->line == 2);
      CHECK_FALSE(search(text, before));
      text.replace(before - 2, 2, "\\n");
      CHECK(search(text));
      std::string word = std::string(before, 'a') + kToken + std::string(70000, ' ');
      CHECK_FALSE(search(word));
    }
  }
}

TEST_CASE("links: what leads out of a folder") {
  const TempFolder temp;
  const std::string root = resolved_path(temp.path());
  const std::string blob = std::string(40, 'a');
  for (const char* folder : {"in", "in/sub", "in/.git", "in/.GIT", "cache", "cache/models--a--b",
                             "cache/models--a--b/blobs", "cache/blobs"})
    make_folders(join_path(root, folder));
  const auto link = [&](const std::string& name, const std::string& target) {
    REQUIRE(::symlink(target.c_str(), join_path(root, "in/" + name).c_str()) == 0);
    return join_path(root, "in/" + name);
  };
  for (const char* file : {"out.txt", "in/sub/f", "in/.git/config", "in/.GIT/x"})
    put(join_path(root, file), "x");
  put(join_path(root, "cache/models--a--b/blobs/" + blob), "x");
  put(join_path(root, "cache/blobs/" + blob), "x");
  const std::string in = join_path(root, "in");
  CHECK(leads_out(in, link("a", "../out.txt")) == join_path(root, "out.txt"));
  CHECK_FALSE(leads_out(in, link("b", "sub/f")));
  CHECK_FALSE(leads_out(in, link("c", join_path(root, "in/sub/f"))));
  CHECK(leads_out(in, link("e", "a")));  // through another link
  CHECK(leads_out(in, link("f", ".git/config")));
  CHECK(leads_out(in, link("g", ".GIT/x")));
  CHECK_FALSE(leads_out(in, link("h", "../cache/models--a--b/blobs/" + blob)));
  CHECK(leads_out(in, link("i", "../cache/blobs/" + blob)));
  CHECK(lies_in(in, in));
  CHECK(lies_in(in, join_path(in, "new/folder")));
  CHECK_FALSE(lies_in(in, join_path(root, "new")));
  CHECK_FALSE(lies_in(in, in + "side"));
  CHECK(is_text_start("text"));
  CHECK(is_text_start(std::string("\xFF\xFEt\0", 4)));
  CHECK_FALSE(is_text_start(std::string("\x10\0\0\0\0\0\0\0{", 9)));
}
