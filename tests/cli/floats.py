# SPDX-License-Identifier: Apache-2.0
"""floats.py FILE NAME:SHAPE:VALUE...: writes tensors of one value each, of 0, 1, 2 … (n), or of the values between commas.
floats.py FOLDER: lists those of its files, each with its shape and the values that it has."""
import json
import pathlib
import struct
import sys

if len(sys.argv) == 2:
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.safetensors")):
        data = path.read_bytes()
        end = 8 + struct.unpack_from("<Q", data)[0]
        for name, t in json.loads(data[8:end]).items():
            if name != "__metadata__":
                values = struct.unpack(f"<{(t['data_offsets'][1] - t['data_offsets'][0]) // 4}f", data[end + t["data_offsets"][0]:end + t["data_offsets"][1]])
                print(name, "x".join(map(str, t["shape"])), *(f"{v:g}" for v in sorted(set(values))))
else:
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for text in sys.argv[2:]:
        name, shape, value = text.rsplit(":", 2)
        shape = [int(n) for n in shape.split("x")]
        count = 1
        for n in shape:
            count *= n
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + 4 * count]}
        body += struct.pack(f"<{count}f", *(range(count) if value == "n" else map(float, value.split(",")) if "," in value else [float(value)] * count))
    header = json.dumps(header).encode()
    header += b" " * (-len(header) % 8)
    path = pathlib.Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)
