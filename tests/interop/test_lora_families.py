# SPDX-License-Identifier: Apache-2.0
"""PEFT applies the whole adapter that lora-extract finds between two models, whatever their files call the tensors: mixtures of
experts, multimodal models, classifiers."""
import json
import os
import pathlib
import re
import subprocess
import warnings

import pytest
import torch
import transformers
from peft import PeftModel

BIN = pathlib.Path(os.environ["BIN_DIR"])
IDS = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
TEXT = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=64, **IDS)
BERT = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=40)
VISION = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8)
CLIP = dict(VISION, model_type="clip_vision_model", projection_dim=8)
SIGLIP = dict(VISION, model_type="siglip_vision_model")
QWEN_VISION = dict(depth=1, hidden_size=16, intermediate_size=24, num_heads=2, out_hidden_size=32, patch_size=4)
ROPE = dict(rope_parameters={"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 10000.0})
LINEAR = dict(layer_types=["linear_attention", "full_attention"], linear_num_value_heads=2, linear_num_key_heads=2, linear_key_head_dim=8, linear_value_head_dim=8)
EXPERTS = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=24)
# Sizes of models that are mixtures of experts, under all the names that configs have for them.
SMALL = dict(
    TEXT, moe_intermediate_size=24, shared_expert_intermediate_size=24, expert_ffn_hidden_size=24, ffn_hidden_size=48, num_layers=2, num_experts=4, num_local_experts=4, n_routed_experts=4,
    moe_num_experts=4, num_experts_per_tok=2, num_experts_per_token=2, moe_topk=2, moe_k=2, n_shared_experts=1, num_shared_experts=1, moe_num_shared_experts=1, first_k_dense_replace=1,
    num_dense_layers=1, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8, n_group=1, topk_group=1, num_expert_group=1, index_n_heads=2, index_head_dim=8,
    index_topk=4, zero_expert_num=0, mamba_d_state=8, sliding_window=16, shared_intermediate_size=24, num_nextn_predict_layers=0, linear_num_value_heads=2, linear_num_key_heads=2,
    linear_key_head_dim=8, linear_value_head_dim=8)
EXPERT_FAMILIES = [
    "MixtralForCausalLM", "Qwen3MoeForCausalLM", "DeepseekV3ForCausalLM", "LagunaForCausalLM", "PhimoeForCausalLM", "AXK1ForCausalLM", "AfmoeForCausalLM", "AriaTextForCausalLM",
    "BeamForCausalLM", "Cohere2MoeForCausalLM", "DeepseekV2ForCausalLM", "DeepseekV32ForCausalLM", "DeepseekV4ForCausalLM", "Dots1ForCausalLM", "Dots3NoteForCausalLM",
    "Ernie4_5_MoeForCausalLM", "ExaoneMoeForCausalLM", "FlexOlmoForCausalLM", "Glm4MoeForCausalLM", "Glm4MoeLiteForCausalLM", "GlmMoeDsaForCausalLM", "HYV3ForCausalLM",
    "HunYuanMoEV1ForCausalLM", "JambaForCausalLM", "KimiLinearForCausalLM", "Kolibri1ForCausalLM", "Lfm2MoeForCausalLM", "LongcatFlashForCausalLM", "MellumForCausalLM",
    "MiMoV2FlashForCausalLM", "MiniMaxForCausalLM", "MiniMaxM2ForCausalLM", "NemotronHForCausalLM", "OlmoeForCausalLM", "Qwen2MoeForCausalLM", "Qwen3NextForCausalLM",
    "Qwen3_5MoeForCausalLM", "SolarOpenForCausalLM", "GraniteMoeSharedForCausalLM"]
MORE = {  # what these need beside SMALL
    **{name: dict(num_key_value_heads=4) for name in EXPERT_FAMILIES if name.startswith(("AXK", "Deepseek", "Glm4MoeLite", "GlmMoeDsa", "Longcat", "Dots3"))},
    **{name: dict(layer_types=LINEAR["layer_types"]) for name in ("Qwen3NextForCausalLM", "Qwen3_5MoeForCausalLM")},
    "Lfm2MoeForCausalLM": dict(layer_types=["conv", "full_attention"]),
}
OTHERS = {
    "GraniteMoeForCausalLM": dict(TEXT, num_local_experts=4, num_experts_per_tok=2),
    "JetMoeForCausalLM": dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_key_value_heads=2, kv_channels=8, num_local_experts=4, num_experts_per_tok=2),
    "Qwen2VLForConditionalGeneration": dict(text_config=dict(TEXT, **ROPE), vision_config=dict(QWEN_VISION, embed_dim=16, hidden_size=32)),
    "LlavaForConditionalGeneration": dict(text_config=dict(TEXT, model_type="llama"), vision_config=CLIP, image_token_index=95),
    "Gemma3ForConditionalGeneration": dict(text_config=dict(TEXT, sliding_window=16), vision_config=VISION, mm_tokens_per_image=4),
    "BertForSequenceClassification": BERT,
    "NomicBertModel": BERT,  # whose files join q, k and v
    "Qwen2_5_VLForConditionalGeneration": dict(text_config=dict(TEXT, **ROPE), vision_config=dict(QWEN_VISION, fullatt_block_indexes=[0])),
    "LlavaNextForConditionalGeneration": dict(text_config=dict(TEXT, model_type="llama"), vision_config=CLIP, image_token_index=95),
    "LlavaOnevisionForConditionalGeneration": dict(text_config=dict(TEXT, model_type="qwen2"), vision_config=SIGLIP, image_token_index=95),
    "VipLlavaForConditionalGeneration": dict(text_config=dict(TEXT, model_type="llama"), vision_config=CLIP, image_token_index=95, vision_feature_layers=[-1]),
    "PaliGemmaForConditionalGeneration": dict(text_config=dict(TEXT, model_type="gemma2"), vision_config=dict(VISION, projection_dim=32), projection_dim=32),
    "InternVLForConditionalGeneration": dict(text_config=dict(TEXT, model_type="qwen2"), vision_config=dict(VISION, image_size=[16, 16], patch_size=[8, 8])),
    "Mistral3ForConditionalGeneration": dict(text_config=dict(TEXT, model_type="mistral"), vision_config=dict(VISION, model_type="pixtral", head_dim=8)),
    "AyaVisionForConditionalGeneration": dict(text_config=dict(TEXT, model_type="cohere2"), vision_config=SIGLIP),
    "AriaForConditionalGeneration": dict(text_config=dict(TEXT, moe_num_experts=4, moe_topk=2, moe_num_shared_experts=1), vision_config=dict(VISION, model_type="idefics3_vision"), projector_patch_to_query_dict={4: 4}),
    "Idefics3ForConditionalGeneration": dict(text_config=dict(TEXT, model_type="llama"), vision_config=VISION),
    "MllamaForConditionalGeneration": dict(text_config=dict(TEXT, cross_attention_layers=[1]), vision_config=dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_global_layers=1, attention_heads=2, image_size=16, patch_size=8, vision_output_dim=32, intermediate_layers_indices=[0], supported_aspect_ratios=[[1, 1]])),
    "Qwen3VLForConditionalGeneration": dict(text_config=dict(TEXT, **ROPE), vision_config=dict(QWEN_VISION, deepstack_visual_indexes=[0], num_position_embeddings=16)),
    "Qwen3VLMoeForConditionalGeneration": dict(text_config=dict(TEXT, **ROPE, **EXPERTS), vision_config=dict(QWEN_VISION, deepstack_visual_indexes=[0], num_position_embeddings=16)),
    "Qwen3_5MoeForConditionalGeneration": dict(text_config=dict(TEXT, **ROPE, **EXPERTS, **LINEAR), vision_config=dict(QWEN_VISION, num_position_embeddings=16)),
    "Glm4vMoeForConditionalGeneration": dict(text_config=dict(TEXT, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, first_k_dense_replace=1, n_group=1, topk_group=1, n_shared_experts=1, **ROPE), vision_config=QWEN_VISION),
    "Llama4ForConditionalGeneration": dict(text_config=dict({**TEXT, "intermediate_size": 24}, intermediate_size_mlp=48, num_local_experts=4), vision_config=dict(VISION, vision_output_dim=16, projector_input_dim=16, projector_output_dim=16)),
    "OpenAIPrivacyFilterForTokenClassification": dict(TEXT, num_local_experts=4, num_experts_per_tok=2),
    "GPTNeoXForCausalLM": dict(BERT),
    "RobertaForSequenceClassification": BERT,
    "LlamaForSequenceClassification": TEXT,
    "BertForQuestionAnswering": BERT,
    "ViTForImageClassification": VISION,
    "T5ForConditionalGeneration": dict(vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4),  # relative_attention_bias is an embedding
    "CLIPModel": dict(text_config=TEXT, vision_config=VISION, projection_dim=8),
}
QUICK = {*EXPERT_FAMILIES[:4], *list(OTHERS)[:7]}
# PEFT refuses these layers of Mamba models.
REFUSED = {"NemotronHForCausalLM": r"\.out_proj\."}


