# SPDX-License-Identifier: Apache-2.0
"""Tiny random models and LoRA adapters of every kind, as PEFT saves them."""
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, GptOssConfig, Llama4TextConfig, LlamaConfig, Qwen2Config, Qwen3MoeConfig

SIZES = dict(vocab_size=96, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2)
CONFIGS = {
    "llama": lambda: LlamaConfig(**SIZES),
    "tied": lambda: LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**SIZES),
    "gpt2": lambda: GPT2Config(vocab_size=96, n_embd=32, n_layer=2, n_head=4, n_positions=64),
    "moe": lambda: Qwen3MoeConfig(**SIZES, moe_intermediate_size=24, num_experts=4, num_experts_per_tok=2, head_dim=8),
    # These keep the experts of a layer in one tensor, [experts, in, out]; those of the second model are square.
    "gpt_oss": lambda: GptOssConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2, head_dim=8),
    "gpt_oss_square": lambda: GptOssConfig(**{**SIZES, "intermediate_size": 16}, num_local_experts=4, num_experts_per_tok=2, head_dim=8),
    "llama4": lambda: Llama4TextConfig(**{**SIZES, "intermediate_size": 24}, intermediate_size_mlp=48, num_local_experts=4, head_dim=8, attn_temperature_tuning=False),
    "llama4_square": lambda: Llama4TextConfig(**{**SIZES, "intermediate_size": 16}, intermediate_size_mlp=48, num_local_experts=4, head_dim=8, attn_temperature_tuning=False),
}
ATTENTION = ["q_proj", "v_proj"]
# Name: (model, options of LoraConfig).
ADAPTERS = {
    "plain": ("llama", dict(target_modules=[*ATTENTION, "down_proj"])),
    "rslora": ("llama", dict(target_modules=ATTENTION, use_rslora=True)),
    "dora": ("llama", dict(target_modules=[*ATTENTION, "up_proj"], use_dora=True)),
    "patterns": ("llama", dict(target_modules=[*ATTENTION, "o_proj"], rank_pattern={"q_proj": 2, "layers.1.self_attn.v_proj": 3}, alpha_pattern={"o_proj": 5})),
    "embedding": ("llama", dict(target_modules=["embed_tokens", "lm_head", "q_proj"])),
    "dora-embedding": ("llama", dict(target_modules=["embed_tokens", "q_proj"], use_dora=True)),
    "saved": ("llama", dict(target_modules=ATTENTION, modules_to_save=["lm_head", "norm"])),
    "tokens": ("llama", dict(target_modules=ATTENTION, trainable_token_indices={"embed_tokens": [3, 90, 7]})),
    "bias": ("qwen2", dict(target_modules=ATTENTION, bias="all")),
    "bias-lora-only": ("qwen2", dict(target_modules=ATTENTION, bias="lora_only")),
    "lora-bias": ("qwen2", dict(target_modules=ATTENTION, lora_bias=True)),
    "conv1d": ("gpt2", dict(target_modules=["c_attn", "c_proj", "wte"], fan_in_fan_out=True)),
    "conv1d-dora": ("gpt2", dict(target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, use_dora=True)),
    "tied-output": ("tied", dict(target_modules=["q_proj", "embed_tokens"])),
    "tied-saved": ("tied", dict(target_modules=ATTENTION, modules_to_save=["lm_head"])),
    "tied-saved-input": ("tied", dict(target_modules=ATTENTION, modules_to_save=["embed_tokens"])),
    "tied-tokens": ("tied", dict(target_modules=ATTENTION, trainable_token_indices=[1, 5])),
    "tokens-gpt2": ("gpt2", dict(target_modules=["c_attn"], fan_in_fan_out=True, trainable_token_indices=[1, 5])),
    "tokens-of-two": ("llama", dict(target_modules=ATTENTION, trainable_token_indices={"embed_tokens": [3], "lm_head": [7, 9]})),
    "saved-gpt2": ("gpt2", dict(target_modules=["c_attn"], fan_in_fan_out=True, modules_to_save=["lm_head"])),
    "experts": ("moe", dict(target_modules=ATTENTION, target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
    "experts-gpt-oss": ("gpt_oss", dict(target_modules=ATTENTION, target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
    "experts-gpt-oss-square": ("gpt_oss_square", dict(target_modules=ATTENTION, target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"])),
    "experts-llama4": ("llama4", dict(target_modules=ATTENTION, target_parameters=["feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"])),
    "experts-llama4-square": ("llama4_square", dict(target_modules=ATTENTION, target_parameters=["feed_forward.experts.gate_up_proj"])),
    "one-expert-parameter": ("moe", dict(target_modules=ATTENTION, target_parameters=["mlp.experts.down_proj"])),
}


def make_base(kind, dtype, path):
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(CONFIGS[kind]()).to(dtype)
    for _, parameter in model.named_parameters():
        parameter.data.add_((torch.randn(parameter.shape) * 0.02).to(dtype))
    model.save_pretrained(path)
    return load_model(path, dtype)


def load_model(path, dtype):
    return AutoModelForCausalLM.from_pretrained(path, dtype=dtype).to(dtype)  # some families load norms in fp32


def make_adapter(model, options, path, seed=2, name="default"):
    """The PEFT model with a trained-looking adapter, saved at `path`."""
    torch.manual_seed(seed)
    peft = get_peft_model(model, LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **options), adapter_name=name)
    randomize(peft)
    if path is not None:
        peft.save_pretrained(path)
    return peft


def randomize(peft):
    for key, parameter in peft.named_parameters():
        if not parameter.requires_grad:
            continue
        if "magnitude" in key:
            parameter.data.mul_(1 + 0.1 * torch.rand_like(parameter))
        else:
            parameter.data.add_(torch.randn_like(parameter) * 0.05)
