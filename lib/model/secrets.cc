// SPDX-License-Identifier: Apache-2.0
// Two kinds of secrets have a form that shows: tokens, which begin with a prefix of their service ("hf_",
// "ghp_", …) and go on in letters and digits, and private keys in armour ("-----BEGIN … PRIVATE KEY-----").
//
// A search goes from one beginning of a word to the next. If a prefix of the table begins there, the token
// goes as far as its characters do; it must have the length of its kind and a long enough row of letters and
// digits, which names in code do not have, and it must not be a placeholder of documentation. A key counts if
// a line of its body follows its frame, since code and prose only name the frame.
//
// A file is read in pieces (PieceSearch). The end of each piece is kept for the next, so that a secret that
// is cut in two is found, and memory is one piece and the longest key. A file with NULs may be UTF-16 or
// UTF-32: its text is narrowed to one byte per character and searched in a second pass beside the first.
#include "model/secrets.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <span>

#include "base/bytes.h"
#include "base/text.h"
#include "os/interrupt.h"

namespace mu {
namespace {

// How services begin their tokens, how many characters follow, and how many letters and digits stand in a row
// somewhere in them: names in code (hf_dataset_name_or_path, sk-toggleable-content) have shorter words.
struct Form {
  std::string_view prefix;
  std::size_t least, most, run;
  bool upper = false;  // only capitals and digits
};
constexpr std::size_t kAny = 4096;  // bytes; nothing that goes on for longer is a token
constexpr std::array kForms = std::to_array<Form>({
    {"hf_", 20, kAny, 16},      {"api_org_", 20, kAny, 16},    {"ghp_", 20, kAny, 16},
    {"gho_", 20, kAny, 16},     {"ghu_", 20, kAny, 16},        {"ghs_", 20, kAny, 16},
    {"ghr_", 20, kAny, 16},     {"github_pat_", 20, kAny, 16}, {"glpat-", 16, kAny, 8},
    {"sk-", 20, kAny, 16},      {"sk_live_", 16, kAny, 16},    {"rk_live_", 16, kAny, 16},
    {"gsk_", 20, kAny, 16},     {"xai-", 20, kAny, 16},        {"pplx-", 20, kAny, 16},
    {"nvapi-", 20, kAny, 10},   {"r8_", 20, kAny, 16},         {"wandb_v1_", 20, kAny, 10},
    {"npm_", 36, 36, 36},       {"pypi-", 50, kAny, 10},       {"dop_v1_", 64, 64, 64},
    {"xoxb-", 20, kAny, 8},     {"xoxp-", 20, kAny, 8},        {"xoxa-", 20, kAny, 8},
    {"xapp-", 20, kAny, 8},     {"AIza", 35, 35, 8},           {"AKIA", 16, 16, 16, true},
    {"ASIA", 16, 16, 16, true},
});

bool is_alnum(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}
bool is_part(char c) {
  return is_alnum(c) || c == '_' || c == '-';
}

std::size_t longest_run(std::string_view text) {
  std::size_t longest = 0, run = 0;
  for (const char c : text) {
    run = is_alnum(c) ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

// The form of the token that begins at `at`, where a word begins, and its size in bytes.
struct Match {
  const Form* form = nullptr;
  std::size_t size = 0;
};
Match token_at(std::string_view text, std::size_t at) {
  const std::string_view rest = text.substr(at);
  for (const Form& form : kForms) {
    if (rest.front() != form.prefix.front() || !rest.starts_with(form.prefix)) continue;
    std::size_t end = form.prefix.size();
    while (end < rest.size() && end <= kAny && is_part(rest[end])) ++end;
    const std::string_view body = rest.substr(form.prefix.size(), end - form.prefix.size());
    if (body.size() < form.least || body.size() > form.most || longest_run(body) < form.run) continue;
    if (form.upper && std::any_of(body.begin(), body.end(), [](char c) { return c >= 'a' && c <= 'z'; }))
      continue;
    return {&form, end};
  }
  return {};
}

// Whether an escape ends at `at`, as texts in JSON, programs and URLs have them: a word begins behind it.
constexpr std::size_t kMaxEscape = 6;  // bytes, as \u0022 has
bool ends_escape(std::string_view text, std::size_t at) {
  const auto is = [&](std::size_t back, char c) { return at >= back && text[at - back] == c; };
  const auto hex = [&](std::size_t digits) {
    return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(at - digits),
                       text.begin() + static_cast<std::ptrdiff_t>(at),
                       [](unsigned char c) { return std::isxdigit(c) != 0; });
  };
  if (is(2, '\\')) return std::string_view("nrtfbv").find(text[at - 1]) != std::string_view::npos;
  if (is(3, '%')) return hex(2);
  if (is(4, '\\') && is(3, 'x')) return hex(2);
  return is(6, '\\') && is(5, 'u') && hex(4);
}

// The next place from `at` on where a word begins that could be a token; the end where there is none.
std::size_t next_word(std::string_view text, std::size_t at) {
  static constexpr std::array<bool, 256> kFirst = [] {
    std::array<bool, 256> first{};
    for (const Form& form : kForms) first[static_cast<unsigned char>(form.prefix.front())] = true;
    return first;
  }();
  for (; at < text.size(); ++at) {
    if (kFirst[static_cast<unsigned char>(text[at])] &&
        (at == 0 || !is_part(text[at - 1]) || ends_escape(text, at)))
      return at;
  }
  return at;
}

// Made of a few characters again and again; a token of 16 or more characters has more different ones.
bool is_monotonous(std::string_view body) {
  constexpr std::size_t kFew = 5;  // different letters and digits
  std::array<bool, 256> seen{};
  std::size_t distinct = 0;
  for (const char c : body) {
    bool& known = seen[static_cast<unsigned char>(c)];
    if (!known && is_alnum(c)) ++distinct;
    known = true;
  }
  return distinct <= kFew;
}

bool repeats(std::string_view body) {
  for (std::size_t period = 1; period <= body.size() / 2; ++period) {
    if (body.substr(period) == body.substr(0, body.size() - period)) return true;
  }
  return false;
}

// What documentation has in place of a token: "xxxx…", "0123401234…", "your_token_here", "…EXAMPLE".
bool is_placeholder(std::string_view body) {
  const std::string lower = lower_ascii(body);
  if (is_monotonous(body) || repeats(body)) return true;
  // Long enough not to turn up in a token by chance.
  for (const std::string_view word :
       {"example", "placeholder", "yourtoken", "youraccess", "yourapikey", "yourhuggingface", "tokenhere",
        "redacted", "replaceme", "changeme", "xxxxxxxx"}) {
    if (lower.find(word) != std::string::npos) return true;
  }
  // Short ones count as whole words.
  for (std::size_t begin = 0; begin <= lower.size();) {
    const std::size_t end = std::min(lower.find_first_of("_-", begin), lower.size());
    const std::string_view part = std::string_view(lower).substr(begin, end - begin);
    for (const std::string_view word : {"your", "my", "here", "insert", "dummy", "fake", "sample", "replace"})
      if (part == word) return true;
    begin = end + 1;
  }
  return false;
}

constexpr std::string_view kBegin = "-----BEGIN ", kKey = "PRIVATE KEY", kEnd = "-----END";
constexpr std::size_t kMaxKeyName = 24;     // bytes between them: "RSA ", "OPENSSH ", "ENCRYPTED "
constexpr std::size_t kMaxKey = 16U << 10;  // bytes; an RSA key of 16384 bits has 13 KB in armour

bool is_base64(char c) {
  return is_alnum(c) || c == '+' || c == '/' || c == '=';
}

// Between the lines of a key there are only line ends, escapes, quotes and the marks that quote a text.
bool begins_line(std::string_view text, std::size_t at) {
  const std::size_t before = text.substr(0, at).find_last_not_of(" \t\"'`+>|#*");
  return before == std::string_view::npos || text[before] == '\n' || text[before] == '\r' ||
         text[before] == '\\';
}

// Whether a line of armour stands near the beginning, where headers may come first; code and prose that only
// speak of keys have none.
bool has_armour(std::string_view body) {
  constexpr std::size_t kNear = 512, kLine = 32;  // bytes; whole lines have 64 or more
  for (std::size_t begin = 0; begin < std::min(body.size(), kNear);) {
    std::size_t end = begin;
    while (end < body.size() && is_base64(body[end])) ++end;
    if (end - begin >= kLine && begins_line(body, begin)) return true;
    begin = end + 1;
  }
  return false;
}

// The size of a private key that begins at `at`, in armour; 0 where there is none, or only its frame.
std::size_t key_at(std::string_view text, std::size_t at) {
  std::string_view rest = text.substr(at, kMaxKey);
  const std::size_t name = rest.find(kKey, kBegin.size());
  if (name > kBegin.size() + kMaxKeyName) return 0;  // as npos is
  std::size_t begin = name + kKey.size();
  if (rest.substr(begin).starts_with(" BLOCK")) begin += 6;  // of PGP
  if (!rest.substr(begin).starts_with("-----")) return 0;
  begin += 5;
  // A line end follows, in strings written as an escape; programs that look for keys have a quote here.
  if (begin < rest.size() && std::string_view("\r\n\\ ").find(rest[begin]) == std::string_view::npos)
    return 0;
  const std::size_t end = rest.find(kEnd, begin);
  const std::string_view body = rest.substr(begin, std::min(end, rest.size()) - begin);
  if (end == std::string_view::npos) {  // cut off, or as long as no frame is
    const bool only_armour = std::all_of(
        body.begin(), body.end(), [](char c) { return is_base64(c) || c == '\n' || c == '\r' || c == '\\'; });
    return only_armour || has_armour(body) ? rest.size() : 0;
  }
  constexpr std::size_t kLeast = 40;  // characters; an Ed25519 key has 64
  const std::ptrdiff_t letters = std::count_if(body.begin(), body.end(), is_alnum);
  const bool framed = static_cast<std::size_t>(letters) < kLeast || is_monotonous(body) || !has_armour(body);
  return framed ? 0 : end;
}

std::optional<Secret> find_key(std::string_view text, std::size_t from) {
  for (std::size_t at = text.find(kBegin, from); at != std::string_view::npos;
       at = text.find(kBegin, at + 1)) {
    if (const std::size_t size = key_at(text, at)) return Secret{SecretKind::kPrivateKey, at, size};
  }
  return std::nullopt;
}

std::optional<Secret> find_token(std::string_view text, std::size_t from) {
  for (std::size_t at = next_word(text, from); at < text.size(); at = next_word(text, at + 1)) {
    const Match match = token_at(text, at);
    if (match.form != nullptr &&
        !is_placeholder(text.substr(at, match.size).substr(match.form->prefix.size())))
      return Secret{SecretKind::kToken, at, match.size};
  }
  return std::nullopt;
}

// Searches a text that comes in pieces. Keeps whatever may continue in the next piece.
class PieceSearch {
 public:
  std::optional<SecretInFile> feed(std::string_view piece, bool last) {
    text_ += piece;
    const std::optional<Secret> found = find_secret(text_, before_);
    if (found && (last || found->begin + kKept <= text_.size())) {
      skip(found->begin);
      return SecretInFile{found->kind, line_};
    }
    const std::size_t rest = found ? found->begin : text_.size() - std::min(text_.size(), kKept);
    // Keeps some characters more, which show whether a word begins behind them.
    if (rest > 0) {
      before_ = std::min(rest, kMaxEscape);
      skip(rest - before_);
    }
    return std::nullopt;
  }

 private:
  static constexpr std::size_t kKept = 2 * kMaxKey;

  void skip(std::size_t size) {
    line_ += static_cast<std::uint64_t>(
        std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(size), '\n'));
    text_.erase(0, size);
  }

  std::string text_;
  std::size_t before_ = 0;  // characters of it that were judged already
  std::uint64_t line_ = 1;
};

// Which byte of two holds ASCII in what may be UTF-16: 0 (little endian), 1, or -1 where there are no NULs.
int ascii_byte(std::string_view start) {
  if (start.starts_with("\xFF\xFE")) return 0;
  if (start.starts_with("\xFE\xFF")) return 1;
  std::array<std::size_t, 2> nulls{};
  for (std::size_t i = 0; i < start.size(); ++i) nulls[i % 2] += start[i] == '\0' ? 1 : 0;
  if (nulls[0] + nulls[1] == 0) return -1;
  return nulls[1] >= nulls[0] ? 0 : 1;
}

// The ASCII in UTF-16; every other character becomes a byte that belongs to no word. Units of 0 are
// dropped: in UTF-32 every second one is 0.
std::string narrowed(std::string_view wide, int ascii) {
  std::string text;
  text.reserve(wide.size() / 2);
  for (std::size_t i = 0; i + 1 < wide.size(); i += 2) {
    const char low = wide[i + static_cast<std::size_t>(ascii)],
               high = wide[i + 1 - static_cast<std::size_t>(ascii)];
    if (high == '\0' && low == '\0') continue;
    text += high == '\0' && static_cast<unsigned char>(low) < 0x80 ? low : '\x80';
  }
  return text;
}

}  // namespace

std::optional<Secret> find_secret(std::string_view text, std::size_t from) {
  const std::optional<Secret> key = find_key(text, from);
  const std::optional<Secret> token = find_token(key ? text.substr(0, key->begin) : text, from);
  return token ? token : key;
}

std::string mask_secrets(std::string_view text) {
  std::string out;
  std::size_t done = 0;
  for (std::size_t at = next_word(text, 0); at < text.size(); at = next_word(text, std::max(at + 1, done))) {
    const Match match = token_at(text, at);
    if (match.form == nullptr) continue;
    out.append(text, done, at - done).append("***");
    done = at + match.size;
  }
  return out.append(text, done);
}

std::optional<SecretInFile> search_file(const InputFile& file, std::uint64_t limit) {
  constexpr std::size_t kPiece = 256U << 10;  // bytes, even
  const std::uint64_t size = std::min(file.size(), limit);
  PieceSearch plain, wide;
  int ascii = -1;
  std::string piece;
  for (std::uint64_t at = 0; at < size; at += piece.size()) {
    check_interrupt();
    piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, size - at)));
    file.read_at(at, std::as_writable_bytes(std::span(piece)));
    if (ascii < 0) ascii = ascii_byte(piece);
    const bool last = at + piece.size() == size;
    if (std::optional<SecretInFile> found = plain.feed(piece, last)) return found;
    if (ascii < 0) continue;
    if (std::optional<SecretInFile> found = wide.feed(narrowed(piece, ascii), last)) return found;
  }
  return std::nullopt;
}

}  // namespace mu
