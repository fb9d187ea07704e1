# SPDX-License-Identifier: Apache-2.0
"""Cards of folders that sentence-transformers, diffusers, timm and SetFit save: right library, task and facts, and code that runs."""
import json
import pathlib
import re

import diffusers_tasks
import pytest
import torch
import transformers
from huggingface_hub import ModelCard

TABLE = pathlib.Path(__file__).resolve().parents[2] / "lib/card/data/diffusers_tasks.txt"


def card_of(run, folder, *options):
    return ModelCard(run("card-gen", folder, *options).stdout.decode())


@pytest.fixture
def run_code(offline):
    def call(card, where):
        return offline.run(re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1], where, where / "cache")

    return call


def bert(path, cls=transformers.BertModel, **more):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "results", "are", "notebook"]
    (path.parent / "words").mkdir(exist_ok=True)
    (path.parent / "words/vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
                                     max_position_embeddings=64, **more)
    cls(config).eval().save_pretrained(path)
    transformers.BertTokenizer(vocab_file=str(path.parent / "words/vocab.txt")).save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("prompts", [{}, {"query": "query: ", "document": "text: "}])
def test_a_sentence_transformer(tmp_path, run, run_code, prompts):
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers import models

    word = models.Transformer(bert(tmp_path / "base"), max_seq_length=32)
    model = st.SentenceTransformer(modules=[word, models.Pooling(16, pooling_mode="cls"), models.Dense(16, 8)], prompts=prompts, device="cpu",
                                   similarity_fn_name="dot")
    model.save_pretrained(str(tmp_path / "out"), create_model_card=False)
    card = card_of(run, tmp_path / "out")
    assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", "sentence-similarity")
    for text in ("- Pooling: cls\n", "- Vectors: 8 dimensions\n", "- Compared by: `dot`\n", "- Longest input: 32 tokens\n",
                 f"- Sentence Transformers {st.__version__}\n"):
        assert text in card.text
    assert ("query: query: " in card.text) == bool(prompts)
    assert "tensor(" in run_code(card, tmp_path)


@pytest.mark.full
def test_cross_and_sparse_encoders(tmp_path, run, run_code):
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers.sparse_encoder import models

    for labels, task in ((1, "text-ranking"), (3, "text-classification")):
        base = bert(tmp_path / f"base{labels}", transformers.BertForSequenceClassification, num_labels=labels)
        st.CrossEncoder(base, device="cpu").save_pretrained(str(tmp_path / f"cross{labels}"), create_model_card=False)
        card = card_of(run, tmp_path / f"cross{labels}")
        assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", task)
        assert "cross-encoder" in card.data.tags
        run_code(card, tmp_path)
    base = bert(tmp_path / "masked", transformers.BertForMaskedLM)
    st.SparseEncoder(modules=[models.MLMTransformer(base), models.SpladePooling()], device="cpu").save_pretrained(
        str(tmp_path / "sparse"), create_model_card=False)
    card = card_of(run, tmp_path / "sparse")
    assert (card.data.library_name, card.data.pipeline_tag) == ("sentence-transformers", "feature-extraction")
    assert "sparse-encoder" in card.data.tags
    run_code(card, tmp_path)


def test_the_library_writes_the_same_about_its_model(tmp_path, run):
    st = pytest.importorskip("sentence_transformers")
    from sentence_transformers import models

    model = st.SentenceTransformer(modules=[models.Transformer(bert(tmp_path / "base")), models.Pooling(16)], device="cpu")
    model.save_pretrained(str(tmp_path / "out"))
    theirs = ModelCard.load(tmp_path / "out/README.md")
    (tmp_path / "out/README.md").unlink()
    ours = card_of(run, tmp_path / "out")
    assert (ours.data.library_name, ours.data.pipeline_tag) == (theirs.data.library_name, theirs.data.pipeline_tag)
    assert set(theirs.data.tags) <= set(ours.data.tags)


def test_setfit(tmp_path, run, run_code):
    setfit = pytest.importorskip("setfit")
    from sentence_transformers import SentenceTransformer, models
    from sklearn.linear_model import LogisticRegression

    body = SentenceTransformer(modules=[models.Transformer(bert(tmp_path / "base")), models.Pooling(16)], device="cpu")
    head = LogisticRegression().fit([[0.0] * 16, [1.0] * 16], [0, 1])
    setfit.SetFitModel(model_body=body, model_head=head, labels=["bad", "good"]).save_pretrained(str(tmp_path / "out"))
    (tmp_path / "out/README.md").unlink(missing_ok=True)
    card = card_of(run, tmp_path / "out")
    assert (card.data.library_name, card.data.pipeline_tag) == ("setfit", "text-classification")
    assert "- Labels: `bad`, `good`" in card.text and "SetFitModel.from_pretrained" in card.text
    run_code(card, tmp_path)


def test_the_table_of_diffusers_tasks_is_that_of_diffusers():
    pytest.importorskip("diffusers")
    package, version = diffusers_tasks.package_and_version()
    found = diffusers_tasks.tasks(package)
    # The table may know more or fewer classes than another release; those that both know have the same task.
    known = {name: line.split("\t")[0] for line in TABLE.read_text().splitlines()[1:] for name in line.split("\t")[1].split(" ")}
    assert len(known) > 200 and {n: t for n, t in found.items() if n in known} == {n: t for n, t in known.items() if n in found}
    if f"diffusers {version}:" in TABLE.read_text():
        assert TABLE.read_text() == diffusers_tasks.table(found, version)


def test_a_pipeline_of_diffusers(tmp_path, run, offline):
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DModel(sample_size=8, in_channels=3, out_channels=3, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
                                 down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"))
    diffusers.DDPMPipeline(unet=unet, scheduler=diffusers.DDPMScheduler(num_train_timesteps=4)).save_pretrained(tmp_path / "out")
    card = card_of(run, tmp_path / "out", "--repo", "out")
    assert (card.data.library_name, card.data.pipeline_tag) == ("diffusers", "unconditional-image-generation")
    assert "- Pipeline: `DDPMPipeline`" in card.text and f"- Diffusers {diffusers.__version__}" in card.text
    code = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1].replace(', device_map="cuda"', "").replace("bfloat16", "float32")
    code = code.replace("pipe()", "pipe(num_inference_steps=1)")
    offline.run(code, tmp_path, tmp_path / "cache")
    assert (tmp_path / "image.png").exists()


def test_timm(tmp_path, run, run_code):
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet10t", pretrained=False, num_classes=3)
    timm.models.save_for_hf(model, str(tmp_path / "out"), model_config={"label_names": ["a", "b", "c"]})
    card = card_of(run, tmp_path / "out")
    assert (card.data.library_name, card.data.pipeline_tag) == ("timm", "image-classification")
    assert "- Labels: `a`, `b`, `c`" in card.text
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "photo.jpg")
    run_code(card, tmp_path)
    config = json.loads((tmp_path / "out/config.json").read_text())
    (tmp_path / "out/config.json").write_text(json.dumps({**config, "num_classes": 0}))
    assert card_of(run, tmp_path / "out").data.pipeline_tag == "image-feature-extraction"
