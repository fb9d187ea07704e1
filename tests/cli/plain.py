# SPDX-License-Identifier: Apache-2.0
"""plain.py MODEL FILE: FILE holds just the tensors whose digests the library of the quantisation gave for the folder MODEL (its plain.json)."""
import hashlib
import json
import pathlib
import struct
import sys

want = json.loads((pathlib.Path(sys.argv[1]) / "plain.json").read_text())
data = pathlib.Path(sys.argv[2]).read_bytes()
begin = 8 + struct.unpack_from("<Q", data)[0]
header = json.loads(data[8:begin])
assert header.pop("__metadata__") == {"format": "pt"}
assert header.keys() == want.keys(), header.keys() ^ want.keys()
for name, tensor in header.items():
    first, last = tensor["data_offsets"]
    assert tensor["shape"] == want[name]["shape"], name
    assert hashlib.sha256(data[begin + first:begin + last]).hexdigest() == want[name]["sha256"], name