def config_of(cls):
    name = cls.__name__
    if name in OTHERS:
        return cls.config_class(**OTHERS[name])
    known = cls.config_class().to_dict()
    return cls.config_class(**{key: value for key, value in {**SMALL, **MORE.get(name, {})}.items() if key in known})


def random_model(name):
    """A tiny one, without a parameter that is left at 0 or 1."""
    cls = getattr(transformers, name)
    torch.manual_seed(3)
    model = cls(config_of(cls)).eval()
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.02
    return model


def tune(model):
    """Adds an update of rank 2 to each linear layer, and to each expert but the first of a layer."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and name.endswith(".weight") and not re.search("norm|embed|shared|relative|lm_head|conv|position", name):
            parameter.data += torch.randn(parameter.shape[0], 2) @ torch.randn(2, parameter.shape[1]) * 0.1
        elif parameter.dim() == 3 and re.search(r"experts\.\w+$|_linear\.weight$", name):
            experts, rows, columns = parameter.shape
            parameter.data[1:] += torch.randn(experts - 1, rows, 2) @ torch.randn(experts - 1, 2, columns) * 0.1


def values(model):
    return {name: tensor.double() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.full) for name in [*EXPERT_FAMILIES, *OTHERS]])
def test_peft_applies_all_of_it(tmp_path, name):
    model = random_model(name)
    model.save_pretrained(tmp_path / "base")
    tune(model)
    model.save_pretrained(tmp_path / "tuned")
    done = subprocess.run([BIN / "lora-extract", "--base", tmp_path / "base", "--tuned", tmp_path / "tuned", "--rank", "4", "--dtype", "f32", "-o", tmp_path / "out", "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    refused = REFUSED.get(name, "^$")
    assert [lost for lost in json.loads(done.stdout)["lost"] if not re.search(refused, lost)] == []
    base = type(model).from_pretrained(tmp_path / "base")
    before, wanted = values(base), values(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        peft = PeftModel.from_pretrained(base, tmp_path / "out")
    assert not [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]
    after = values(peft.merge_and_unload())
    change = sum((wanted[key] - before[key]).norm() ** 2 for key in wanted) ** 0.5
    assert change > 1
    assert [key for key in wanted if (wanted[key] - after[key]).norm() > 1e-4 * change and not re.search(refused, key)] == []
