# SPDX-License-Identifier: Apache-2.0
"""Merges adapters that hold more than factors, and compares with PEFT: resized vocabularies, trained rows, heads of classifiers."""
import json
import os
import pathlib
import subprocess

import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from head_table import row, table
from lora_models import SIZES, randomize
from test_families import REST, SMOKE, make

BIN = pathlib.Path(os.environ["BIN_DIR"])
TOKENS = torch.tensor([[1, 3, 5, 70, 7]])


def merge(base, adapter, out):
    return subprocess.run([BIN / "st-pack", base, "--adapter", adapter, "-o", out], capture_output=True, text=True, check=True).stderr


def train(model, folder, **options):
    torch.manual_seed(2)
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, **options))
    randomize(peft)
    peft.save_pretrained(folder)


def close(ours, theirs):
    assert set(ours) == set(theirs)
    for name, want in theirs.items():
        assert ours[name].dtype == want.dtype and ours[name].shape == want.shape, name
        assert torch.allclose(ours[name].float(), want.float(), atol=1e-6), name


def llama(rows, folder, tied):
    """The base in `folder`, opened as its user does before training or loading an adapter: with another vocabulary."""
    if not folder.exists():
        torch.manual_seed(1)
        LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied)).save_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    torch.manual_seed(3)
    model.resize_token_embeddings(rows)
    return model


# What the vocabulary becomes, and the options of LoraConfig. Factors of the embedding alone are not here: PEFT does not save the
# head then, which is new as well.
KINDS = {
    "plain": dict(target_modules=["q_proj"]),
    "both": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"]),
    "input": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"]),
    "head": dict(target_modules=["q_proj"], modules_to_save=["lm_head"]),
    "factors": dict(target_modules=["q_proj", "embed_tokens", "lm_head"]),
    "rows": dict(target_modules=["q_proj"], trainable_token_indices=[1, 5, 79]),
    "tied": dict(target_modules=["q_proj"], modules_to_save=["embed_tokens"], ensure_weight_tying=True),
}


@pytest.mark.parametrize("rows", [104, pytest.param(96, marks=pytest.mark.full), pytest.param(80, marks=pytest.mark.full)])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", KINDS)
def test_vocabulary(tmp_path, kind, tied, rows):
    if kind == "tied" and not tied:
        pytest.skip("PEFT refuses")
    train(llama(rows, tmp_path / "base", tied), tmp_path / "adapter", task_type="CAUSAL_LM", **KINDS[kind])
    merged = PeftModel.from_pretrained(llama(rows, tmp_path / "base", tied), tmp_path / "adapter").merge_and_unload()
    merged.save_pretrained(tmp_path / "theirs")
    merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "ours")
    close(load_file(tmp_path / "ours/model.safetensors"), load_file(tmp_path / "theirs/model.safetensors"))
    configs = [json.loads((tmp_path / side / "config.json").read_text()) for side in ("ours", "theirs")]
    for key in ("vocab_size", "tie_word_embeddings"):
        assert configs[0][key] == configs[1][key], key
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        assert torch.allclose(model(TOKENS).logits, merged(TOKENS).logits, atol=1e-5)


# Four names of one matrix, of which an adapter trains some whole and gives others factors: what stays tied changes together.
FOUR = dict(target_modules=["shared"], modules_to_save=["lm_head"])
TIES = {
    "factors-of-source": FOUR,
    "factors-of-copy": dict(FOUR, target_modules=["encoder.embed_tokens"]),
    "whole-source": dict(target_modules=["lm_head"], modules_to_save=["shared"]),
    "whole-copies": dict(target_modules=["lm_head"], modules_to_save=["embed_tokens"]),
    "factors-of-both": dict(target_modules=["shared", "lm_head"], modules_to_save=["encoder.embed_tokens"]),
}


def t5(folder):
    if not folder.exists():
        torch.manual_seed(1)
        T5ForConditionalGeneration(T5Config(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=1, num_heads=4)).save_pretrained(folder)
    return T5ForConditionalGeneration.from_pretrained(folder)


