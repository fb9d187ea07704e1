# SPDX-License-Identifier: Apache-2.0
"""Small models of many families, packed from what training and torch leave and from what the Hub has: every loader gets back what went in."""
import json
import shutil

import pytest
import torch
import transformers
from safetensors import safe_open

TEXT = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
BERT = dict(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
EXPERTS = dict(num_experts=4, num_local_experts=4, num_experts_per_tok=2, moe_intermediate_size=24)
VISION = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=28, patch_size=14)
QWEN_VISION = dict(depth=2, embed_dim=32, hidden_size=32, num_heads=4, patch_size=14, in_channels=3, mlp_ratio=2)
T5 = dict(vocab_size=64, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
BART = dict(vocab_size=64, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_position_embeddings=64)

# Name: (class, its config, options of the config).
SMOKE = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", TEXT),
    "llama-tied": ("LlamaForCausalLM", "LlamaConfig", {**TEXT, "tie_word_embeddings": True}),
    "gemma": ("GemmaForCausalLM", "GemmaConfig", {**TEXT, "head_dim": 8}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", dict(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "bloom": ("BloomForCausalLM", "BloomConfig", dict(vocab_size=64, hidden_size=32, n_layer=2, n_head=4)),
    "bert": ("BertForMaskedLM", "BertConfig", BERT),
    "t5": ("T5ForConditionalGeneration", "T5Config", T5),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**TEXT, **EXPERTS}),
    "qwen3-moe": ("Qwen3MoeForCausalLM", "Qwen3MoeConfig", {**TEXT, **EXPERTS, "head_dim": 8}),
    "qwen2-vl": ("Qwen2VLForConditionalGeneration", "Qwen2VLConfig", dict(text_config=TEXT, vision_config=QWEN_VISION)),
}
REST = {
    "mistral": ("MistralForCausalLM", "MistralConfig", TEXT),
    "qwen2": ("Qwen2ForCausalLM", "Qwen2Config", {**TEXT, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", "Qwen3Config", {**TEXT, "head_dim": 8}),
    "gemma2": ("Gemma2ForCausalLM", "Gemma2Config", {**TEXT, "head_dim": 8}),
    "gemma3-text": ("Gemma3ForCausalLM", "Gemma3TextConfig", {**TEXT, "head_dim": 8}),
    "phi": ("PhiForCausalLM", "PhiConfig", TEXT),
    "phi3": ("Phi3ForCausalLM", "Phi3Config", {**TEXT, "pad_token_id": 0}),
    "falcon": ("FalconForCausalLM", "FalconConfig", dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4)),
    "gpt-neox": ("GPTNeoXForCausalLM", "GPTNeoXConfig", {k: v for k, v in TEXT.items() if k != "num_key_value_heads"}),
    "opt": ("OPTForCausalLM", "OPTConfig", dict(vocab_size=64, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32, max_position_embeddings=64)),
    "mpt": ("MptForCausalLM", "MptConfig", dict(vocab_size=64, d_model=32, n_heads=4, n_layers=2, max_seq_len=64)),
    "stablelm": ("StableLmForCausalLM", "StableLmConfig", TEXT),
    "starcoder2": ("Starcoder2ForCausalLM", "Starcoder2Config", TEXT),
    "olmo2": ("Olmo2ForCausalLM", "Olmo2Config", {**TEXT, "pad_token_id": 0}),
    "cohere": ("CohereForCausalLM", "CohereConfig", {**TEXT, "pad_token_id": 0}),
    "granite": ("GraniteForCausalLM", "GraniteConfig", TEXT),
    "granite-moe": ("GraniteMoeForCausalLM", "GraniteMoeConfig", {**TEXT, **EXPERTS}),
    "gpt-oss": ("GptOssForCausalLM", "GptOssConfig", {**TEXT, **EXPERTS, "head_dim": 8}),
    "olmoe": ("OlmoeForCausalLM", "OlmoeConfig", {**TEXT, **EXPERTS, "pad_token_id": 0}),
    "deepseek-v3": ("DeepseekV3ForCausalLM", "DeepseekV3Config", {**TEXT, **EXPERTS, "num_key_value_heads": 4, "n_routed_experts": 4, "n_shared_experts": 1, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}),
    "mamba": ("MambaForCausalLM", "MambaConfig", dict(vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=8)),
    "roberta": ("RobertaForMaskedLM", "RobertaConfig", BERT),
    "roberta-classes": ("RobertaForSequenceClassification", "RobertaConfig", {**BERT, "num_labels": 3}),
    "modernbert": ("ModernBertForMaskedLM", "ModernBertConfig", {**BERT, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}),
    "deberta-v2": ("DebertaV2ForMaskedLM", "DebertaV2Config", BERT),
    "electra": ("ElectraForPreTraining", "ElectraConfig", {**BERT, "embedding_size": 32}),
    "bart": ("BartForConditionalGeneration", "BartConfig", BART),
    "mt5": ("MT5ForConditionalGeneration", "MT5Config", T5),
    "umt5": ("UMT5ForConditionalGeneration", "UMT5Config", T5),
    "marian": ("MarianMTModel", "MarianConfig", {**BART, "pad_token_id": 63, "decoder_start_token_id": 63}),
    "whisper": ("WhisperForConditionalGeneration", "WhisperConfig", {**BART, "max_source_positions": 16, "max_target_positions": 16, "num_mel_bins": 8, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "suppress_tokens": [], "begin_suppress_tokens": []}),
    "vit": ("ViTForImageClassification", "ViTConfig", VISION),
    "clip": ("CLIPModel", "CLIPConfig", dict(text_config=BERT, vision_config=VISION, projection_dim=16)),
    "qwen2.5-vl": ("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig", dict(text_config=TEXT, vision_config=dict(depth=2, hidden_size=32, out_hidden_size=32, intermediate_size=48, num_heads=4, patch_size=14, fullatt_block_indexes=[1]))),
    "llava": ("LlavaForConditionalGeneration", "LlavaConfig", dict(text_config={**TEXT, "model_type": "llama"}, vision_config={**VISION, "model_type": "clip_vision_model"})),
    "gemma3": ("Gemma3ForConditionalGeneration", "Gemma3Config", dict(text_config={**TEXT, "head_dim": 8}, vision_config=VISION, mm_tokens_per_image=4)),
}
FAMILIES = [*SMOKE, *(pytest.param(name, marks=pytest.mark.full) for name in REST)]


def make(family, dtype=torch.bfloat16):
    name, config_name, options = {**SMOKE, **REST}[family]
    torch.manual_seed(3)
    model = getattr(transformers, name)(getattr(transformers, config_name)(**options)).to(dtype).eval()
    for parameter in (p for p in model.parameters() if p.requires_grad):
        parameter.data.add_((torch.randn(parameter.shape) * 0.02).to(dtype))
    return model


def assert_same(model, folder):
    loaded, report = type(model).from_pretrained(folder, dtype="auto", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"], report
    before, after = model.state_dict(), loaded.state_dict()
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor.float(), after[name].float()), name


@pytest.mark.parametrize("family", FAMILIES)
def test_what_went_in_comes_out(tmp_path, run, family):
    model = make(family)
    hub, trained = tmp_path / "hub", tmp_path / "trained"
    model.save_pretrained(hub)
    trained.mkdir()
    for path in hub.glob("*.json"):
        shutil.copy(path, trained)
    torch.save(model.state_dict(), trained / "pytorch_model.bin")  # with both names of what is tied
    for folder, options in ((hub, []), (hub, ["--max-shard-size", "20KB"]), (trained, [])):
        out = tmp_path / f"{folder.name}-{len(options)}"
        run("st-pack", folder, "-o", out, "--verify", *options)
        assert_same(model, out)
        found = json.loads(run("st-inspect", "--check=hub", "--json", out, code=None).stdout)["findings"]
        assert {finding["rule"] for finding in found} <= {"MD-TOKENIZER"}, found
    packed = json.loads(run("st-inspect", "--json", tmp_path / "hub-0").stdout)
    with safe_open(hub / "model.safetensors", "pt") as file:
        assert {t["name"] for t in packed["tensors"]} == set(file.keys())  # nothing more is written, nothing less
