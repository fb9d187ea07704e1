# SPDX-License-Identifier: Apache-2.0
"""Tied tensors: our table is that of the installed library, and it loads what we write as it loads what it wrote itself."""
import json
import pathlib

import peft
import pytest
import tie_rules
import torch
import transformers
from safetensors.torch import load_file, save_file

TABLE = pathlib.Path(__file__).resolve().parents[2] / "lib/model/data/ties.txt"
TINY = {"vocab_size": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
LAYERS = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
LLAMA = {**TINY, **LAYERS, "num_key_value_heads": 1}
BERT = {**TINY, **LAYERS, "max_position_embeddings": 20}
BART = {**TINY, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
        "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 20, "decoder_start_token_id": 2}
T5 = {"vocab_size": 48, "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
# Class, settings of its config, and the class that loads the bare model.
FAMILIES = [
    ("LlamaForCausalLM", LLAMA, "LlamaModel"),
    ("LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": True}, "LlamaModel"),
    ("Gemma2ForCausalLM", {**LLAMA, "head_dim": 8}, "Gemma2Model"),
    ("Gemma2ForCausalLM", {**LLAMA, "head_dim": 8, "tie_word_embeddings": False}, "Gemma2Model"),
    ("Qwen2ForCausalLM", {**LLAMA, "tie_word_embeddings": True}, "Qwen2Model"),
    ("GPT2LMHeadModel", {**TINY, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 20}, "GPT2Model"),
    ("GPTNeoXForCausalLM", {**TINY, **LAYERS, "tie_word_embeddings": True}, "GPTNeoXModel"),
    ("BloomForCausalLM", {**TINY, "hidden_size": 16, "n_layer": 1, "n_head": 2}, "BloomModel"),
    ("FalconForCausalLM", {**TINY, **LAYERS}, "FalconModel"),
    ("OPTForCausalLM", {**TINY, **LAYERS, "ffn_dim": 24, "word_embed_proj_dim": 16, "max_position_embeddings": 20}, "OPTModel"),
    ("MptForCausalLM", {"vocab_size": 48, "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 20}, "MptModel"),
    ("ModernBertForMaskedLM", {**TINY, **LAYERS, "cls_token_id": 1, "sep_token_id": 2}, "ModernBertModel"),
    ("BertForMaskedLM", BERT, "BertModel"),
    ("BertLMHeadModel", {**BERT, "is_decoder": True, "tie_word_embeddings": False}, "BertModel"),
    ("RobertaForMaskedLM", BERT, "RobertaModel"),
    ("AlbertForMaskedLM", {**BERT, "embedding_size": 8}, "AlbertModel"),
    ("BartForConditionalGeneration", BART, "BartModel"),
    ("MarianMTModel", BART, "MarianModel"),
    ("WhisperForConditionalGeneration", {**BART, "max_source_positions": 20, "max_target_positions": 20, "num_mel_bins": 8}, "WhisperModel"),
    ("T5ForConditionalGeneration", T5, "T5Model"),
    ("T5ForConditionalGeneration", {**T5, "tie_word_embeddings": False}, "T5Model"),
    ("UMT5ForConditionalGeneration", T5, "UMT5Model"),
    ("BertModel", BERT, "BertModel"),
    ("T5Model", T5, "T5Model"),
    ("RwkvForCausalLM", {**TINY, "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16, "intermediate_size": 24,
                         "context_length": 20}, "RwkvModel"),
    ("MusicgenForCausalLM", {"vocab_size": 48, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "ffn_dim": 24,
                             "num_codebooks": 2}, None),
    *(("LlavaForConditionalGeneration",
       {"text_config": {"model_type": "llama", **LLAMA, "tie_word_embeddings": inside},
        "vision_config": {"model_type": "clip_vision_model", **VISION}, "tie_word_embeddings": top, "image_token_index": 40}, None)
      for inside, top in ((False, False), (True, False), (False, True))),
    ("BlipForConditionalGeneration",
     {"text_config": {**BERT, "encoder_hidden_size": 16}, "vision_config": VISION, "projection_dim": 16}, None),
]


@pytest.mark.full  # a minute
def test_the_table_is_that_of_the_library():
    assert TABLE.read_text() == tie_rules.table(), "run tests/interop/tie_rules.py"


def made(name, settings):
    cls = getattr(transformers, name)
    torch.manual_seed(0)
    return cls(cls.config_class(**settings)).eval()


def save(model, folder, how):
    folder.mkdir()
    if how == "bin":
        model.save_pretrained(folder)
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:  # every name with bytes of its own
        model.save_pretrained(folder)
        save_file({name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}, folder / "model.safetensors",
                  {"format": "pt"})


@pytest.mark.parametrize("how", ["bin", "copies"])
@pytest.mark.parametrize("name, settings, bare", FAMILIES, ids=[f"{row[0]}-{i}" for i, row in enumerate(FAMILIES)])
def test_a_model_comes_back_whole(tmp_path, run, name, settings, bare, how):
    model = made(name, settings)
    save(model, tmp_path / "in", how)
    run("st-pack", tmp_path / "in", "-o", tmp_path / "out")
    again, report = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert again.all_tied_weights_keys == model.all_tied_weights_keys
    # What is left out is what the library ties, all of it and nothing else.
    run("st-pack", "--names", "as-is", tmp_path / "in", "-o", tmp_path / "kept")
    assert before.keys() - load_file(tmp_path / "kept/model.safetensors").keys() == before.keys() & model.all_tied_weights_keys.keys()
    if bare:
        base, report = getattr(transformers, bare).from_pretrained(tmp_path / "out", output_loading_info=True)
        wanted = model if name == bare else model.base_model
        assert torch.equal(base.get_input_embeddings().weight, wanted.get_input_embeddings().weight)
    checked = run("st-inspect", "--check=hub", tmp_path / "out", code=None)
    assert "MD-TIED" not in (checked.stdout + checked.stderr).decode()


@pytest.mark.parametrize("name, settings", [row[:2] for row in FAMILIES if row[0] in ("LlamaForCausalLM", "Gemma2ForCausalLM", "T5ForConditionalGeneration")])
def test_tied_names_with_other_bytes_stay(tmp_path, run, name, settings):
    model = made(name, settings)
    save(model, tmp_path / "in", "copies")
    tensors = load_file(tmp_path / "in/model.safetensors")
    tensors["lm_head.weight"] = torch.randn_like(tensors["lm_head.weight"])
    save_file(tensors, tmp_path / "in/model.safetensors", {"format": "pt"})
    note = run("st-pack", tmp_path / "in", "-o", tmp_path / "out").stderr.decode()
    assert ("differ" in note) == bool(model.all_tied_weights_keys)
    again = type(model).from_pretrained(tmp_path / "out")
    assert torch.equal(again.lm_head.weight, tensors["lm_head.weight"])
    assert not torch.equal(again.lm_head.weight, again.get_input_embeddings().weight)


def test_shared_storage_that_nothing_ties_is_written_name_by_name(tmp_path, run):
    model = made("LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": True})
    for change in ({"tie_word_embeddings": False}, {"architectures": ["OwnForCausalLM"]}, {"auto_map": {"AutoModelForCausalLM": "own.Own"}}, None):
        folder = tmp_path / str(change)
        save(model, folder, "bin")
        config = folder / "config.json"
        config.unlink() if change is None else config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
        (folder / "own.py").write_text("")
        note = run("st-pack", folder, "-o", folder / "out").stderr.decode()
        assert "share their storage" in note
        assert load_file(folder / "out/model.safetensors").keys() == model.state_dict().keys()


@pytest.mark.parametrize("name, settings, saved, target", [
    ("Gemma2ForCausalLM", {**LLAMA, "head_dim": 8}, "embed_tokens", "q_proj"),
    ("Gemma2ForCausalLM", {**LLAMA, "head_dim": 8}, "lm_head", "q_proj"),
    ("BloomForCausalLM", {**TINY, "hidden_size": 16, "n_layer": 1, "n_head": 2}, "lm_head", "query_key_value"),
    ("BertForMaskedLM", BERT, "decoder", "query"),
    ("BartForConditionalGeneration", BART, "lm_head", "q_proj"),
    ("T5ForConditionalGeneration", T5, "lm_head", "q"),
    ("T5ForConditionalGeneration", T5, "shared", "q"),
])
def test_a_tied_tensor_that_was_trained_whole_is_its_own(tmp_path, run, name, settings, saved, target):
    model = made(name, settings)
    model.save_pretrained(tmp_path / "base")
    tuned = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=[target], modules_to_save=[saved], init_lora_weights=False))
    for key, parameter in tuned.named_parameters():
        if "modules_to_save" in key:
            parameter.data += torch.randn_like(parameter)
    tuned.save_pretrained(tmp_path / "adapter")
    run("st-pack", tmp_path / "base", "--adapter", tmp_path / "adapter", "-o", tmp_path / "out")
    merged = tuned.merge_and_unload().eval()
    again, report = type(model).from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    forced = name.startswith("T5")  # false would change what the model computes
    assert again.config.tie_word_embeddings is forced
    ids = {key: torch.arange(3, 13)[None] for key in ("input_ids", "decoder_input_ids")}
    ids = ids if model.config.is_encoder_decoder else {"input_ids": ids["input_ids"]}
    assert torch.allclose(merged(**ids).logits, again.eval()(**ids).logits, atol=1e-5)
