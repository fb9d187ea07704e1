# SPDX-License-Identifier: Apache-2.0
"""What modelutils makes of the tensors of a model when their names change sides is what transformers makes of them when it saves and
loads: names, their order, shapes and the order of the values. `python tests/interop/test_renaming.py [CLASS...]` prints a line for each
class that differs."""
import json
import os
import pathlib
import subprocess
import sys

import pytest
import torch
import transformers
from transformers import core_model_loading as loading

import names_table

PROBE = pathlib.Path(os.environ.get("RENAMING_PROBE", pathlib.Path(os.environ.get("BIN_DIR", ".")) / "../tests/renaming_probe"))
MOST = 24  # elements of a dimension, which queries, keys and values divide, and gates and ups


def model_of(name):
    """A model without values, its config with as few heads as small tensors can be divided among."""
    cls = getattr(transformers, name)
    config = names_table.config_of(cls)
    with torch.device("meta"):
        model = cls(config)
    config = model.config
    config.architectures = [name]
    for part in [config, *[getattr(config, key, None) for key in getattr(config, "sub_configs", {})]]:
        for key, value in (("num_attention_heads", 2), ("split_ngram_parts", 4)):
            if isinstance(vars(part or object).get(key), int):
                setattr(part, key, value)
        # Experts are a dimension, too, and the config says how many.
        for key in ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"):
            if isinstance(vars(part or object).get(key), int):
                setattr(part, key, min(vars(part)[key], MOST))
    return model


def filled(model):
    """The tensors of the model, small: element k of the n-th has the value n * 2^32 + k."""
    tensors = {}
    for number, (name, tensor) in enumerate(model.state_dict().items()):
        shape = [min(size, MOST) for size in tensor.shape]
        count = torch.Size(shape).numel()
        tensors[name] = (torch.arange(count, dtype=torch.int64) + (number << 32)).reshape(shape)
    return tensors


def described(tensors):
    rows = []
    for name, tensor in tensors.items():
        values = tensor.reshape(-1)
        total = int((values * torch.arange(1, values.numel() + 1)).sum()) % (1 << 64)
        rows.append([name, list(tensor.shape), total])
    return rows


class Probe:
    def __init__(self):
        self.process = subprocess.Popen([PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, way, model, tensors):
        question = {"way": way, "config": model.config.to_json_string(), "tensors": [[name, list(tensor.shape)] for name, tensor in tensors.items()]}
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def as_numbered(tensors):
    """The same tensors with the values that the probe gives to them, and those that each has got."""
    return {name: (torch.arange(tensor.numel(), dtype=torch.int64) + (number << 32)).reshape(tensor.shape) for number, (name, tensor) in enumerate(tensors.items())}


def loaded(model, published):
    """What the rules make of published tensors, without a model that takes them."""
    mapping = [one for one in names_table.mapping.get_model_conversion_mapping(model, add_legacy=False) if not isinstance(one, loading.PrefixChange)]
    renamings = [one for one in mapping if isinstance(one, loading.WeightRenaming)]
    converters = [one for one in mapping if isinstance(one, loading.WeightConverter)]
    by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
    groups = {}
    for name, tensor in sorted(published.items(), key=lambda item: loading.dot_natural_key(item[0])):
        target, pattern = loading.rename_source_key(name, renamings, converters)
        if pattern is None:
            groups[target] = loading.WeightRenaming(name, target)
            pattern = name
        group = groups.setdefault(target, names_table.copy.deepcopy(by_pattern.get(pattern)))
        group.add_tensor(target, name, pattern, tensor)
    result = {}
    for target, group in groups.items():
        for name, tensor in group.convert(target, model=model, config=model.config).items():
            result[name] = tensor[0] if isinstance(tensor, list) else tensor
    return result


def differences(probe, name):
    """What is not as in transformers, in words; empty if nothing is."""
    model = model_of(name)
    memory = filled(model)
    model.get_parameter = memory.get  # what values are compared with before they are transposed
    published = loading.revert_weight_conversion(model, dict(memory))
    saved = probe.ask("save", model, memory)
    if saved != described(published):
        return f"saving: {difference(saved, described(published))}"
    numbered = as_numbered(published)
    expected = loaded(model, numbered)
    back = probe.ask("load", model, numbered)
    if not isinstance(back, list) or sorted(back) != sorted(described(expected)):
        return f"loading: {difference(back, described(expected))}"
    return ""


def difference(ours, theirs):
    if not isinstance(ours, list):
        return ours
    for one, other in zip(ours, theirs):
        if one != other:
            return f"{one}, not {other}"
    return f"{len(ours)} tensors, not {len(theirs)}"


# Each operation: experts in several spellings, joined and cut projections, shards, RoPE, two kinds of experts, offsets, groups, prefixes.
CLASSES = ["MixtralForCausalLM", "DeepseekV3ForCausalLM", "PhimoeForCausalLM", "LlavaForConditionalGeneration", "Ernie4_5_VLMoeForConditionalGeneration",
           "Inkling2ForCausalLM", "Kimi_K25ForConditionalGeneration", "GradiumPhononTTSModel", "NemotronHForCausalLM", "InklingModel"]


@pytest.mark.parametrize("name", CLASSES)
def test_as_transformers(name):
    assert differences(Probe(), name) == ""


if __name__ == "__main__":
    table = pathlib.Path(__file__).resolve().parents[2] / "lib/model/data/tensor_names.txt"
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    names = sys.argv[1:] or [fields[1] for fields in lines if fields[0] == "class" and fields[-1] == "auto"]
    equal = 0
    one_probe = Probe()
    for one in names:
        try:
            answer = differences(one_probe, one)
        except Exception as error:
            answer = f"{type(error).__name__}: {str(error)[:300]}"
        equal += not answer
        if answer:
            print(f"{one}: {str(answer)[:600]}", flush=True)
    print(f"{equal} of {len(names)} classes are equal")
