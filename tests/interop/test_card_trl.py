# SPDX-License-Identifier: Apache-2.0
"""TRL's own cards: ours say what they say, what is wrong in them is fixed, and our table of trainers matches TRL's."""
import ast
import dataclasses
import importlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
import unicodedata

import pytest
from huggingface_hub import ModelCard

TRL = pathlib.Path(importlib.util.find_spec("trl").origin).parent
OLDER = {"bco", "minillm", "nash-md", "ppo", "prm", "ssd", "xpo"}  # of earlier releases
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def trainer_classes():
    """Every trainer of TRL as {tag: attributes}, including what it inherits, read from the sources because some trainers can't be imported here."""
    classes = {}
    for path in TRL.rglob("*_trainer.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                own = {s.targets[0].id: eval(ast.unparse(s.value), {"textwrap": textwrap}) for s in node.body
                       if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name) and s.targets[0].id in ("_tag_names", "_name", "_paper")}
                module = ".".join(path.relative_to(TRL.parent).with_suffix("").parts)
                # A class of the same name that only adds to another is not a trainer of its own.
                if own or node.name not in classes:
                    classes[node.name] = {"own": own, "bases": [ast.unparse(b) for b in node.bases], "doc": ast.get_docstring(node) or "",
                                          "module": module, "class": node.name}

    def inherited(name, what):
        if name not in classes:
            return None
        if what in classes[name]["own"]:
            return classes[name]["own"][what]
        return next((v for v in (inherited(b, what) for b in classes[name]["bases"]) if v is not None), None)

    found = {}
    for name, c in classes.items():
        if c["own"].get("_tag_names"):
            library, tag = c["own"]["_tag_names"]
            assert library == "trl"
            found[tag] = {**c, "name": inherited(name, "_name"), "paper": inherited(name, "_paper") or {}}
    return found


TRAINERS = trainer_classes()


