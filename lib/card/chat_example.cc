// SPDX-License-Identifier: Apache-2.0
// Reads a chat template without running it. Most templates of small models have the same plain shape: a loop
// over the messages that writes literals, role and content, and a prompt for the answer. For anything else
// (conditions, filters, macros) no example is shown.
#include <algorithm>
#include <optional>
#include <vector>

#include "base/text.h"
#include "card/gather.h"

namespace mu {
namespace {

constexpr std::string_view kAsked = "Which three habits make a good laboratory notebook?";

struct Piece {
  enum class Kind : std::uint8_t { kText, kOutput, kBlock } kind;
  std::string text;  // literal, expression, or words of a statement
};

// The environment of Transformers removes the line end after a block and the blanks before it (trim_blocks,
// lstrip_blocks); a dash at a mark removes all white space on its side.
std::optional<std::vector<Piece>> pieces_of(std::string_view chat) {
  std::vector<Piece> pieces;
  bool strip_next = false, drop_newline = false;
  for (std::size_t at = 0; at <= chat.size();) {
    std::size_t open = chat.find('{', at);
    while (open != std::string_view::npos && open + 1 < chat.size() &&
           std::string_view("{%#").find(chat[open + 1]) == std::string_view::npos)
      open = chat.find('{', open + 1);
    if (open != std::string_view::npos && open + 2 >= chat.size()) return std::nullopt;
    std::string text(chat.substr(at, open == std::string_view::npos ? open : open - at));
    const bool at_line = at == 0 || (drop_newline && text.starts_with('\n'));
    if (drop_newline && text.starts_with('\n')) text.erase(0, 1);
    if (strip_next) text.erase(0, std::min(text.find_first_not_of(" \t\r\n"), text.size()));
    if (open == std::string_view::npos) {
      if (text.ends_with('\n')) text.pop_back();  // keep_trailing_newline is off
      pieces.push_back({Piece::Kind::kText, std::move(text)});
      return pieces;
    }
    const char sort = chat[open + 1];
    const bool dash = chat[open + 2] == '-';
    const std::string_view close_mark = sort == '{' ? "}}" : sort == '%' ? "%}" : "#}";
    const std::size_t close = chat.find(close_mark, open + 2);
    if (close == std::string_view::npos) return std::nullopt;
    std::string_view inside = chat.substr(open + 2, close - open - 2);
    if (dash) {
      inside.remove_prefix(1);
      while (!text.empty() && std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos)
        text.pop_back();
    } else if (sort != '{') {
      const std::size_t line = text.find_last_not_of(" \t");
      if (line == std::string::npos ? at_line : text[line] == '\n')
        text.resize(line == std::string::npos ? 0 : line + 1);
    }
    strip_next = inside.ends_with('-');
    if (strip_next) inside.remove_suffix(1);
    drop_newline = sort != '{';
    pieces.push_back({Piece::Kind::kText, std::move(text)});
    if (sort != '#')
      pieces.push_back({sort == '{' ? Piece::Kind::kOutput : Piece::Kind::kBlock, std::string(trim(inside))});
    at = close + 2;
  }
  return std::nullopt;
}

// Takes a quoted literal from the start of `rest`, which then begins after it.
std::optional<std::string> take_literal(std::string_view& rest) {
  const char quote = rest.front();
  std::string out;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == quote) {
      rest.remove_prefix(i + 1);
      return out;
    }
    if (rest[i] != '\\') {
      out += rest[i];
      continue;
    }
    if (++i == rest.size() || std::string_view("nt'\"\\").find(rest[i]) == std::string_view::npos) break;
    out += rest[i] == 'n' ? '\n' : rest[i] == 't' ? '\t' : rest[i];
  }
  return std::nullopt;
}

struct Words {
  std::string_view bos, eos, message;  // the name of the loop's variable; empty outside it
};

// The value of 'literal' + message['role'] + …; nullopt for anything more complicated.
std::optional<std::string> value_of(std::string_view expression, const Words& words) {
  std::string out;
  for (std::string_view rest = trim(expression);;) {
    if (rest.empty()) return std::nullopt;
    if (rest.front() == '\'' || rest.front() == '"') {
      const std::optional<std::string> literal = take_literal(rest);
      if (!literal) return std::nullopt;
      out += *literal;
    } else {
      const std::size_t end = std::min(rest.find('+'), rest.size());
      const std::string_view name = trim(rest.substr(0, end));
      const auto is_of = [&](std::string_view field) {
        if (words.message.empty() || !name.starts_with(words.message)) return false;
        const std::string_view access = name.substr(words.message.size());
        const std::string f(field);
        return access == "." + f || access == "['" + f + "']" || access == "[\"" + f + "\"]";
      };
      if (name == "bos_token" && !words.bos.empty()) {
        out += words.bos;
      } else if (name == "eos_token" && !words.eos.empty()) {
        out += words.eos;
      } else if (is_of("role")) {
        out += "user";
      } else if (is_of("content")) {
        out += kAsked;
      } else {
        return std::nullopt;
      }
      rest.remove_prefix(end);
    }
    rest = trim(rest);
    if (rest.empty()) return out;
    if (rest.front() != '+') return std::nullopt;
    rest = trim(rest.substr(1));
  }
}

}  // namespace

std::string chat_example(std::string_view chat, std::string_view bos, std::string_view eos) {
  constexpr std::size_t kLongest = 64U << 10;  // plain templates are short
  const std::optional<std::vector<Piece>> pieces = chat.size() > kLongest ? std::nullopt : pieces_of(chat);
  if (!pieces) return "";
  enum class Where : std::uint8_t { kOutside, kLoop, kPrompt } where = Where::kOutside;
  std::string out, variable;
  bool looped = false, prompted = false;
  for (const Piece& piece : *pieces) {
    if (piece.kind == Piece::Kind::kText) {
      out += piece.text;
      continue;
    }
    if (piece.kind == Piece::Kind::kOutput) {
      const std::optional<std::string> value =
          value_of(piece.text, {bos, eos, where == Where::kLoop ? std::string_view(variable) : ""});
      if (!value) return "";
      out += *value;
      continue;
    }
    const std::vector<std::string_view> words = split(piece.text, ' ');
    const bool loop = words.size() == 4 && words[0] == "for" && words[2] == "in" && words[3] == "messages";
    if (loop && where == Where::kOutside && !looped) {
      variable = words[1];
      where = Where::kLoop;
      looped = true;
    } else if (piece.text == "endfor" && where == Where::kLoop) {
      where = Where::kOutside;
    } else if (piece.text == "if add_generation_prompt" && where == Where::kOutside && looped && !prompted) {
      where = Where::kPrompt;
      prompted = true;
    } else if (piece.text == "endif" && where == Where::kPrompt) {
      where = Where::kOutside;
    } else {
      return "";
    }
  }
  const bool shown = looped && where == Where::kOutside && out.size() < 2000 && !find_invalid_utf8(out) &&
                     out.find(kCardMark) == std::string::npos &&
                     std::none_of(out.begin(), out.end(), [](char c) {
                       return static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t';
                     });
  return shown ? out : "";
}

}  // namespace mu
