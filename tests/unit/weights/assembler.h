// SPDX-License-Identifier: Apache-2.0
// Pickles from readable opcode lists, and zip archives that tell the truth or lie, for tests of the readers.
#pragma once

#include <zlib.h>

#include <charconv>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/text.h"

namespace mu::testing {

template <typename T>
std::string le(T value) {
  std::string bytes(sizeof(T), '\0');
  store_le(reinterpret_cast<std::byte*>(bytes.data()), value);
  return bytes;
}

struct AssemblerOp {
  unsigned char code;
  char argument;  // 1 2 4 8: number of bytes; l: line; L: two lines; t: text after its length; 0: none
  int size = 0;   // bytes of that length
};
inline const std::map<std::string_view, AssemblerOp> kAssemblerOps = {{"PROTO", {0x80, '1'}},
                                                                      {"STOP", {'.', '0'}},
                                                                      {"FRAME", {0x95, '8'}},
                                                                      {"MARK", {'(', '0'}},
                                                                      {"POP", {'0', '0'}},
                                                                      {"POP_MARK", {'1', '0'}},
                                                                      {"DUP", {'2', '0'}},
                                                                      {"NONE", {'N', '0'}},
                                                                      {"NEWTRUE", {0x88, '0'}},
                                                                      {"NEWFALSE", {0x89, '0'}},
                                                                      {"INT", {'I', 'l'}},
                                                                      {"LONG", {'L', 'l'}},
                                                                      {"BININT", {'J', '4'}},
                                                                      {"BININT1", {'K', '1'}},
                                                                      {"BININT2", {'M', '2'}},
                                                                      {"LONG1", {0x8a, 't', 1}},
                                                                      {"LONG4", {0x8b, 't', 4}},
                                                                      {"FLOAT", {'F', 'l'}},
                                                                      {"BINFLOAT", {'G', '8'}},
                                                                      {"STRING", {'S', 'l'}},
                                                                      {"BINSTRING", {'T', 't', 4}},
                                                                      {"SHORT_BINSTRING", {'U', 't', 1}},
                                                                      {"UNICODE", {'V', 'l'}},
                                                                      {"BINUNICODE", {'X', 't', 4}},
                                                                      {"SHORT_BINUNICODE", {0x8c, 't', 1}},
                                                                      {"BINUNICODE8", {0x8d, 't', 8}},
                                                                      {"BINBYTES", {'B', 't', 4}},
                                                                      {"SHORT_BINBYTES", {'C', 't', 1}},
                                                                      {"BINBYTES8", {0x8e, 't', 8}},
                                                                      {"BYTEARRAY8", {0x96, 't', 8}},
                                                                      {"NEXT_BUFFER", {0x97, '0'}},
                                                                      {"READONLY_BUFFER", {0x98, '0'}},
                                                                      {"EMPTY_LIST", {']', '0'}},
                                                                      {"LIST", {'l', '0'}},
                                                                      {"APPEND", {'a', '0'}},
                                                                      {"APPENDS", {'e', '0'}},
                                                                      {"EMPTY_TUPLE", {')', '0'}},
                                                                      {"TUPLE", {'t', '0'}},
                                                                      {"TUPLE1", {0x85, '0'}},
                                                                      {"TUPLE2", {0x86, '0'}},
                                                                      {"TUPLE3", {0x87, '0'}},
                                                                      {"EMPTY_DICT", {'}', '0'}},
                                                                      {"DICT", {'d', '0'}},
                                                                      {"SETITEM", {'s', '0'}},
                                                                      {"SETITEMS", {'u', '0'}},
                                                                      {"EMPTY_SET", {0x8f, '0'}},
                                                                      {"ADDITEMS", {0x90, '0'}},
                                                                      {"FROZENSET", {0x91, '0'}},
                                                                      {"GET", {'g', 'l'}},
                                                                      {"BINGET", {'h', '1'}},
                                                                      {"LONG_BINGET", {'j', '4'}},
                                                                      {"PUT", {'p', 'l'}},
                                                                      {"BINPUT", {'q', '1'}},
                                                                      {"LONG_BINPUT", {'r', '4'}},
                                                                      {"MEMOIZE", {0x94, '0'}},
                                                                      {"GLOBAL", {'c', 'L'}},
                                                                      {"STACK_GLOBAL", {0x93, '0'}},
                                                                      {"INST", {'i', 'L'}},
                                                                      {"OBJ", {'o', '0'}},
                                                                      {"REDUCE", {'R', '0'}},
                                                                      {"NEWOBJ", {0x81, '0'}},
                                                                      {"NEWOBJ_EX", {0x92, '0'}},
                                                                      {"BUILD", {'b', '0'}},
                                                                      {"EXT1", {0x82, '1'}},
                                                                      {"EXT2", {0x83, '2'}},
                                                                      {"EXT4", {0x84, '4'}},
                                                                      {"PERSID", {'P', 'l'}},
                                                                      {"BINPERSID", {'Q', '0'}}};

// One opcode per line, its name as in pickletools and its arguments: "GLOBAL os system", "BINUNICODE text",
// "RAW 80ff". Lengths are computed; numbers are decimal.
inline std::string assemble(std::string_view program) {
  std::string out;
  for (const std::string_view line : split(program, '\n')) {
    const std::string_view text = trim(line);
    if (text.empty()) continue;
    const std::size_t blank = text.find(' ');
    const std::string_view name = text.substr(0, blank);
    const std::string_view argument = blank == std::string_view::npos ? "" : text.substr(blank + 1);
    if (name == "RAW") {
      for (std::size_t i = 0; i + 1 < argument.size(); i += 2)
        out += static_cast<char>(std::stoi(std::string(argument.substr(i, 2)), nullptr, 16));
      continue;
    }
    const auto found = kAssemblerOps.find(name);
    if (found == kAssemblerOps.end()) throw std::runtime_error("no opcode " + std::string(name));
    const AssemblerOp& op = found->second;
    out += static_cast<char>(op.code);
    const auto number = [&argument] { return argument.empty() ? 0 : std::stoull(std::string(argument)); };
    switch (op.argument) {
      case '1':
        out += static_cast<char>(number());
        break;
      case '2':
        out += le(static_cast<std::uint16_t>(number()));
        break;
      case '4':
        out += le(static_cast<std::uint32_t>(number()));
        break;
      case '8':
        out += le(static_cast<std::uint64_t>(number()));
        break;
      case 'l':
        out += std::string(argument) + "\n";
        break;
      case 'L': {
        const std::size_t cut = argument.find(' ');
        out += std::string(argument.substr(0, cut)) + "\n" + std::string(argument.substr(cut + 1)) + "\n";
        break;
      }
      case 't':
        out += le(std::uint64_t{argument.size()}).substr(0, static_cast<std::size_t>(op.size));
        out += argument;
        break;
      default:
        break;
    }
  }
  return out;
}

// A member of an archive; anything given besides name and data replaces the truth.
struct ZipMember {
  std::string name, data;
  bool deflate = false;
  bool zip64 = false;  // sizes and offset in the extra field
  std::uint16_t flags = 0;
  std::uint16_t padding = 0;  // bytes of a local "FB" extra, as torch aligns its data
  std::optional<std::uint32_t> crc{};
  std::optional<std::uint64_t> size{}, compressed{}, offset{};
  std::optional<std::uint16_t> method{};
  std::string local_name{};
};
struct ZipLies {
  std::optional<std::uint64_t> count{}, directory_size{}, directory_offset{}, locator{};
  bool zip64_end = false;
  std::string front{}, back{};
};

inline std::string deflated(const std::string& data) {
  z_stream stream{};
  ::deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(::deflateBound(&stream, static_cast<uLong>(data.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

inline std::string zip(const std::vector<ZipMember>& members, const ZipLies& lies = {}) {
  std::string out = lies.front, directory;
  for (const ZipMember& member : members) {
    const std::string data = member.deflate ? deflated(member.data) : member.data;
    const auto crc = member.crc.value_or(static_cast<std::uint32_t>(::crc32(
        0, reinterpret_cast<const Bytef*>(member.data.data()), static_cast<uInt>(member.data.size()))));
    const std::uint64_t size = member.size.value_or(member.data.size());
    const std::uint64_t compressed = member.compressed.value_or(data.size());
    const std::uint64_t offset = member.offset.value_or(out.size());
    const std::uint16_t method = member.method.value_or(member.deflate ? 8 : 0);
    const std::string local = member.local_name.empty() ? member.name : member.local_name;
    const auto small = [&member](std::uint64_t value) {
      return member.zip64 ? 0xFFFFFFFFU : static_cast<std::uint32_t>(value);
    };
    std::string extra;
    if (member.padding > 0) extra = "FB" + le(member.padding) + std::string(member.padding, 'Z');
    out += le(std::uint32_t{0x04034b50}) + le(std::uint16_t{0}) + le(member.flags) + le(method) +
           le(std::uint32_t{0}) + le(std::uint32_t{0}) + le(std::uint32_t{0}) + le(std::uint32_t{0}) +
           le(static_cast<std::uint16_t>(local.size())) + le(static_cast<std::uint16_t>(extra.size())) +
           local + extra + data;
    std::string big;
    if (member.zip64)
      big = le(std::uint16_t{1}) + le(std::uint16_t{24}) + le(size) + le(compressed) + le(offset);
    directory += le(std::uint32_t{0x02014b50}) + le(std::uint32_t{0}) + le(member.flags) + le(method) +
                 le(std::uint32_t{0}) + le(crc) + le(small(compressed)) + le(small(size)) +
                 le(static_cast<std::uint16_t>(member.name.size())) +
                 le(static_cast<std::uint16_t>(big.size())) + le(std::uint16_t{0}) + le(std::uint64_t{0}) +
                 le(small(offset)) + member.name + big;
  }
  const std::uint64_t at = lies.directory_offset.value_or(out.size());
  const std::uint64_t size = lies.directory_size.value_or(directory.size());
  const std::uint64_t count = lies.count.value_or(members.size());
  out += directory;
  if (lies.zip64_end) {
    const std::uint64_t end64 = out.size();
    out += le(std::uint32_t{0x06064b50}) + le(std::uint64_t{44}) + le(std::uint32_t{0}) +
           le(std::uint64_t{0}) + le(count) + le(count) + le(size) + le(at);
    out += le(std::uint32_t{0x07064b50}) + le(std::uint32_t{0}) + le(lies.locator.value_or(end64)) +
           le(std::uint32_t{1});
  }
  out += le(std::uint32_t{0x06054b50}) + le(std::uint32_t{0}) +
         le(static_cast<std::uint16_t>(members.size())) +
         le(static_cast<std::uint16_t>(lies.zip64_end ? members.size() : count)) +
         le(static_cast<std::uint32_t>(lies.zip64_end ? directory.size() : size)) +
         le(static_cast<std::uint32_t>(lies.zip64_end ? out.size() - directory.size() - 76 : at)) +
         le(std::uint16_t{0});
  return out + lies.back;
}

}  // namespace mu::testing
