# SPDX-License-Identifier: Apache-2.0
"""Folders of models that consist of several: what sentence-transformers and diffusers save, and tokenizers' files."""
import itertools
import json
import pathlib

import numpy
import processor_files
import pytest
import torch
import transformers
from safetensors.torch import load_file


def test_the_table_of_tokenizer_and_processor_files_is_that_of_transformers():
    table = pathlib.Path(__file__).resolve().parents[2] / "lib/model/data/processor_files.txt"
    assert table.read_text() == processor_files.table()


def tiny_bert(path, **more):
    torch.manual_seed(0)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "hello", "world"]
    (path / "words").mkdir(parents=True)
    (path / "words/vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizer(vocab_file=str(path / "words/vocab.txt"))
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                                     max_position_embeddings=32, **more)
    return tokenizer, config


def save_bert(path, cls=None, **more):
    """A folder of a Transformers model, for a module to start from."""
    tokenizer, config = tiny_bert(path.parent / (path.name + "-parts"), **more)
    (cls or transformers.BertModel)(config).eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def to_bin(folder):
    """What older releases saved: torch.save in place of safetensors."""
    names = {"model.safetensors": "pytorch_model.bin", "diffusion_pytorch_model.safetensors": "diffusion_pytorch_model.bin"}
    for path in sorted(folder.rglob("*.safetensors")):
        torch.save(load_file(path), path.with_name(names[path.name]))
        path.unlink()


TEXTS = ["hello world", "a b c", "world a"]


def sentence_models(kind, path):
    from sentence_transformers import SentenceTransformer, models

    base = save_bert(path / "base")
    torch.manual_seed(1)
    word = models.Transformer(base, max_seq_length=16)
    pooling = models.Pooling(16, pooling_mode="cls")
    if kind == "dense":
        parts = [word, pooling, models.Dense(16, 8), models.Dense(8, 4), models.LayerNorm(4), models.Normalize()]
    elif kind == "static":
        parts = [models.StaticEmbedding(word.tokenizer._tokenizer if hasattr(word.tokenizer, "_tokenizer") else word.tokenizer.backend_tokenizer,
                                        embedding_dim=8), models.Normalize()]
    elif kind == "cnn":
        parts = [word, models.CNN(16, out_channels=8), models.Pooling(24)]
    else:
        other = models.Transformer(save_bert(path / "other"), max_seq_length=8)
        parts = [models.Router.for_query_document(query_modules=[word, pooling], document_modules=[other, models.Pooling(16)])]
    return SentenceTransformer(modules=parts, prompts={"query": "hello "}, device="cpu")


def encode(model, kind):
    if kind == "router":
        return [model.encode_query(TEXTS), model.encode_document(TEXTS)]
    return [model.encode(TEXTS), model.encode(TEXTS, prompt_name="query")]


def some(usual, *all_of_them):
    """Parameters of which only one is usual; the others take their time."""
    return [one if one == usual else pytest.param(*one, marks=pytest.mark.full) for one in all_of_them]


@pytest.mark.parametrize("kind, how", some(("dense", "bin"), *itertools.product(("dense", "static", "cnn", "router"), ("safetensors", "bin", "sharded"))))
def test_sentence_transformers_load_what_we_pack(kind, how, tmp_path, run):
    from sentence_transformers import SentenceTransformer

    expected = encode(sentence_models(kind, tmp_path), kind)
    sentence_models(kind, tmp_path / "again").save(str(tmp_path / "in"))
    if how == "bin":
        to_bin(tmp_path / "in")
    run("st-pack", tmp_path / "in", "-o", tmp_path / "out", *(["--max-shard-size", "4KB"] if how == "sharded" else []))
    assert not list((tmp_path / "out").rglob("*.bin"))
    loaded = encode(SentenceTransformer(str(tmp_path / "out"), device="cpu"), kind)
    for a, b in zip(loaded, expected, strict=True):
        numpy.testing.assert_array_equal(a, b)
    assert run("st-inspect", "--check=hub", tmp_path / "out", code=None).returncode in (0, 1)


