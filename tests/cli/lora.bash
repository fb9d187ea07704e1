# SPDX-License-Identifier: Apache-2.0
# What the tests of lora-extract share.
load helper

# edit FILE PYTHON: changes the tensors t (name to [dtype, shape, bytes]) of a safetensors file.
edit() {
  python3 - "$@" <<'PY'
import json, random, struct, sys
path, code = sys.argv[1:]
data = open(path, "rb").read()
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + size])
meta = header.pop("__metadata__", None)
t = {k: [v["dtype"], v["shape"], data[8 + size + v["data_offsets"][0]:8 + size + v["data_offsets"][1]]] for k, v in header.items()}
random.seed(1)
scope = {"t": t, "random": random, "struct": struct}
exec(code, scope)
t = scope["t"]
out, at = ({"__metadata__": meta} if meta else {}), 0
for k, (dtype, shape, raw) in t.items():
    out[k] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(raw)]}
    at += len(raw)
text = json.dumps(out).encode()
text += b" " * (-len(text) % 8)
open(path, "wb").write(struct.pack("<Q", len(text)) + text + b"".join(v[2] for v in t.values()))
PY
}
