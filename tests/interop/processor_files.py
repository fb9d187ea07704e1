#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints lib/model/data/processor_files.txt: the files and folders of tokenizers and processors that the installed transformers writes and
reads, taken from its source: all tables of vocabulary files, the constants of file names, and the attributes of processors."""
import ast
import importlib.metadata
import pathlib
import sys

# What processors write by other libraries: pyctcdecode (decoder.py, language_model.py) for Wav2Vec2ProcessorWithLM.
OF_OTHERS = {("processor", "alphabet.json"), ("processor", "language_model/")}

# Modules with constants of file names, and these constants.
GENERAL = ("utils/__init__.py", "utils/hub.py", "tokenization_utils_base.py", "tokenization_utils_tokenizers.py", "integrations/mistral/constants.py")
TOKENIZER_CONSTANTS = ("SPECIAL_TOKENS_MAP_FILE", "ADDED_TOKENS_FILE", "TOKENIZER_CONFIG_FILE", "FULL_TOKENIZER_FILE", "TIKTOKEN_VOCAB_FILE",
                       "TIKTOKEN_LEGACY_NAME", "TEKKEN_VOCAB_FILE")
PROCESSOR_CONSTANTS = ("FEATURE_EXTRACTOR_NAME", "IMAGE_PROCESSOR_NAME", "VIDEO_PROCESSOR_NAME", "AUDIO_TOKENIZER_NAME", "PROCESSOR_NAME")


def constants(tree, known):
    """Strings that a module binds to names."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    known[target.id] = node.value.value


def values(node, known):
    """Strings of a dict; those of a name in it are looked up."""
    for value in node.values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            yield value.value
        elif isinstance(value, ast.Name):
            yield known[value.id]


def vocabulary_files(tree, known):
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Assign, ast.AnnAssign)) or not isinstance(node.value, ast.Dict):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(t, ast.Name) and t.id.lower().endswith("vocab_files_names") for t in targets):
            yield from values(node.value, known)


def attribute_folders(tree):
    """A processor with several tokenizers saves all but `tokenizer` in folders named after the attribute."""
    for cls in (n for n in tree.body if isinstance(n, ast.ClassDef)):
        for method in (n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"):
            for argument in method.args.args:
                if argument.arg.endswith("tokenizer") and argument.arg not in ("tokenizer", "audio_tokenizer"):
                    yield argument.arg + "/"


def joined_names(tree):
    """The names that are joined to the folder of save_pretrained."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "join" and len(node.args) > 1:
            last = node.args[1]
            if isinstance(node.args[0], ast.Name) and node.args[0].id == "save_directory" and isinstance(last, ast.Constant):
                yield last.value


def default_names(tree):
    """Defaults of save_pretrained's own parameters that name a file or folder (Bark)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "save_pretrained":
            for argument, default in zip(reversed(node.args.args), reversed(node.args.defaults)):
                if isinstance(default, ast.Constant) and isinstance(default.value, str):
                    yield default.value + ("/" if argument.arg.endswith("directory") else "")


def names(package):
    """Pairs of kind and name."""
    found = set(OF_OTHERS)
    general = {}
    for file in GENERAL:
        constants(ast.parse((package / file).read_text()), general)
    found |= {("tokenizer", general[key]) for key in TOKENIZER_CONSTANTS}
    found |= {("processor", general[key]) for key in PROCESSOR_CONSTANTS}
    found |= {("template", general[key]) for key in ("CHAT_TEMPLATE_FILE", "LEGACY_PROCESSOR_CHAT_TEMPLATE_FILE")}
    found.add(("template", general["CHAT_TEMPLATE_DIR"] + "/"))
    for file in sorted(package.rglob("*.py")):
        # A converter's or a test's tables would be of another library.
        if not file.name.startswith(("tokenization_", "processing_", "image_processing_", "feature_extraction_", "video_processing_")):
            continue
        tree = ast.parse(file.read_text())
        known = dict(general)
        constants(tree, known)
        found |= {("tokenizer", name) for name in vocabulary_files(tree, known)}
        if file.name.startswith("tokenization_"):
            found |= {("tokenizer", name if "." in name else name + "/") for name in joined_names(tree)}
        if file.name.startswith("processing_"):
            found |= {("tokenizer", name) for name in attribute_folders(tree)}
            found |= {("processor", name) for name in default_names(tree)}
    return found


def table():
    import transformers

    rows = sorted(names(pathlib.Path(transformers.__file__).parent))
    head = (f"# Files and folders (/) of tokenizers and processors, by tests/interop/processor_files.py from transformers "
            f"{importlib.metadata.version('transformers')}.\n")
    return head + "".join(f"{kind}\t{name}\n" for kind, name in rows)


if __name__ == "__main__":
    sys.stdout.write(table())
