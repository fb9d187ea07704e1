# SPDX-License-Identifier: Apache-2.0
"""The Hub's task of each pipeline of diffusers, read from its sources: `diffusers_tasks.py [FOLDER]` prints the table of
lib/card/data/diffusers_tasks.txt. FOLDER is the package; default: the installed one."""
import ast
import importlib.util
import pathlib
import re
import sys

# AutoPipelineFor…; editing counts first where a class does both, as on the cards of their authors.
AUTO = {"IMAGE2IMAGE": "image-to-image", "INPAINT": "image-to-image", "TEXT2IMAGE": "text-to-image", "TEXT2VIDEO": "text-to-video",
        "IMAGE2VIDEO": "image-to-video", "VIDEO2VIDEO": "video-to-video", "TEXT2AUDIO": "text-to-audio"}


def first_field(trees):
    """{output class: its first field}: what the pipelines that return it make."""
    fields = {}
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Output"):
                fields[node.name] = next((f.target.id for f in node.body if isinstance(f, ast.AnnAssign)), "")
    return fields


def by_call(node, fields):
    """The task of a pipeline by what its __call__ takes and returns; None where that does not tell."""
    call = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__call__"), None)
    if call is None or re.search("Prior|Decoder|Upsampl|Upscale|SuperResolution|Refiner|Redux", node.name):
        return None
    taken = {a.arg for a in call.args.args + call.args.kwonlyargs}
    made = {fields.get(c.func.id) for c in ast.walk(call) if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)}
    control = re.search("ControlNet|Adapter", node.name) and not re.search("Img2Img|Inpaint", node.name)
    if "audios" in made and "images" not in made:
        return "text-to-audio" if "prompt" in taken and "audio" not in taken else None
    if "frames" in made:
        if {"image", "video"} <= taken:
            return None
        return "video-to-video" if "video" in taken else "image-to-video" if "image" in taken else "text-to-video"
    if "images" in made and "audios" not in made:
        if {"image", "images", "mask_image"} & taken and not control:
            return "image-to-image"
        if "prompt" in taken:
            return "text-to-image"
        return "unconditional-image-generation" if len(call.args.args) == len(call.args.defaults) + 1 else None
    return None


def tasks(package):
    trees = [ast.parse(path.read_text()) for path in sorted((package / "pipelines").rglob("*.py"))]
    fields, found = first_field(trees), {}
    auto = ast.parse((package / "pipelines/auto_pipeline.py").read_text())
    for key, task in AUTO.items():
        for node in ast.walk(auto):
            if isinstance(node, ast.Assign) and re.fullmatch(rf"_?AUTO_{key}(_DECODER)?_PIPELINES_MAPPING(\[.*\])?", ast.unparse(node.targets[0])):
                for name in ast.walk(node.value):
                    if isinstance(name, ast.Name) and name.id.endswith("Pipeline"):
                        found.setdefault(name.id, task)
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name.endswith("Pipeline") and node.name not in found:
                task = by_call(node, fields)
                if task:
                    found[node.name] = task
    return found


def table(found, version):
    lines = [f"# The Hub's task of each pipeline of diffusers {version}: task, then the classes. Written by tests/interop/diffusers_tasks.py."]
    for task in sorted(set(found.values())):
        lines.append(task + "\t" + " ".join(sorted(name for name, t in found.items() if t == task)))
    return "\n".join(lines) + "\n"


def package_and_version(folder=None):
    package = pathlib.Path(folder or pathlib.Path(importlib.util.find_spec("diffusers").origin).parent)
    return package, re.search(r'__version__ = "(.*?)"', (package / "__init__.py").read_text())[1]


if __name__ == "__main__":
    package, version = package_and_version(*sys.argv[1:])
    sys.stdout.write(table(tasks(package), version))
