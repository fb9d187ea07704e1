# SPDX-License-Identifier: Apache-2.0
"""hostile.py FOLDER: files that are small or sparse and would cost a careless reader endless memory or time, and
what reading each must end with: the views of st-inspect that walk all of it, and st-pack, within 5 s of CPU time and 300 MB, with an exit
code of the contract, at most one line on stderr, and nothing written. Prints what fails; exits 1 then."""
import os
import pathlib
import resource
import struct
import sys
import zipfile

SECONDS, MEGABYTES = 5, 300
P = b"\x80\x02"


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def tensor(key="0"):
    numbers = lambda *ns: b"(" + b"".join(b"J" + struct.pack("<i", n) for n in ns) + b"t"
    return (named("torch._utils", "_rebuild_tensor_v2") + b"((" + text("storage") + named("torch", "FloatStorage") + text(key)
            + text("cpu") + b"K\x0ctQK\0" + numbers(3, 4) + numbers(4, 1) + b"\x89}tR")


def remembered(value, index):
    return value + b"q" + bytes([index]) + b"0"


def lists_of_lists(value, levels, width):
    """`value` in a list, `width` times that list in a list, and so on."""
    out = value + b"q\0"
    for i in range(levels):
        out += b"(" + b"h" + bytes([i]) + (b"h" + bytes([i])) * (width - 1) + b"lq" + bytes([i + 1])
    return out


