# SPDX-License-Identifier: Apache-2.0
"""Makes lib/lora/data/heads.txt: for each type of model the classes with a head for labels, and the modules that are heads.

    python tests/interop/head_table.py > lib/lora/data/heads.txt

A line has these columns, with tabs between: model_type; the heads of its language models; and for SEQ_CLS, TOKEN_CLS and
QUESTION_ANS (the task types of PEFT) the class that AutoModel takes, its heads, and the tensor with a row for each label. Names of
heads have commas between; "-" is an empty column. Heads are the modules outside the base model (base_model_prefix). Classes are
built on the meta device with their default config."""
import os
import sys

os.environ.update(TRANSFORMERS_VERBOSITY="error", CUDA_VISIBLE_DEVICES="")
if __name__ == "__main__":  # not for tests that import it and talk to a hub of their own
    os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from transformers.models.auto import modeling_auto as auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

TASKS = [auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES, auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
         auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES]
LANGUAGE = [auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, auto.MODEL_FOR_PRETRAINING_MAPPING_NAMES,
            auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
            auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES]
LABELS = 5  # no default size is so small
UNBUILT = {}


def heads_of(name, config):
    """(heads, tensor of the labels) of a class, or None if it can't be built so."""
    cls = getattr(transformers, name, None)
    if cls is None:
        return None
    try:
        with torch.device("meta"):
            model = cls(config)
    except Exception as error:
        UNBUILT[name] = type(error).__name__
        return None
    prefix = model.base_model_prefix
    tensors = model.state_dict()
    heads = list(dict.fromkeys(key.split(".")[0] for key in tensors))
    if prefix not in heads:  # nothing tells base and heads apart
        return [], "-"
    heads.remove(prefix)
    labels = [key for key, tensor in tensors.items() if key.split(".")[0] in heads and tensor.dim() == 2 and len(tensor) == LABELS]
    return heads, labels[-1] if labels else "-"


def names_in(mapping, model_type):
    names = mapping.get(model_type, ())
    return [names] if isinstance(names, str) else list(names)


def row(model_type):
    config = CONFIG_MAPPING[model_type]()
    config.num_labels = LABELS
    language, columns = {}, []
    for mapping in LANGUAGE:
        for name in names_in(mapping, model_type):
            language.update(dict.fromkeys((heads_of(name, config) or ([], ""))[0]))
    for mapping in TASKS:
        config.num_labels = 2 if mapping is TASKS[-1] else LABELS  # begin and end of an answer
        name = (names_in(mapping, model_type) or [""])[0]
        heads, labels = heads_of(name, config) or ([], "-")
        columns.append(f"{name} {','.join(heads) or '-'} {labels}" if name else "-")
    return "\t".join([model_type, ",".join(language) or "-", *columns])


def table():
    types = sorted({key for mapping in TASKS for key in mapping})
    return [row(model_type) for model_type in types if model_type in CONFIG_MAPPING]


if __name__ == "__main__":
    print(f"# Made by tests/interop/head_table.py from transformers {transformers.__version__}.")
    print("\n".join(table()))
    for name, why in UNBUILT.items():
        print(f"not built: {name} ({why})", file=sys.stderr)