@pytest.mark.parametrize("stored", ["once", "twice"])
@pytest.mark.parametrize("kind", TIES)
def test_ties(tmp_path, kind, stored):
    train(t5(tmp_path / "base"), tmp_path / "adapter", **TIES[kind])
    theirs = PeftModel.from_pretrained(t5(tmp_path / "base"), tmp_path / "adapter").merge_and_unload().state_dict()
    if stored == "twice":
        file = tmp_path / "base/model.safetensors"
        tensors = load_file(file)
        save_file(tensors | {name: tensors["shared.weight"].clone() for name in ("lm_head.weight", "decoder.embed_tokens.weight")}, file, {"format": "pt"})
    merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "ours")
    close(load_file(tmp_path / "ours/model.safetensors"), theirs)


# What is taken out of the file of an adapter that trained lm_head and the norms whole.
@pytest.mark.parametrize("lost", ["lm_head.weight", "model.norm.weight", "model.layers.1.input_layernorm.weight", ""])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_lost_modules(tmp_path, tied, lost):
    def base():
        return llama(96, tmp_path / "base", tied)
    train(base(), tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["lm_head", "norm", "no_such_module"])
    base().save_pretrained(tmp_path / "base")
    file = tmp_path / "adapter/adapter_model.safetensors"
    tensors = load_file(file)
    if lost:
        del tensors["base_model.model." + lost]
        save_file(tensors, file, {"format": "pt"})
        with pytest.raises(KeyError, match=lost):
            PeftModel.from_pretrained(base(), tmp_path / "adapter")
    else:
        PeftModel.from_pretrained(base(), tmp_path / "adapter")
    result = subprocess.run([BIN / "st-pack", tmp_path / "base", "--adapter", tmp_path / "adapter", "-o", tmp_path / "ours"], capture_output=True, text=True)
    assert result.returncode == (4 if lost else 0), result.stderr
    assert (f"but the adapter lacks {lost}" if lost else "modules_to_save names no_such_module") in result.stderr


SMALL = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, pad_token_id=0)
BERT = dict(SMALL, max_position_embeddings=64)
# The base, its config, the task, the options of the adapter and the number of labels.
CLASSIFIERS = {
    "reward": ("LlamaForCausalLM", dict(SMALL, num_key_value_heads=2), "SEQ_CLS", ["q_proj", "v_proj"], 1),
    "llama": ("LlamaForCausalLM", dict(SMALL, tie_word_embeddings=True), "SEQ_CLS", ["q_proj", "v_proj"], 3),
    "qwen2-tokens": ("Qwen2ForCausalLM", dict(SMALL, num_key_value_heads=2), "TOKEN_CLS", ["q_proj", "v_proj"], 5),
    "gemma2": ("Gemma2ForCausalLM", dict(SMALL, num_key_value_heads=2, head_dim=8), "SEQ_CLS", ["q_proj", "v_proj"], 2),
    "bert": ("BertForPreTraining", BERT, "SEQ_CLS", ["query", "value"], 4),
    "bert-tokens": ("BertForPreTraining", BERT, "TOKEN_CLS", ["query", "value"], 4),
    "roberta": ("RobertaForMaskedLM", BERT, "SEQ_CLS", ["query", "value"], 2),
    "electra": ("ElectraForPreTraining", dict(BERT, embedding_size=32), "SEQ_CLS", ["query", "value"], 3),
    "distilbert": ("DistilBertForMaskedLM", dict(vocab_size=96, dim=32, hidden_dim=48, n_layers=2, n_heads=4, max_position_embeddings=64), "SEQ_CLS", ["q_lin", "v_lin"], 3),
    "modernbert": ("ModernBertForMaskedLM", dict(SMALL, global_attn_every_n_layers=2), "SEQ_CLS", ["Wqkv"], 3),
    "gpt2": ("GPT2LMHeadModel", dict(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=0), "SEQ_CLS", ["c_attn"], 3),
    "gpt2-published": ("GPT2LMHeadModel", dict(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64, pad_token_id=0), "SEQ_CLS", ["c_attn"], 2),
}
AUTO = {"SEQ_CLS": transformers.AutoModelForSequenceClassification, "TOKEN_CLS": transformers.AutoModelForTokenClassification}
# Heads beside "score" and "classifier", which PEFT adds by itself.
HEADS = {"distilbert": ["pre_classifier"], "modernbert": ["head"]}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier(tmp_path, name):
    base, sizes, task, targets, labels = CLASSIFIERS[name]
    torch.manual_seed(1)
    cls = getattr(transformers, base)
    cls(cls.config_class(**sizes)).save_pretrained(tmp_path / "base")
    if name == "gpt2-published":  # as on the Hub: without the prefix of the class
        file = tmp_path / "base/model.safetensors"
        save_file({key.removeprefix("transformer."): value for key, value in load_file(file).items()}, file, {"format": "pt"})
    auto = AUTO[task]

    def head():
        torch.manual_seed(4)
        return auto.from_pretrained(tmp_path / "base", num_labels=labels)
    train(head(), tmp_path / "adapter", task_type=task, target_modules=targets, modules_to_save=HEADS.get(name), fan_in_fan_out="gpt2" in name)
    merged = PeftModel.from_pretrained(head(), tmp_path / "adapter").merge_and_unload().eval()
    notes = merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "ours")
    assert "LABEL_0" in notes or labels == 2
    model, info = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    assert model.config.num_labels == labels and type(model) is type(merged)
    assert json.loads((tmp_path / "ours/config.json").read_text())["architectures"] == [type(merged).__name__]
    with torch.no_grad():
        assert torch.allclose(model(TOKENS).logits, merged(TOKENS).logits, atol=1e-5)


