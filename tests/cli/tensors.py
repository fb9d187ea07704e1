# SPDX-License-Identifier: Apache-2.0
"""tensors.py FILE [NAME:DTYPE:SHAPE]...: writes safetensors whose values are all ones or zeros, "a.weight:F8_E4M3:8,8"."""
import json
import struct
import sys

BYTES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I64": 8, "I32": 4, "U32": 4, "I16": 2, "I8": 1, "U8": 1}
header, at = {}, 0
for text in sys.argv[2:]:
    name, dtype, shape = text.rsplit(":", 2)
    shape = [int(n) for n in shape.split(",") if n]
    size = BYTES[dtype]
    for n in shape:
        size *= n
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
    at += size
head = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
head += b" " * (-len(head) % 8)
open(sys.argv[1], "wb").write(struct.pack("<Q", len(head)) + head + bytes(at))