def plain(text):
    """Letters of a BibTeX value without accents, braces and escapes."""
    text = re.sub(r"\\?[{}\"'`^~\\]", "", text)
    return re.sub(r"\W+", " ", "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))).strip().lower()


def bibliography(text):
    """{key: {field: value}} of the BibTeX in a card."""
    entries = {}
    for block in re.findall(r"```bibtex\n(.*?)\n```", text, re.DOTALL):
        key, fields = re.match(r"@\w+\{([^,]+),(.*)\}\s*$", block, re.DOTALL).groups()
        entries[key] = {m[1].lower(): plain(m[2]) for m in re.finditer(r"^\s*(\w+)\s*=\s*(.*?),?\s*$", fields, re.MULTILINE)}
    return entries


def facts_of(text):
    """What a card states, whichever program wrote it."""
    card = ModelCard(text)
    data = card.data.to_dict()
    as_list = lambda value: [value] if isinstance(value, str) else list(value or [])
    versions = re.search(r"^### Framework versions\n\n((?:- .*\n?)+)", card.text, re.MULTILINE)
    return {
        "base": as_list(data.get("base_model")), "datasets": as_list(data.get("datasets")), "tags": set(data.get("tags") or []),
        "links": set(re.findall(r"\]\((https://[^)\s]+)\)", card.text)), "code model": set(re.findall(r"model=\"([^\"]*)\"", card.text)),
        "versions": dict(re.match(r"- (.*?):? (\S+)$", line).groups() for line in versions[1].splitlines()) if versions else {},
        "bibliography": bibliography(card.text),
    }


def assert_all_kept(theirs, ours):
    for key in ("base", "datasets"):
        assert theirs[key] == ours[key]
    for key in ("tags", "links", "code model"):
        assert theirs[key] <= ours[key], key
    assert theirs["versions"].items() <= ours["versions"].items()
    titles = {entry["title"]: entry for entry in ours["bibliography"].values()}
    for entry in theirs["bibliography"].values():
        same = titles[entry["title"]]
        assert same["year"] == entry["year"]
        assert same["author"] == entry["author"]


def card_of_trl(tag, **more):
    from trl.trainer.utils import generate_model_card

    paper = TRAINERS[tag]["paper"]
    given = dict(base_model="owner/base", model_name="out", hub_model_id="me/out", dataset_name="owner/data", tags=["trl", tag, "mine", "hf_jobs"],
                 wandb_url="https://wandb.ai/me/p/runs/1", trackio_url="https://me-t.hf.space?project=p&runs=r&sidebar=collapsed",
                 comet_url="https://www.comet.com/me/p/1", trainer_name=TRAINERS[tag]["name"], trainer_citation=paper.get("citation"),
                 paper_title=paper.get("title"), paper_id=paper.get("id"), template_file="rm_model_card.md" if tag == "reward-trainer" else None)
    return str(generate_model_card(**{**given, **more}))


# TRL prints GRPO's paper on GMPO's cards: it inherits what it should not.
@pytest.mark.parametrize("tag", sorted(TRAINERS.keys() - {"gmpo"}))
@pytest.mark.parametrize("style", ["full", "trl"])
def test_every_fact_of_trls_card_is_in_ours(fixtures, tmp_path, run, tag, style):
    shutil.copytree(fixtures / "full-run/checkpoint-40", tmp_path / "out")
    (tmp_path / "out/training_args.bin").unlink()  # it says sft
    readme = tmp_path / "out/README.md"
    readme.write_text(card_of_trl(tag))
    theirs = facts_of(readme.read_text())
    assert len(theirs["versions"]) == 5 and len(theirs["links"]) >= 6
    # A new card, and TRL's card updated by us.
    assert_all_kept(theirs, facts_of(run("card-gen", tmp_path / "out", "--style", style).stdout.decode()))
    before = readme.read_text()
    run("card-gen", "-i", tmp_path / "out", "--style", style)
    after = readme.read_text()
    assert_all_kept(theirs, facts_of(after))
    body = before.split("\n---\n", 1)[1]
    rest = iter(after.splitlines())  # new sections stand between the old ones
    assert all(line in rest for line in body.splitlines())
    assert "licence:" not in after
    run("card-gen", "-i", tmp_path / "out")
    assert readme.read_text() == after
    run("card-gen", "--check", tmp_path / "out")


def test_the_table_of_trainers_is_trls(run):
    assert len(TRAINERS) >= 20
    known = set(re.search(r"--method takes one of (.*)", run("card-gen", "--base", "a/b", "--method", "?", code=2).stderr.decode())[1].split(", "))
    assert known == TRAINERS.keys() | OLDER
    for tag, trainer in TRAINERS.items():
        text = run("card-gen", "--base", "a/b", "--method", tag).stdout.decode()
        name, paper = trainer["name"], trainer["paper"]
        own_paper = re.search(r"huggingface.co/papers/(\d{4}\.\d{5})", trainer["doc"])
        if "_paper" not in trainer["own"] and own_paper:  # a paper of its own, but the class forgot to say so
            name, paper = trainer["class"].removesuffix("Trainer"), {"id": own_paper[1]}
        assert f"({name})" in text, tag
        assert {"generated_from_trainer", "trl", tag} <= set(ModelCard(text).data.tags)
        cited = bibliography(text)
        assert len(cited) == (2 if paper else 1), tag
        if "id" in paper:
            assert f"https://huggingface.co/papers/{paper['id']})" in text, tag
        if "title" in paper:
            assert paper["title"] in text.replace("\\*", "*"), tag
        if "citation" in paper:
            theirs = next(iter(bibliography(f"```bibtex\n{paper['citation']}\n```").values()))
            ours = next(e for k, e in cited.items() if k != "vonwerra2020trl")
            assert {k: theirs[k] for k in ("title", "author", "year")} == {k: ours[k] for k in ("title", "author", "year")}, tag


@pytest.mark.parametrize("tag", sorted(TRAINERS))
def test_the_method_is_read_from_each_trainers_arguments(tmp_path, run, tag):
    import torch

    trainer = TRAINERS[tag]
    config = trainer["class"].removesuffix("Trainer") + "Config"
    module = importlib.import_module(trainer["module"].removesuffix("_trainer") + "_config")
    arguments = object.__new__(getattr(module, config))  # as a pickle has them: the class and its attributes
    arguments.output_dir, arguments.learning_rate = "out", 0.125
    torch.save(arguments, tmp_path / "training_args.bin")
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    text = run("card-gen", "--explain", tmp_path).stdout.decode()
    assert f"method = {tag}\t(training_args.bin)" in text


def test_the_headlines_are_names_that_trl_logs():
    source = (pathlib.Path(__file__).resolve().parents[2] / "lib/card/metrics.cc").read_text()
    names = set(re.findall(r'\{"([\w/]+)",\s*"[\w ]+",\s*(?:true|false)\}', source)) | {"mean_token_accuracy", "mean_reward"}
    logged = "\n".join(path.read_text() for path in TRL.rglob("*_trainer.py"))
    missing = {name for name in names if not re.search(rf'\["{re.escape(name)}"\]', logged)}
    assert len(names) >= 10 and missing <= {"completion_length", "objective/scores", "objective/rlhf_reward", "objective/kl"}  # of earlier releases


def shown(value):
    """A value as a card writes it; empty if the card does not show it."""
    import enum

    value = value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return str(int(value)) if value == int(value) else repr(float(value))
    return value if isinstance(value, str) else ""


@pytest.mark.parametrize("tag", [None, *sorted(TRAINERS)])
def test_the_defaults_are_those_of_the_class(tmp_path, run, tag):
    import torch
    from transformers import TrainingArguments

    config = TrainingArguments
    if tag is not None:
        module = importlib.import_module(TRAINERS[tag]["module"].removesuffix("_trainer") + "_config")
        config = getattr(module, TRAINERS[tag]["class"].removesuffix("Trainer") + "Config")
    # Pickled without __init__, which would set some of them by the machine it runs on.
    arguments = object.__new__(config)
    arguments.__dict__ = {f.name: f.default for f in dataclasses.fields(config) if f.default is not dataclasses.MISSING}
    arguments.output_dir = "out"
    if tag is not None:
        arguments.bf16 = True  # what None becomes
    torch.save(arguments, tmp_path / "training_args.bin")
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    found = json.loads(run("card-gen", "--json", tmp_path).stdout)["hyperparameters"]
    assert len(found) > 40
    assert [(h["name"], h["value"], h["default"]) for h in found if h["differs"]] == []
    known = {h["name"]: h["value"] for h in found}
    for name in ("learning_rate", "weight_decay", "num_train_epochs", "loss_type", "beta"):
        if shown(arguments.__dict__.get(name)):
            assert float(known[name]) == float(shown(arguments.__dict__[name])) if known[name][0].isdigit() else known[name] == arguments.__dict__[name]


def test_tokens_and_places_of_the_arguments_stay_out(tmp_path, run):
    import torch
    from trl import SFTConfig

    token = "hf_" + "a1B2" * 8
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = object.__new__(SFTConfig)
    arguments.__dict__ = {"output_dir": "/home/me/secret/out", "logging_dir": "secret/logs", "run_name": "secret-run", "hub_token": token, "hub_model_id": "me/published",
                          "chat_template_path": "/home/me/secret/t.jinja", "deepspeed": "secret/ds.json", "fsdp_config": {"secret": 1}, "warmup_steps": 3,
                          "resume_from_checkpoint": "secret/checkpoint-1", "_n_gpu": 1, "extra": "~/secret", "other": f"x {token}", "log_level": "info",
                          "wandb_api_key": "secret", "odd name": "secret", "project": "secret", "warm_start": "C:\\secret"}
    torch.save(arguments, folder / "training_args.bin")
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    result = run("card-gen", folder, "--base", "a/b")
    text = result.stdout.decode() + run("card-gen", "--json", folder).stdout.decode() + run("card-gen", "--explain", folder).stdout.decode()
    assert "secret" not in text and token not in text and "`log_level`" in text and "`warmup_steps` | `3`" in text
    assert b"hub_token: do not publish" in result.stderr
    assert 'model="me/published"' in text


@pytest.fixture
def cache(fixtures, tmp_path):
    """The base model as owner/base in a cache of the Hub."""
    repo = tmp_path / "cache/models--owner--base"
    shutil.copytree(fixtures / "base", repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(COMMIT)
    return tmp_path / "cache"


TRAIN = """
import sys
from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

base, out, lora = sys.argv[1:]
arguments = SFTConfig(output_dir=out, max_steps=2, logging_steps=1, per_device_train_batch_size=1, report_to="none", use_cpu=True, bf16=False,
                      max_length=32, gradient_checkpointing=False, save_strategy="no", disable_tqdm=True)
peft = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM") if lora == "lora" else None
trainer = SFTTrainer(base, arguments, train_dataset=Dataset.from_dict({"text": ["one two three four", "five six seven"] * 2}), peft_config=peft)
trainer.train()
trainer.create_model_card(model_name="out", dataset_name="owner/data", tags="mine")
trainer.save_model()
trainer.save_state()
"""


TRANSFORMERS = """
import sys
import torch
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

base, out, _ = sys.argv[1:]
rows = [{"input_ids": torch.tensor(r), "labels": torch.tensor(r)} for r in ([5, 6, 7, 8], [9, 10, 11, 12])]
arguments = TrainingArguments(output_dir=out, max_steps=4, logging_steps=1, eval_strategy="steps", eval_steps=2, save_strategy="no", report_to="none",
                              use_cpu=True, per_device_train_batch_size=1, disable_tqdm=True, warmup_steps=1)
trainer = Trainer(AutoModelForCausalLM.from_pretrained(base), arguments, train_dataset=rows, eval_dataset=rows)
trainer.train()
trainer.save_model()
trainer.save_state()
trainer.create_model_card(language="en", license="mit", tags="mine", model_name="out", finetuned_from="owner/base", tasks="text-generation",
                          dataset="My data", dataset_tags="owner/data")
"""


def train(base, out, cache, lora="full", script=TRAIN):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "HF_HOME": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run([sys.executable, "-c", script, str(base), str(out), lora], env=environment, capture_output=True)
    assert result.returncode == 0, result.stderr.decode()


def code_of(text):
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.mark.parametrize("lora", ["full", "lora"])
def test_a_run_of_trls_own_trainer(fixtures, tmp_path, run, offline, cache, lora):
    train("owner/base", tmp_path / "out", cache, lora)
    readme = tmp_path / "out/README.md"
    before = readme.read_text()
    assert 'model="None"' in before
    run("card-gen", "-i", tmp_path / "out", "--base", "owner/base", "--dataset", "owner/data", "--license", "mit")
    after = readme.read_text()
    theirs, ours = facts_of(before), facts_of(after)
    assert ours["base"] == ["owner/base"] and ours["datasets"] == ["owner/data"]
    assert theirs["tags"] | {"generated_from_trainer", "trl", "sft"} <= ours["tags"]  # PEFT takes the first away, and "mine"
    assert theirs["versions"].items() <= ours["versions"].items()
    assert theirs["bibliography"] == ours["bibliography"]
    assert "None" not in after and "licence:" not in after
    assert ("lora" in ours["tags"]) == (lora == "lora")
    offline.run(code_of(after), tmp_path, cache)  # TRL's quick start, which now names the folder
    run("card-gen", "-i", tmp_path / "out")
    assert readme.read_text() == after
    lint = run("card-gen", "--lint", readme).stdout
    assert lint == b""


LABELS = {"sft": ["training loss", "token accuracy", "evaluated on", "validation loss"], "dpo": ["accuracy", "margin", "training loss", "evaluated on"],
          "grpo": ["reward", "reward std", "completion length", "KL", "training loss"], "reward": ["accuracy", "margin", "training loss"]}


@pytest.mark.full
@pytest.mark.parametrize("method", sorted(LABELS))
def test_a_run_of_each_kind(tmp_path, run, cache, method):
    """What trl_runs.py trains, as the golden cards were made: the columns come first that tell how the method went."""
    script = pathlib.Path(__file__).with_name("trl_runs.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cache), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([sys.executable, script, method, "owner/base", "tiny"], cwd=tmp_path, env=environment, capture_output=True, check=True)
    run("st-pack", "-q", tmp_path / "tiny/checkpoint-4", "-o", tmp_path / "packed")
    text = run("card-gen", tmp_path / "packed", "--run", tmp_path / "tiny", f"--plot={tmp_path / 'p.svg'}").stdout.decode()
    theirs = facts_of((tmp_path / "tiny/README.md").read_text())
    theirs["code model"] = {"ada/tiny-" + method}  # TRL writes None
    assert_all_kept(theirs, facts_of(text))
    header = re.search(r"^\| step \|.*$", text, re.MULTILINE)[0]
    columns = [c.strip() for c in header.strip("|").split("|")]
    places = [columns.index(label) for label in LABELS[method] if label != "evaluated on"]
    assert places == sorted(places) and ("evaluated on" in columns) == (method in ("sft", "dpo"))
    assert ("Reward over" in (tmp_path / "p.svg").read_text()) == (method == "grpo")
    # Every number of the log's last entry of a column is in its row.
    log = json.loads((tmp_path / "tiny/checkpoint-4/trainer_state.json").read_text())["log_history"]
    last = [entry for entry in log if "loss" in entry][-1]
    for name in {"sft": ["loss", "mean_token_accuracy"], "dpo": ["loss", "rewards/accuracies", "rewards/margins"],
                 "grpo": ["loss", "reward", "reward_std", "completions/mean_length", "kl"], "reward": ["loss", "accuracy", "margin"]}[method]:
        assert f"{last[name]:.4g}" in text.replace("*", ""), name


def test_a_local_base_is_never_shown_and_dead_links_are_mended(fixtures, tmp_path, run, cache):
    shutil.copytree(fixtures / "base", tmp_path / "secret-base")
    train(tmp_path / "secret-base", tmp_path / "out", cache, "lora")
    readme = tmp_path / "out/README.md"
    assert "None" in readme.read_text()
    run("card-gen", "-i", tmp_path / "out")
    text = readme.read_text()
    assert "None" not in text and "secret-base" not in text and "base_model: " not in text
    run("card-gen", "-i", tmp_path / "out", "--base", "owner/base", "--dataset", "owner/data")
    facts = facts_of(readme.read_text())
    assert facts["base"] == ["owner/base"] and "base_model:adapter:owner/base" in facts["tags"] and facts["datasets"] == ["owner/data"]


def test_a_run_of_transformers_own_trainer(tmp_path, run, offline, cache):
    train("owner/base", tmp_path / "out", cache, script=TRANSFORMERS)
    readme = tmp_path / "out/README.md"
    before = readme.read_text()
    theirs = facts_of(before)
    assert theirs["base"] == ["owner/base"] and theirs["datasets"] == ["owner/data"] and "mine" in theirs["tags"] and len(theirs["versions"]) == 4
    fresh = run("card-gen", tmp_path / "out").stdout.decode()
    assert_all_kept(theirs, facts_of(fresh))
    assert ModelCard(fresh).data.license == "mit" and ModelCard(fresh).data.language == ["en"]
    assert "| `warmup_steps` | `1` | `0` |" in fresh
    # Each evaluation in Transformers' table is in ours.
    table = re.search(r"### Training results\n\n((?:\|.*\n)+)", before)[1].splitlines()
    losses = [line.split("|")[-2].strip() for line in table[2:]]
    assert len(losses) == 2
    ours = re.search(r"\| step \|.*\n((?:\|.*\n)+)", fresh)[1].replace("*", "")
    numbers = [float(cell) for cell in re.findall(r"[\d.]+", ours)]
    assert all(any(abs(float(loss) - number) < 0.001 for number in numbers) for loss in losses)
    run("card-gen", "-i", tmp_path / "out")
    after = readme.read_text()
    kept = [line for line in before.split("---\n", 2)[2].splitlines() if line and line != "More information needed"]
    hollow = {"## Model description", "## Intended uses & limitations", "## Training and evaluation data"}
    assert [line for line in after.splitlines() if line in set(kept)] == [line for line in kept if line not in hollow]
    assert "model-index" in ModelCard(after).data.to_dict() or "results: []" in after
    run("card-gen", "--check", tmp_path / "out")
    offline.run(code_of(after), tmp_path, cache)