# Those whose layers PEFT can wrap.
FACTOR_FAMILIES = [name for name in [*SMOKE, *REST] if name not in ("mamba", "clip", "vit")]


def stored_table():
    stored = (pathlib.Path(__file__).parents[2] / "lib/lora/data/heads.txt").read_text().splitlines()
    assert stored[0].endswith(f"transformers {transformers.__version__}.")
    return stored[1:]


@pytest.mark.parametrize("model_type", ["bert", "llama", "gpt2", "distilbert", "modernbert"])
def test_table_of_heads(model_type):
    assert row(model_type) in stored_table()


@pytest.mark.full
def test_table_of_heads_is_that_of_the_installed_library():
    assert stored_table() == table()


@pytest.mark.parametrize("family", [pytest.param(name, marks=() if name in ("mixtral", "qwen2-vl", "t5") else pytest.mark.full) for name in FACTOR_FAMILIES])
def test_family(tmp_path, family):
    """Factors of every linear layer and of every stack of experts, merged into files with published names."""
    model = make(family, torch.float32)
    cls = type(model)
    model.save_pretrained(tmp_path / "base")
    stacks = sorted({".".join(name.split(".")[-2:]) for name, value in model.named_parameters() if value.dim() == 3 and "expert" in name or "linear.weight" in name and value.dim() == 3})
    options = dict(target_modules="all-linear", target_parameters=stacks or None, task_type=None)
    if stacks:  # PEFT takes no router for a linear layer, and would wrap a stack twice
        options["target_modules"] = ["q_proj", "v_proj", "kv_b_proj"]
    train(cls.from_pretrained(tmp_path / "base"), tmp_path / "adapter", **options)
    merged = PeftModel.from_pretrained(cls.from_pretrained(tmp_path / "base"), tmp_path / "adapter").merge_and_unload()
    merged.save_pretrained(tmp_path / "theirs")
    merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "ours")
    close(load_file(tmp_path / "ours/model.safetensors"), load_file(tmp_path / "theirs/model.safetensors"))
    ours = cls.from_pretrained(tmp_path / "ours").state_dict()
    for name, value in merged.state_dict().items():
        assert torch.allclose(ours[name], value, atol=1e-6), name
