# SPDX-License-Identifier: Apache-2.0
"""verl_merger.py FOLDER OUT: merges the rank pickles in FOLDER with verl's own model_merger.

Only its merger runs: the wheel is unpacked without its dependencies (Ray, a server, flash attention) into the cache, once, and what it takes
from the rest of verl to copy tokenizers is left out."""
import os
import pathlib
import subprocess
import sys
import tempfile
import types
import zipfile

VERL = "verl==0.9.1"


def unpacked():
    folder = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "modelutils", VERL.replace("==", "-"))
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as wheels:
            subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", wheels, VERL], check=True)
            zipfile.ZipFile(next(pathlib.Path(wheels).glob("*.whl"))).extractall(f"{wheels}/verl")
            os.rename(f"{wheels}/verl", folder)
    return folder


def merge(source, out):
    verl = unpacked() / "verl"
    for name in ("verl", "verl.utils"):  # packages whose own code is not run
        module = sys.modules[name] = types.ModuleType(name)
        module.__path__ = [str(verl.joinpath(*name.split(".")[1:]))]
    sys.modules["verl.utils"].hf_processor = sys.modules["verl.utils"].hf_tokenizer = lambda *_, **__: None
    from verl.model_merger.base_model_merger import ModelMergerConfig
    from verl.model_merger.fsdp_model_merger import FSDPModelMerger
    FSDPModelMerger(ModelMergerConfig("merge", "fsdp", target_dir=out, local_dir=source, hf_model_config_path=f"{source}/huggingface")).merge_and_save()


if __name__ == "__main__":
    merge(*sys.argv[1:])