def archive(path, pickle, members=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as z:
        z.writestr("x/data.pkl", pickle)
        z.writestr("x/data/0", bytes(48))
        for name, data in members:
            z.writestr(name, data)


def legacy(system=b"}", root=b"}", keys=b"].", rest=b""):
    magic = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
    return magic + P + b"M\xe9\x03." + P + system + b"." + P + root + b"." + P + keys + rest


def gguf(pairs, body):
    return b"GGUF" + struct.pack("<IQQ", 3, 0, pairs) + body


def sparse(path, start, size):
    path.write_bytes(start)
    os.truncate(path, size)


def npy(fortran):
    head = f"{{'descr': '<f4', 'fortran_order': {fortran}, 'shape': (8, 8), }}".ljust(117) + "\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + bytes(256)


def make(folder):
    write = lambda name, data: (folder / name).write_bytes(data)
    write("names.pkl", P + b"(" + b"".join(b"cm%x\nf\n" % i for i in range(400_000)) + b"t.")
    write("long-name.pkl", P + b"c" + b"m" * 30_000_000 + b"\n" + b"n" * 30_000_000 + b"\n.")
    write("references.pkl", P + remembered(named("builtins", "getattr"), 0) + (b"(" + b"h\0" * 900_000 + b"t0") * 20 + b"N.")
    write("memo.pkl", b"\x80\4N" + b"\x94" * 40_000_000 + b".")
    write("states.pkl", P + b"}" + b"Nb" * 4_000_000 + b".")
    write("lines.pkl", b"(" + (b"V" + b"\xe9" * 1_000_000 + b"\n") * 90 + b"t.")
    write("deep.pkl", b"]" * 1_000_000 + b"a" * 999_999 + b".")
    write("lists.pkl", P + b"}" + text("a") + lists_of_lists(b"K\1", 9, 900) + b"s.")
    write("long-values.pkl", P + remembered(text("t" * 1_000_000), 0) + b"}(" + b"".join(text(f"{i:x}") + b"h\0" for i in range(20_000)) + b"u.")
    write("long-keys.pkl", P + remembered(text("k" * 20_000_000), 0) + b"}(" + b"".join(b"h\0M" + struct.pack("<H", i) + b"\x86N" for i in range(10_000)) + b"u.")
    write("long-lists.pkl", P + b"Nq\0" + b"0](" + b"h\0" * 900_000 + b"eq\1" + b"0}(" + b"".join(text(f"a{i}") + b"]h\1a" for i in range(4000)) + b"u.")
    write("long-dicts.pkl", P + b"Nq\0" + b"0}(" + b"".join(text(f"{i:x}") + b"h\0" for i in range(300_000)) + b"uq\1" + b"0}(" + b"".join(text(f"a{i}") + b"h\1" for i in range(4000)) + b"u.")
    write("path-parts.pkl", P + remembered(text("t" * 20_000_000), 0) + b"}" + text("p") + named("pathlib", "PosixPath") + b"(" + b"h\0" * 1000 + b"tRs.")
    archive(folder / "long-path.pt", P + remembered(text("k" * 10_000_000), 0) + b"}h\0" * 400 + tensor() + b"s" * 400 + b".")
    archive(folder / "tensors.pt", P + lists_of_lists(tensor(), 30, 10) + b".")
    archive(folder / "tensor-names.pt", P + remembered(text("k" * 20_000_000), 0) + remembered(tensor(), 1) + b"}(" + b"h\0h\1" * 100_000 + b"u.")
    archive(folder / "left-out.pt", P + remembered(tensor(), 1) + remembered(text("n" * 10_000_000), 0) + b"}(" + b"".join(text(f"{i:x}") + b"h\1" for i in range(1000)) + b"h\0N" * 1000 + b"u.")
    archive(folder / "broken-tensors.pt", P + remembered(tensor("9"), 0) + b"}(" + b"".join(text(f"{i:07x}") + b"h\0" for i in range(400_000)) + b"u.")
    archive(folder / "bombs.pt", P + b"}" + text("a") + tensor() + b"s.", [(f"x/extra{i}", P + b"N0" * 8_000_000 + b"N.") for i in range(60)], zipfile.ZIP_DEFLATED)
    archive(folder / "bomb.pt", P + b"N0" * 60_000_000 + b"N.", compression=zipfile.ZIP_DEFLATED)
    write("persistent-ids.pt", legacy(root=b"Nq\0" + b"0" + b"h\0Q0" * 4_000_000 + b"N"))
    write("keys-again.pt", legacy(root=b"}" + text("a") + tensor() + b"s", keys=remembered(text("0"), 0) + b"](" + b"h\0" * 900_000 + b"e.", rest=bytes(8 * 900_000)))
    with zipfile.ZipFile(folder / "arrays.npz", "w", zipfile.ZIP_DEFLATED) as z:
        for i in range(3000):
            z.writestr(f"a{i}.npy", npy(i % 2 == 1))
    kv = lambda key, kind, value: struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value
    sparse(folder / "texts.gguf", gguf(1, kv(b"k", 9, struct.pack("<IQ", 8, 10**10))), 10**11)
    sparse(folder / "arrays.gguf", gguf(1, kv(b"k", 9, struct.pack("<IQ", 9, 10**10))), 10**11)
    write("values.gguf", gguf(50_000, b"".join(kv(b"%d" % i, 8, struct.pack("<Q", 4096) + b"v" * 4096) for i in range(50_000))))


def run(arguments, out, err):
    pid = os.fork()
    if pid == 0:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), number)
        resource.setrlimit(resource.RLIMIT_CPU, (4 * SECONDS, 4 * SECONDS))
        os.execvp(arguments[0], arguments)
    _, status, used = os.wait4(pid, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main():
    work = pathlib.Path(sys.argv[1])
    folder, out, err, target = work / "files", work / "out", work / "err", work / "packed.safetensors"
    folder.mkdir()
    make(folder)
    failed = 0
    for path in sorted(folder.iterdir()):
        views = ["--check", "--tree", "--json"]
        refused = []  # by each view of st-inspect
        for command in [["st-inspect", *filter(None, [view]), str(path)] for view in views] + [["st-pack", "-q", str(path), "-o", str(target)]]:
            code, seconds, megabytes = run(command, out, err)
            lines = len(err.read_bytes().splitlines())
            if command[0] == "st-inspect":
                refused.append(code == 4)
            fine = seconds <= SECONDS and megabytes <= MEGABYTES and code in (0, 1, 4) and lines <= 1
            if target.exists():
                fine = fine and code == 0
                target.unlink()
            if not fine:
                print(f"{' '.join(command)}: exit {code}, {seconds:.1f} s, {megabytes:.0f} MB, {lines} lines on stderr")
                failed = 1
        if any(refused) != all(refused):
            print(f"{path.name}: malformed to {refused.count(True)} of {len(refused)} views")
            failed = 1
        path.unlink()
    sys.exit(failed)


main()
