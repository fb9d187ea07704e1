// SPDX-License-Identifier: Apache-2.0
// A model card as it is on the disk: where its front matter is (by the rule of huggingface_hub 2.4.0,
// repocard.py: only at the start of the file), which bytes belong to which key, and its line ends. Edits
// replace the lines of one key.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "card/yaml.h"

namespace mu {

struct CardKey {
  std::string key;
  std::size_t begin, end;  // bytes of its lines in the card; comments before it belong to no key
};

struct CardFile {
  std::string text;
  std::string eol = "\n";  // "\r\n" if every line ends with it
  bool has_front_matter = false;
  bool unterminated = false;  // opened and never closed
  bool has_bom = false;
  std::size_t yaml_begin = 0, yaml_end = 0;  // bytes between the fences
  std::size_t yaml_line = 1;                 // number of the first line of YAML
  std::size_t body_begin = 0;
  YamlValue data;             // null without front matter; a map once require_mapping() has passed
  std::vector<CardKey> keys;  // one for each of data.members, in order; empty if these share lines

  [[nodiscard]] std::string_view body() const { return std::string_view(text).substr(body_begin); }
  [[nodiscard]] const CardKey* find(std::string_view key) const;
  [[nodiscard]] std::string_view lines_of(const CardKey& key) const {
    return std::string_view(text).substr(key.begin, key.end - key.begin);
  }
};

inline constexpr std::size_t kMaxCardBytes = 16U << 20;

// Throws kMalformed at "line N" for YAML that can't be read and for duplicate keys.
CardFile read_card(std::string text);
// Throws kMalformed at "line N" for front matter that is a list or a bare value: it has no keys to edit.
void require_mapping(const CardFile& card);

}  // namespace mu
