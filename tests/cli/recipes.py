#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""recipes.py FILE: runs the commands of a document, exactly as printed and in their order, in the current folder.

README: lines of ```sh blocks, lines of ```cron blocks after their five fields of time, and indented lines that begin
with "$ ", whose output is compared with the indented lines below; "…" there stands for what was left out, within a line
or for lines; ```python blocks. ```console blocks are installs, which tests/packaging runs.
A page of section 1: the lines of EXAMPLES. One of section 7: blocks from .EX to .EE, each a script, or, where it begins
with "$ ", commands and their output as in README; the comment before one may say that it holds cron's lines (cron) or
is a program that later ones run (file PATH).
Every command must end with 0, or with 141 if a reader stopped early. The last line says how many were run."""
import pathlib
import re
import subprocess
import sys

# Commands that can't be run here, and where they are.
ELSEWHERE = {
    "--every": "never ends; hub-push.bats",
    "sbatch": "needs a cluster; the interop suite",
    "python -c": "needs the Python libraries; the interop suite",
    "model_coreutils.finish_push": "needs a training; tests/python",
}


def plain(roff):
    return roff.replace("\\-", "-").replace("\\[u2026]", "…").replace("\\e", "\\")


def examples(text):
    section = re.search(r"^\.SH EXAMPLES\n(.*?)^\.SH ", text, re.MULTILINE | re.DOTALL)[1]
    for line in section.splitlines():
        if line and not line.startswith("."):
            yield plain(line), "bash", None


def blocks(text):
    for kind, block in re.findall(r'(?:^\.\\" (cron|file [^\n]*)\n)?(?:^\.RS[^\n]*\n)?^\.EX\n(.*?)^\.EE', text, re.MULTILINE | re.DOTALL):
        block = plain(block)
        if kind.startswith("file "):
            path = pathlib.Path(kind.removeprefix("file "))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
            path.chmod(0o755)
        elif kind == "cron" or block.startswith("$ "):
            yield from readme(f"```cron\n{block}```" if kind else re.sub("^", "    ", block, flags=re.MULTILINE))
        else:
            yield "set -e\n" + block, "bash", None


def readme(text):
    """(command, shell, expected output or None) of each command."""
    fence, command, output, script = None, None, [], []
    for line in text.splitlines() + [""]:
        if fence is None and command is not None and (line.startswith("    $ ") or (line and not line.startswith("    "))):
            yield command, "bash", "\n".join(output).strip("\n")
            command, output = None, []
        if line == "```" and fence == "python":
            yield "\n".join(script), "python", None
            script = []
        if line.startswith("```"):
            fence = None if fence is not None else line[3:]
        elif fence == "python":
            script.append(line)
        elif fence == "sh" and line:
            yield line, "bash", None
        elif fence == "cron" and line and not line.startswith("#"):
            yield line.split(None, 5)[5], "cron", None
        elif fence is None and line.startswith("    $ "):
            command = line[6:]
        elif command is not None:
            output.append(line[4:])
    if command is not None:
        yield command, "bash", "\n".join(output).strip("\n")


def pattern(expected, command):
    """What is printed, as an expression. ckpt-prune prints sizes on the disk, which differ between file systems."""
    lines = []
    for line in expected.splitlines():
        if line.strip() == "…":
            lines.append(r"(?:.*\n)*")
            continue
        line = re.escape(line).replace("…", ".*")
        if command.startswith("ckpt-prune"):
            line = re.sub(r"[0-9.\\]+\\ [KMG]?B", "[0-9.]+ [KMG]?B", line)
            line = re.sub(r"(\\? )+", " +", line)
        lines.append(line + r"\n")
    return re.compile("".join(lines))


def main():
    path = pathlib.Path(sys.argv[1])
    text = path.read_text()
    documents = {".md": readme, ".1": examples, ".7": blocks}
    ran = 0
    for command, shell, expected in documents[path.suffix](text):
        reason = next((why for mark, why in ELSEWHERE.items() if mark in command), None)
        if reason:
            print(f"not here: {command} ({reason})")
            continue
        print(f"$ {command}", flush=True)
        argv = {"cron": ["sh", "-c"], "python": ["python3", "-c"], "bash": ["bash", "-o", "pipefail", "-c"]}[shell] + [command]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="")
        if done.returncode not in (0, 141):
            sys.exit(f"{path.name}: ended with {done.returncode}: {command}")
        if expected and not pattern(expected, command).fullmatch(done.stdout):
            sys.exit(f"{path.name}: printed something else than the document says: {command}\n{expected}")
        ran += 1
    print(ran)


if __name__ == "__main__":
    main()