@pytest.mark.full
def test_cross_and_sparse_encoders_load_what_we_pack(tmp_path, run):
    from sentence_transformers import CrossEncoder, SparseEncoder
    from sentence_transformers.sparse_encoder import models

    base = save_bert(tmp_path / "cross", transformers.BertForSequenceClassification, num_labels=1)
    cross = CrossEncoder(base, device="cpu")
    cross.save_pretrained(str(tmp_path / "in"))
    to_bin(tmp_path / "in")
    run("st-pack", tmp_path / "in", "-o", tmp_path / "out")
    pairs = [("hello", "world"), ("a", "b")]
    numpy.testing.assert_array_equal(CrossEncoder(str(tmp_path / "out"), device="cpu").predict(pairs), cross.predict(pairs))

    base = save_bert(tmp_path / "masked", transformers.BertForMaskedLM)
    sparse = SparseEncoder(modules=[models.MLMTransformer(base), models.SpladePooling()], device="cpu")
    sparse.save_pretrained(str(tmp_path / "sparse"))
    run("st-pack", tmp_path / "sparse", "-o", tmp_path / "packed")
    again = SparseEncoder(str(tmp_path / "packed"), device="cpu")
    assert torch.equal(again.encode(TEXTS).to_dense(), sparse.encode(TEXTS).to_dense())


def test_a_cast_reaches_every_module(tmp_path, run):
    from sentence_transformers import SentenceTransformer

    sentence_models("dense", tmp_path).save(str(tmp_path / "in"))
    run("st-pack", tmp_path / "in", "-o", tmp_path / "out", "--dtype", "bf16", "--verify")
    for path in (tmp_path / "out").rglob("*.safetensors"):
        assert {t.dtype for name, t in load_file(path).items() if t.is_floating_point()} == {torch.bfloat16}, path
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["dtype"] == "bfloat16"
    model = SentenceTransformer(str(tmp_path / "out"), device="cpu", model_kwargs={"dtype": torch.float32})
    expected = SentenceTransformer(str(tmp_path / "in"), device="cpu").encode(TEXTS)
    numpy.testing.assert_allclose(model.encode(TEXTS), expected, atol=0.05)


def pipeline(path, controlnets=0):
    import diffusers
    from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(2)
    shape = dict(block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8)
    unet = UNet2DConditionModel(sample_size=8, in_channels=4, out_channels=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=32, attention_head_dim=8, **shape)
    vae = AutoencoderKL(in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
                        latent_channels=4, sample_size=16, **shape)
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
                                                                  vocab_size=100, max_position_embeddings=16, projection_dim=32, bos_token_id=0,
                                                                  eos_token_id=2, pad_token_id=1))
    parts = dict(unet=unet, vae=vae, text_encoder=text, tokenizer=tiny_bert(path / "words")[0], scheduler=DDIMScheduler(), safety_checker=None, feature_extractor=None)
    if not controlnets:
        return diffusers.StableDiffusionPipeline(requires_safety_checker=False, **parts)
    nets = [ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32)) for _ in range(controlnets)]
    return diffusers.StableDiffusionControlNetPipeline(controlnet=nets, requires_safety_checker=False, **parts)


def weights_of(pipe):
    return {f"{name}.{key}": value for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)
            for key, value in part.state_dict().items()}


@pytest.mark.parametrize("how", ["bin", *(pytest.param(how, marks=pytest.mark.full) for how in ("safetensors", "variant", "sharded", "controlnets"))])
def test_diffusers_load_what_we_pack(how, tmp_path, run):
    import diffusers

    pipe = pipeline(tmp_path, 2 if how == "controlnets" else 0)
    pipe.save_pretrained(tmp_path / "in", safe_serialization=how != "bin", variant="fp16" if how == "variant" else None)
    limit = ["--max-shard-size", "100KB"] if how in ("sharded", "variant") else []
    run("st-pack", tmp_path / "in", "-o", tmp_path / "out", *limit)
    assert not list((tmp_path / "out").rglob("*.bin"))
    again = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out", use_safetensors=True, variant="fp16" if how == "variant" else None)
    expected, found = weights_of(pipe), weights_of(again)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    if limit:
        variant = ".fp16" if how == "variant" else ""
        assert (tmp_path / f"out/unet/diffusion_pytorch_model.safetensors.index{variant}.json").exists()
    prompt = torch.zeros(1, 16, 32)
    images = [p(prompt_embeds=prompt, negative_prompt_embeds=prompt, num_inference_steps=2, output_type="np", height=16, width=16,
                generator=torch.Generator().manual_seed(0)).images for p in (pipe, again)] if how != "controlnets" else [0, 0]
    numpy.testing.assert_array_equal(*images)
    run("st-inspect", "--check=hub", tmp_path / "out")
