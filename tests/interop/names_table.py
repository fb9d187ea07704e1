# SPDX-License-Identifier: Apache-2.0
"""Makes lib/model/data/tensor_names.txt: for each class of the installed transformers, the rules by which its tensors are renamed
between files (published names) and memory, and the prefixes that tell the two apart; and the classes that rename nothing.

    python tests/interop/names_table.py [--json FILE] > lib/model/data/tensor_names.txt

Each class is built on the meta device with its default config, so nothing is downloaded. Classes that can't be built so (they need
another library, say) get the rules of their own entry in the registry, and nobody may tell their names apart. FILE keeps the table as
JSON. Takes some minutes."""
import copy
import json
import os
import sys

os.environ.update(TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")
if __name__ == "__main__":  # not for tests that import it and talk to a hub of their own
    os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from transformers import conversion_mapping as mapping
from transformers import core_model_loading as loading

transformers.utils.logging.set_verbosity_error()
# Layers with experts where the default config has none within reach.
SPARSE = {"first_k_dense_replace": 1, "decoder_sparse_step": 1}


def all_classes():
    """Every model class of the library, with its name."""
    for name in sorted(dir(transformers)):
        try:
            cls = None if name.startswith("_") else getattr(transformers, name)
        except Exception:  # needs a library that is not here
            continue
        if isinstance(cls, type) and issubclass(cls, transformers.PreTrainedModel) and getattr(cls, "config_class", None) is not None:
            yield name, cls


def model_classes():
    """Those that a config.json can name, by name."""
    others = ("PreTrainedModel", "PretrainedModel")
    return {name: cls for name, cls in all_classes() if not name.startswith("Auto") and not name.endswith(others)}


def plain_classes(renaming):
    """By model type, all other classes: what they save and what they have in memory goes by the same names."""
    plain = {}
    for name, cls in all_classes():
        if name not in renaming and not name.endswith("PreTrainedModel"):
            plain.setdefault(cls.config_class.model_type, []).append(name)
    return {kind: sorted(plain[kind]) for kind in sorted(plain)}


# Values that a config must have and its defaults don't give, by class or model type.
SETTINGS = {
    "aya_vision": dict(vision_config=dict(num_attention_heads=16)),
    "BeitForSemanticSegmentation": dict(out_indices=[3, 5, 7, 11]),
    "dots1": dict(n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=2),
    "emu3": dict(vocabulary_map={"<image>": 1}),
    "esm": dict(vocab_size=33),
    "hunyuan_v1_moe": dict(head_dim=128),
    "hunyuan_vl": dict(text_config=dict(head_dim=128)),
    "lfm2_moe": dict(layer_types=["conv", "full_attention"] * 16),
    "vision-encoder-decoder": dict(encoder=dict(model_type="vit"), decoder=dict(model_type="bert", is_decoder=True, add_cross_attention=True)),
    "vision-text-dual-encoder": dict(vision_config=dict(model_type="vit"), text_config=dict(model_type="bert")),
}


def config_of(cls):
    kind = cls.config_class
    config = kind(**SETTINGS.get(cls.__name__, SETTINGS.get(kind.model_type, {})))
    for part in [config, *[getattr(config, key, None) for key in getattr(config, "sub_configs", {})]]:
        for key, value in SPARSE.items():
            if getattr(part, key, None) is not None:
                setattr(part, key, value)
        kinds = getattr(part, "mlp_layer_types", None)
        if kinds:
            part.mlp_layer_types = [kinds[0]] + ["sparse"] * (len(kinds) - 1)
    return config


def rule_of(transform):
    """One renaming or conversion, as data."""
    kinds = {"WeightRenaming": "rename", "WeightConverter": "convert", "GroupWeightRename": "group", "Inkling2IndexOffsetWeightRename": "offset"}
    rule = {"kind": kinds[type(transform).__name__], "match": list(transform.source_patterns), "to": list(transform.target_patterns)}
    if transform.scope_prefix is not None:
        rule |= {"base": transform.base_model_prefix, "scope": transform.scope_prefix}
    if rule["kind"] == "offset":
        rule["offset"] = transform.offset
    if rule["kind"] == "convert":
        rule["ops"] = [{"op": type(op).__name__, **{k: v for k, v in vars(op).items() if v is not None and not k.startswith("_")}} for op in transform.operations]
    return rule


def rules_of(conversions):
    conversions = [one for one in conversions or [] if not isinstance(one, loading.PrefixChange)]
    return {"save": [rule_of(one.reverse_transform()) for one in copy.deepcopy(conversions)[::-1]], "load": [rule_of(one) for one in conversions]}


def plain(name):
    return tuple("*" if part.isdigit() else part for part in name.split("."))


def sides_of(memory, published):
    """For each side, the shortest dotted prefixes that only its names have."""
    names = [{plain(name) for name in side} for side in (memory, published)]
    prefixes = [{name[:i] for name in side for i in range(1, len(name) + 1)} for side in names]
    sides = []
    for mine, theirs in ((0, 1), (1, 0)):
        own = set()
        for name in names[mine]:
            prefix = next((name[:i] for i in range(1, len(name) + 1) if name[:i] not in prefixes[theirs]), None)
            if prefix is not None:
                own.add(".".join(prefix))
        sides.append(sorted(own))
    return {"memory": sides[0], "published": sides[1]}


def describe(cls):
    """What the table says of a class; None if nothing converts its names."""
    entry = {"model_type": cls.config_class.model_type}
    try:
        config = config_of(cls)
        with torch.device("meta"):
            model = cls(config)
        note_kinds(model)
        rules = rules_of(mapping.get_model_conversion_mapping(model, add_legacy=False))
        memory = model.state_dict()
        published = loading.revert_weight_conversion(model, dict(memory))
    except Exception as error:
        print(f"{cls.__name__}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
        conversions = mapping.get_checkpoint_conversion_mapping(cls.__name__) or mapping.get_checkpoint_conversion_mapping(entry["model_type"])
        rules = rules_of(conversions)
        return {**entry, "rules": rules, "auto": False} if rules["save"] else None
    if not rules["save"]:
        return None
    sides = sides_of(memory, published)
    return {**entry, "rules": rules, "auto": True, **({"sides": sides} if sides["memory"] or sides["published"] else {})}


KINDS = {"linear": set(), "embedding": set(), "other": set()}


def note_kinds(model):
    """Collects, by kind of module, the last components of the modules that have a matrix as weight."""
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.nn.Parameter) and weight.dim() == 2:
            linear = isinstance(module, (torch.nn.Linear, transformers.pytorch_utils.Conv1D))
            kind = "linear" if linear else "embedding" if isinstance(module, torch.nn.Embedding) else "other"
            KINDS[kind].add(name.rsplit(".", 1)[-1])


def derive():
    classes = {}
    for name, cls in model_classes().items():
        try:
            entry = describe(cls)
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
            entry = None
        if entry is not None:
            classes[name] = entry
    return {"transformers": transformers.__version__, "classes": classes, "plain": plain_classes(classes), "peft": taken_for_experts(), "kinds": {kind: sorted(names) for kind, names in KINDS.items()}}


def taken_for_experts():
    """What PEFT turns into parameters of experts, by model type: last components of target_modules."""
    from peft.utils import transformers_weight_conversion as peft_conversion

    found = {}
    for kind, pattern in peft_conversion._MODEL_TO_CONVERSION_PATTERN.items():
        leaves = peft_conversion._MOE_TARGET_MODULE_MAPPING.get(pattern)
        if leaves and mapping.get_checkpoint_conversion_mapping(kind) is not None:
            found[kind] = sorted(leaves)
    return found


def numbered(values):
    """Each different value once, with a number; and the numbers of the values."""
    order = {}
    return order, [order.setdefault(json.dumps(value, sort_keys=True), len(order)) for value in values]


def rule_line(rule):
    extra = []
    if "scope" in rule:
        extra.append(f"scope={rule['base']}/{rule['scope']}")
    if "offset" in rule:
        extra.append(f"offset={rule['offset']}")
    for op in rule.get("ops", []):
        values = [f"{key}={','.join(value) if isinstance(value, list) else int(value) if isinstance(value, bool) else value}" for key, value in op.items() if key != "op"]
        extra.append(f"op={':'.join([op['op'], *values])}")
    return "\t".join([rule["kind"], " ".join(rule["match"]), " ".join(rule["to"]), *extra])


def table_text(table):
    """The compact form: lines of fields between tabs; see lib/model/name_table.cc."""
    classes = table["classes"]
    sides, side_numbers = numbered([entry.get("sides") for entry in classes.values()])
    sets, set_numbers = numbered([entry["rules"] for entry in classes.values()])
    rules = {}
    lines = [f"transformers\t{table['transformers']}"]
    for (name, entry), rule_set, side in zip(classes.items(), set_numbers, side_numbers):
        lines.append(f"class\t{name}\t{entry['model_type']}\t{rule_set}\t{side if 'sides' in entry else '-'}\t{'auto' if entry['auto'] else 'never'}")
    lines += [f"plain\t{kind}\t {' '.join(names)} " for kind, names in table["plain"].items()]
    kinds = table["kinds"]
    embeddings = sorted(name for name in set(kinds["embedding"]) - set(kinds["linear"]) - set(kinds["other"]) if not name.isdigit())
    lines.append(f"embeddings\t {' '.join(embeddings)} ")
    for kind, leaves in table["peft"].items():
        lines.append(f"peft\t{kind}\t {' '.join(leaves)} ")
    for text, number in sets.items():
        lists = [[str(rules.setdefault(rule_line(rule), len(rules))) for rule in json.loads(text)[way]] for way in ("save", "load")]
        lines.append(f"set\t{number}\t{' '.join(lists[0])}\t{' '.join(lists[1])}")
    for text, number in sides.items():
        if text != "null":
            side = json.loads(text)
            lines.append(f"side\t{number}\t{' '.join(side['memory'])}\t{' '.join(side['published'])}")
    lines += [f"rule\t{number}\t{line}" for line, number in rules.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    made = derive()
    if "--json" in sys.argv:
        with open(sys.argv[sys.argv.index("--json") + 1], "w") as file:
            json.dump(made, file, indent=1)
    print(table_text(made), end="")
