// SPDX-License-Identifier: Apache-2.0
// The opcodes of pickles by the names that Python gives them (Lib/pickle.py; Lib/pickletools.py says what each
// does). Private to this folder.
#pragma once

namespace mu {

enum class Op : unsigned char {
  // protocol 0
  INT = 'I',
  LONG = 'L',
  STRING = 'S',
  NONE = 'N',
  UNICODE = 'V',
  FLOAT = 'F',
  APPEND = 'a',
  LIST = 'l',
  TUPLE = 't',
  DICT = 'd',
  SETITEM = 's',
  POP = '0',
  DUP = '2',
  MARK = '(',
  GET = 'g',
  PUT = 'p',
  GLOBAL = 'c',
  REDUCE = 'R',
  BUILD = 'b',
  INST = 'i',
  STOP = '.',
  PERSID = 'P',
  // protocol 1
  BININT = 'J',
  BININT1 = 'K',
  BININT2 = 'M',
  BINSTRING = 'T',
  SHORT_BINSTRING = 'U',
  BINUNICODE = 'X',
  BINFLOAT = 'G',
  EMPTY_LIST = ']',
  APPENDS = 'e',
  EMPTY_TUPLE = ')',
  EMPTY_DICT = '}',
  SETITEMS = 'u',
  POP_MARK = '1',
  BINGET = 'h',
  LONG_BINGET = 'j',
  BINPUT = 'q',
  LONG_BINPUT = 'r',
  OBJ = 'o',
  BINPERSID = 'Q',
  // protocol 2
  LONG1 = 0x8a,
  LONG4 = 0x8b,
  NEWTRUE = 0x88,
  NEWFALSE = 0x89,
  TUPLE1 = 0x85,
  TUPLE2 = 0x86,
  TUPLE3 = 0x87,
  EXT1 = 0x82,
  EXT2 = 0x83,
  EXT4 = 0x84,
  NEWOBJ = 0x81,
  PROTO = 0x80,
  // protocol 3
  BINBYTES = 'B',
  SHORT_BINBYTES = 'C',
  // protocol 4
  BINBYTES8 = 0x8e,
  SHORT_BINUNICODE = 0x8c,
  BINUNICODE8 = 0x8d,
  EMPTY_SET = 0x8f,
  ADDITEMS = 0x90,
  FROZENSET = 0x91,
  MEMOIZE = 0x94,
  STACK_GLOBAL = 0x93,
  NEWOBJ_EX = 0x92,
  FRAME = 0x95,
  // protocol 5
  BYTEARRAY8 = 0x96,
  NEXT_BUFFER = 0x97,
  READONLY_BUFFER = 0x98,
};

}  // namespace mu
