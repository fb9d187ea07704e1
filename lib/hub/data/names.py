#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints names.txt from Python's own tables: what characters become when names are compared as macOS and Windows compare them.
D: canonical decomposition. F: full case folding. C: combining class of the characters from one to another. Hangul is arithmetic."""
import sys
import unicodedata as u


def line(kind, c, text):
    return f"{kind} {ord(c):X} " + " ".join(f"{ord(d):X}" for d in text)


characters = [chr(i) for i in range(sys.maxunicode + 1) if not 0xD800 <= i < 0xE000]
hangul = range(0xAC00, 0xD7A4)
print(f"# Unicode {u.unidata_version}, by names.py")
for c in characters:
    if ord(c) not in hangul and u.normalize("NFD", c) != c:
        print(line("D", c, u.normalize("NFD", c)))
for c in characters:
    if ord(c) >= 0x80 and c.casefold() != c:
        print(line("F", c, c.casefold()))
begin = None
for c in characters + ["\0"]:
    kind = u.combining(c)
    if begin and (kind != begin[1] or ord(c) != begin[2] + 1):
        print(f"C {begin[0]:X} {begin[2]:X} {begin[1]:X}")
        begin = None
    if kind and not begin:
        begin = [ord(c), kind, ord(c)]
    elif begin:
        begin[2] = ord(c)
