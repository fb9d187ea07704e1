# SPDX-License-Identifier: Apache-2.0
"""The modules with which vLLM and SGLang read adapters, taken from their wheels (wheel_members.py). Everything that these
import of the rest of the two packages is replaced by an empty stand-in."""
import importlib
import importlib.abc
import importlib.machinery
import pathlib
import sys
import types
from unittest import mock

import torch

import wheel_members

VLLM = ("vllm", "0.33.0", "cp38-abi3-manylinux_2_28_x86_64", "a860951d44545b1b68c2d1484b9a03bbde52f6eae34850a6c22741c60ac386c4")
SGLANG = ("sglang", "0.5.23", "cp312-cp312-manylinux_2_34_x86_64", "baf8559e7f00438df9094b15df58254429baf088f50634dd7358aaa6d1bd6d23")
VLLM_FILES = {f"vllm/lora/{name}.py" for name in ("lora_model", "lora_weights", "peft_helper", "utils")}
SGLANG_FILES = {"sglang/srt/lora/lora.py", "sglang/srt/lora/lora_config.py", "sglang/srt/lora/utils.py", "sglang/srt/layers/utils/common.py"}


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of a package that lie in the folder, and makes all others up."""

    def __init__(self, package, folder):
        self.package, self.folder = package, folder

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] != self.package:
            return None
        file = self.folder / (name.replace(".", "/") + ".py")
        if file.is_file():
            return importlib.util.spec_from_file_location(name, file)
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__getattr__ = lambda name: mock.MagicMock(name=f"{spec.name}.{name}")
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


def load(server, files):
    folder = wheel_members.members(*server, lambda name: name in files)
    sys.meta_path.insert(0, StandIns(server[0], pathlib.Path(folder)))


class Vllm:
    """What vLLM makes of an adapter: each module's name and its delta."""

    def __init__(self):
        if "vllm" not in sys.modules:
            load(VLLM, VLLM_FILES)
            importlib.import_module("vllm.utils.torch_utils").PIN_MEMORY = False
        self.model = importlib.import_module("vllm.lora.lora_model")
        self.weights = importlib.import_module("vllm.lora.lora_weights")
        self.helper = importlib.import_module("vllm.lora.peft_helper").PEFTHelper

    def read(self, folder, leaves, max_rank=16):
        """`leaves` are the last components of the modules of the model, of experts what follows their container."""
        helper = self.helper.from_local_dir(str(folder), 4096)
        helper.validate_legal(types.SimpleNamespace(max_lora_rank=max_rank))
        return self.model.LoRAModel.from_local_checkpoint(str(folder), leaves, helper, lora_model_id=1, device="cpu").loras

    def deltas(self, folder, leaves, experts=None, stacked=False, max_rank=16):
        """`experts` are the leaves of one expert, in the order w1, w2, w3."""
        loras = self.read(folder, leaves, max_rank)
        containers = {name.split(".experts.")[0] + ".experts" for name in loras if ".experts." in name and not stacked}
        found = {}
        for container in containers:
            mine = {name: loras.pop(name) for name in list(loras) if name.startswith(container + ".")}
            count = 1 + max(int(name[len(container) + 1:].split(".")[0]) for name in mine)
            names = [f"{container}.{expert}.{leaf}" for expert in range(count) for leaf in experts]
            packed = self.weights.PackedLoRALayerWeights.pack_moe([mine.get(name) for name in names], container)
            assert set(mine) == set(names)
            for i, leaf in enumerate(experts):
                for expert in range(count):
                    found[f"{container}.{expert}.{leaf}"] = product(packed.lora_a[i][expert], packed.lora_b[i][expert], packed.scaling[i])
        for name, lora in loras.items():
            found[name] = lora if "experts" in name.split(".") else product(lora.lora_a, lora.lora_b, lora.scaling)
        return found


class Sglang:
    """What SGLang makes of an adapter: the matrices that it keeps, each with the pieces that lie one below the other."""

    STACKED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj"), "fused_qkv_a_proj_with_mqa": ("q_a_proj", "kv_a_proj_with_mqa")}

    def __init__(self):
        if "sglang" not in sys.modules:
            load(SGLANG, SGLANG_FILES)
            importlib.import_module("sglang.srt.layers.utils").get_layer_id = importlib.import_module("sglang.srt.layers.utils.common").get_layer_id
        self.lora = importlib.import_module("sglang.srt.lora.lora")
        self.config = importlib.import_module("sglang.srt.lora.lora_config").LoRAConfig
        self.utils = importlib.import_module("sglang.srt.lora.utils")

    def deltas(self, folder, layers, rows):
        """`rows` gives the rows of a module's matrix."""
        from safetensors.torch import load_file

        config = self.config(path=str(folder))
        adapter = self.lora.LoRAAdapter("name", config, types.SimpleNamespace(num_hidden_layers=layers), None, None)
        adapter.initialize_weights_from_tensors(load_file(folder / "adapter_model.safetensors"))
        targets = self.utils.get_normalized_target_modules(config.target_modules)
        targets |= {"gate_up_proj" if t in ("w1", "w3") else "down_proj" for t in targets if t in ("w1", "w2", "w3")}
        found = {}
        for layer in adapter.layers:
            for name, a in layer.weights.items():
                if "lora_A" not in name:
                    continue
                b, module = layer.weights[name.replace("lora_A", "lora_B")], name.removesuffix(".lora_A.weight").removeprefix("base_model.model.")
                target = self.utils.get_target_module_name(name, targets)
                parts = [module[: -len(target)] + part for part in self.STACKED.get(target, [target])]
                assert a.shape[0] == len(parts) * config.r, name  # the shape of the buffer
                assert b.shape[1] == config.r
                for i, part in enumerate(parts):
                    count = rows(part)
                    found[part] = product(a[i * config.r:(i + 1) * config.r], b[:count], adapter.scaling)
                    b = b[count:]
                assert b.shape[0] == 0, name
        return found


def product(a, b, scale):
    return scale * (b.to(torch.float64) @ a.to(torch.float64))
