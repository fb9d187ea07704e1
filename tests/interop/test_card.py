# SPDX-License-Identifier: Apache-2.0
"""The reference libraries read the cards we write with the same values, the snippets in them run, and cards that those libraries
write are fixed and kept."""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from huggingface_hub import ModelCard, metadata_load

VENV = pathlib.Path(sys.prefix)


def front_matter(text):
    return re.match(r"---\n(.*?)\n---\n", text, re.DOTALL).group(1)


def hostile_strings(count):
    rng = random.Random(7)
    fixed = ["no", "Yes", "1e5", "1e-05", "0o7", "007", "1_000", "12:30", "2024-01-15", "=", "<<", "true", "null", "~", "0x1f", ".inf", "1.", "+1",
             "", " lead", "trail ", "a: b", "a #b", "- x", "[a]", "{a: b}", "*x", "&x", "!x", "@x", "`x", "%x", "'q'", '"q"', "\\", "a\nb", "\t", "---",
             "...", "ü", "日本", "😀", "\u0085", "\u2028", "\ufeff", "\u00a0", "y", "n", "a:", ":", "?", "x" * 300]
    alphabet = list("abz019 :#-[]{}*&!@%`'\"\\|>?,~=._/+") + ["\n", "ü", "\u2028", "no", "e5"]
    return fixed + ["".join(rng.choice(alphabet) for _ in range(rng.randint(1, 12))) for _ in range(count)]


# true, false and whole numbers keep their type with --set; that is documented and not text.
def is_typed(text):
    return text in ("true", "false") or re.fullmatch(r"0|[1-9][0-9]{0,14}", text)


@pytest.fixture
def hostile_card(run):
    strings = [s for s in hostile_strings(400) if not is_typed(s)]
    arguments = [a for i, s in enumerate(strings) for a in ("--set", f"k{i}={s}")]
    text = run("card-gen", "--base", "a/b", *arguments).stdout.decode()
    return strings, text


def test_any_string_survives_pyyaml_and_huggingface_hub(hostile_card, tmp_path):
    strings, text = hostile_card
    data = yaml.safe_load(front_matter(text))
    assert [data[f"k{i}"] for i in range(len(strings))] == strings
    card = ModelCard(text).data.to_dict()
    assert [card[f"k{i}"] for i in range(len(strings))] == strings
    (tmp_path / "README.md").write_text(text)
    assert metadata_load(tmp_path / "README.md")["base_model"] == "a/b"


def test_any_string_survives_js_yaml(hostile_card, tmp_path):
    if not shutil.which("node") or not (VENV / "node_modules/js-yaml").is_dir():
        pytest.skip("no node or js-yaml")
    strings, text = hostile_card
    (tmp_path / "card.yaml").write_text(front_matter(text))
    script = "const y=require(process.argv[1]),f=require('fs');console.log(JSON.stringify(y.load(f.readFileSync(process.argv[2],'utf8'))))"
    out = subprocess.run(["node", "-e", script, str(VENV / "node_modules/js-yaml"), tmp_path / "card.yaml"], capture_output=True, check=True).stdout
    data = json.loads(out)
    assert [data[f"k{i}"] for i in range(len(strings))] == strings


def test_the_linter_knows_which_scalars_the_two_readers_take_for_different_things(tmp_path, run):
    if not shutil.which("node") or not (VENV / "node_modules/js-yaml").is_dir():
        pytest.skip("no node or js-yaml")
    rng = random.Random(11)
    scalars = ["no", "Yes", "ON", "oFF", "1e5", "1.0e-05", "1.5e3", "0o7", "007", "089", "1_000", "1_0.5", "12:30", "1:30:00.5", "190:20:30", "12:99",
               "2024-01-15", "=", "true", "TRUE", "tRUE", "null", "~", "0x1f", "0b101", "0b12", "-.inf", ".nan", ".5", "1.", "+1", "-1.5", "1.5.2", "v1",
               "1-2", "1e", "e5", "y", "n", ".", "-", "0", "00", "-0", "1__0", "_1", "1.e5", "1.e+5", ".5e1", ".5e+1"]
    scalars += ["".join(rng.choice("0123456789._:+-eExob") for _ in range(rng.randint(1, 6))) for _ in range(600)]
    script = ("const y=require(process.argv[1]),f=require('fs');console.log(JSON.stringify(f.readFileSync(process.argv[2],'utf8').split('\\n').map(s=>{"
              "try{const v=y.load('a: '+s).a;return v===null?'NoneType':v instanceof Date?'date':typeof v}catch(e){return 'error'}})))")
    (tmp_path / "scalars").write_text("\n".join(scalars))
    ours = {"boolean": "bool", "number": "number", "string": "str", "NoneType": "NoneType", "date": "date", "object": "map", "error": "error"}
    hub = [ours[t] for t in json.loads(subprocess.run(["node", "-e", script, str(VENV / "node_modules/js-yaml"), tmp_path / "scalars"],
                                                      capture_output=True, check=True).stdout)]

    def python(text):
        try:
            kind = type(yaml.safe_load(f"a: {text}")["a"]).__name__
        except (yaml.YAMLError, ValueError, TypeError):
            return "error"
        return {"int": "number", "float": "number", "datetime": "date", "dict": "map", "list": "list"}.get(kind, kind)

    # Only what both read is compared; what one of them refuses is another test's matter.
    both = [(s, h, python(s)) for s, h in zip(scalars, hub) if h in ("bool", "number", "str", "NoneType", "date") and python(s) not in ("error", "map", "list")]
    card = tmp_path / "README.md"
    card.write_text("---\n" + "".join(f"k{i}: {s}\n" for i, (s, _, _) in enumerate(both)) + "---\n")
    found = json.loads(run("card-gen", "--lint", "--json", card).stdout)["findings"]
    flagged = {int(f["line"]) - 2 for f in found if f["rule"] == "CG-DIALECT"}
    wrong = [(s, h, p, i in flagged) for i, (s, h, p) in enumerate(both) if (h != p) != (i in flagged)]
    assert len(both) > 300 and not wrong


def test_front_matter_that_one_of_the_two_readers_refuses_is_malformed(tmp_path, run):
    if not shutil.which("node") or not (VENV / "node_modules/js-yaml").is_dir():
        pytest.skip("no node or js-yaml")
    values = ["=", "<<", "[=]", "[<<]", "'='", "-", "[-]", "@b", "`b", "%b", "*b", "&", "!", "!x b", "!x [b]", "!!int x", "!!omap [b]", "!!str 1", "b: c",
              "- b", "[b", "{b", "'b", '"b', "b]", "[b]]", "{}b", "[,b]", "[b,,c]", "[b,]", "{b, c}", '"\\q"', '"\\x1"', "'b'c", "'b' c", "|b", "|0",
              "|2\n  x", "|\n    \n  x", "\tb", "b\tc", "b\t# c", "[b,\tc]", "'b\tc'", "'b'\t", "b # c\td", "|\n  b\tc", "|\t# c\n  b", "b#\tc",
              "2024-02-30", "2024-2-30 1:02:03", "2024-01-15 24:00:00", "2024-01-15T10:00:00+24:00", "2024-01-15T10:00:00Z", "0000-01-01", "0x_", "-0b_",
              "0x", "08:30", "b\n c: d", "b\n...\nc: d", "b\n--- c", "\x01", "\x7f", "b\nb", "b\na: c"]
    texts = [f"a: {value}\n" for value in values]
    texts += ["<<: b\n", "<<:\n", "<<: [b]\n", "<<: {b: c}\n", "<<: [{b: c}]\n", "<<: [{b: c}, d]\n", "'<<': b\n", "=: b\n", "a\t: b\n", "\ta: b\n",
              "[a]: b\n", "2024-02-30: b\n", " a: b\nc: d\n", "a:\n  b: c\n d: e\n", "a:\n- b\n c\n"]
    script = ("const y=require(process.argv[1]),f=require('fs');console.log(JSON.stringify(JSON.parse(f.readFileSync(0,'utf8')).map(s=>{"
              "try{y.load(s);return true}catch(e){return false}})))")
    hub = json.loads(subprocess.run(["node", "-e", script, str(VENV / "node_modules/js-yaml")], input=json.dumps(texts), text=True, capture_output=True,
                                    check=True).stdout)

    def python(text):
        try:
            yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            return False
        return True

    card, wrong = tmp_path / "README.md", []
    for text, accepted in zip(texts, hub):
        card.write_text(f"---\n{text}---\n")
        code = run("card-gen", "--lint", card, code=None).returncode
        if (code == 4) == (accepted and python(text)):
            wrong.append((text, accepted, python(text), code))
    assert not wrong


def test_fences_are_where_huggingface_hub_finds_them(tmp_path, run):
    for text in ("---\nlicense: nope\n---", "---\nlicense: nope\n--- \t\nx\n", "---\r\nlicense: nope\r\n--- \r\nx\r\n", "---\nlicense: nope\n---\r",
                 "--- \nlicense: nope\n---\n", "---\nlicense: nope\n ---\n", "---\nlicense: nope\n---x\n", "---\n---\nlicense: nope\n---\n"):
        (tmp_path / "README.md").write_bytes(text.encode())
        found = json.loads(run("card-gen", "--lint", "--json", tmp_path / "README.md", code=None).stdout)["findings"]
        assert ("CG-LICENSE" in [f["rule"] for f in found]) == (ModelCard(text).data.to_dict().get("license") == "nope"), text


@pytest.mark.parametrize("name", ["full-run/checkpoint-40", "lora-run/checkpoint-40", "sharded", "tied", "base"])
@pytest.mark.parametrize("style", ["full", "trl", "minimal"])
def test_cards_of_fixtures_are_read_and_judged_sound(fixtures, run, name, style):
    text = run("card-gen", fixtures / name, "--base", "owner/base", "--license", "mit", "--dataset", "owner/data", "--style", style).stdout.decode()
    data = ModelCard(text).data
    assert data.base_model == "owner/base" and data.license == "mit" and data.datasets == ["owner/data"]
    assert data.to_dict()["base_model_relation"] == ("adapter" if "lora" in name else "finetune")
    assert data.library_name == ("peft" if "lora" in name else "transformers")
    lint = subprocess.run([os.environ["BIN_DIR"] + "/card-gen", "--lint", "-"], input=text.encode(), capture_output=True)
    assert lint.returncode == 0 and lint.stdout == b""


def test_evaluation_results_are_read_as_eval_results(tmp_path, run):
    results = {"results": {"arc_easy": {"acc,none": 0.25, "acc_stderr,none": 0.01}, "gsm8k": {"exact_match,strict-match": 1e-05}}}
    (tmp_path / "r.json").write_text(json.dumps(results))
    text = run("card-gen", "--base", "a/b", "--name", "m", "--eval", tmp_path / "r.json").stdout.decode()
    found = {(r.dataset_type, r.metric_type): r.metric_value for r in ModelCard(text).data.eval_results}
    assert found == {("arc_easy", "acc"): 0.25, ("gsm8k", "exact_match"): 1e-05}


@pytest.fixture
def run_snippet(offline):
    def call(text, where, cache):
        code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
        said = offline.run(code, where, cache)
        assert said.strip() != "" or "decode" in code
        return said

    return call


@pytest.mark.parametrize("chat", [True, False])
def test_the_snippet_of_a_full_model_runs_offline(fixtures, tmp_path, run, run_snippet, chat):
    shutil.copytree(fixtures / "full-run/checkpoint-40", tmp_path / "model")
    if not chat:
        (tmp_path / "model/chat_template.jinja").unlink()
    text = run("card-gen", tmp_path / "model").stdout.decode()
    assert ("messages" in text) == chat
    run_snippet(text, tmp_path, tmp_path / "cache")


def test_the_snippet_of_a_run_runs_offline(fixtures, tmp_path, run, run_snippet):
    shutil.copytree(fixtures / "full-run", tmp_path / "full-run")
    text = run("card-gen", tmp_path / "full-run").stdout.decode()
    assert "# full-run\n" in text
    run_snippet(text, tmp_path, tmp_path / "cache")


def test_the_snippet_of_an_adapter_runs_offline(fixtures, tmp_path, run, run_snippet):
    shutil.copytree(fixtures / "lora-run/checkpoint-40", tmp_path / "adapter")
    repo = tmp_path / "cache/models--owner--base"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(fixtures / "base", repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    text = run("card-gen", tmp_path / "adapter", "--base", "owner/base").stdout.decode()
    run_snippet(text, tmp_path, tmp_path / "cache")


def test_the_snippets_of_an_encoder_decoder_run_offline(fixtures, tmp_path, run, run_snippet):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "cache/models--owner--t5"
    shutil.copytree(fixtures / "base", repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    model = T5ForConditionalGeneration(T5Config(vocab_size=320, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=2))
    model.save_pretrained(repo / "snapshots" / commit)
    tokenizer = AutoTokenizer.from_pretrained(fixtures / "base")
    answer = model.eval().generate(**tokenizer("The first rule of a laboratory notebook is", return_tensors="pt"), max_new_tokens=128)
    expected = tokenizer.decode(answer[0], skip_special_tokens=True).strip()
    shutil.copytree(repo / "snapshots" / commit, tmp_path / "model")
    text = run("card-gen", tmp_path / "model").stdout.decode()
    assert run_snippet(text, tmp_path, tmp_path / "cache").strip() == expected
    get_peft_model(model, LoraConfig(r=2, target_modules=["q"], task_type="SEQ_2_SEQ_LM")).save_pretrained(tmp_path / "adapter")
    text = run("card-gen", tmp_path / "adapter", "--base", "owner/t5").stdout.decode()
    assert run_snippet(text, tmp_path, tmp_path / "cache").strip() == expected


@pytest.mark.parametrize("template", [
    None,
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{{- bos_token }}\n{%- for message in messages %}\n  {{ message.role }}: {{ message[\"content\"] }}\n{% endfor %}\n",
    "{% for m in messages %}\n  {# a word #}\n<{{ m.role -}}  \n>\n\n{{ m.content + '\\t\\'' }}\n  {% endfor %}\n{% if add_generation_prompt %}\nA:\n{% endif %}\n\n",
    "{ {{ bos_token }} }{% for m in messages -%}  \n x{{- m['content'] }}\n{%- endfor %}",
])
def test_the_rendered_question_is_what_the_tokenizer_writes(fixtures, tmp_path, run, template):
    from transformers import AutoTokenizer

    shutil.copytree(fixtures / "base", tmp_path / "model")
    if template is not None:
        (tmp_path / "model/chat_template.jinja").write_text(template)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    question = "Which three habits make a good laboratory notebook?"
    expected = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True)
    facts = json.loads(run("card-gen", "--json", tmp_path / "model").stdout)["facts"]
    assert next(f["value"] for f in facts if f["name"] == "chat_example") == expected


def tiny(kind, **more):
    import transformers

    common = dict(vocab_size=320, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, pad_token_id=0)
    config = getattr(transformers, kind[0])(**{**common, **more})
    return getattr(transformers, kind[1])(config)


@pytest.mark.parametrize("kind, more, task", [
    (("LlamaConfig", "LlamaForSequenceClassification"), {"num_labels": 1}, "text-classification"),
    (("BertConfig", "BertForTokenClassification"), {}, "token-classification"),
    (("BertConfig", "BertForQuestionAnswering"), {}, "question-answering"),
    (("BertConfig", "BertForMaskedLM"), {}, "fill-mask"),
    (("BertConfig", "BertModel"), {}, "feature-extraction"),
])
def test_the_snippets_of_other_tasks_run_offline(fixtures, tmp_path, run, run_snippet, kind, more, task):
    shutil.copytree(fixtures / "base", tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    tiny(kind, **more).save_pretrained(tmp_path / "model")
    if task == "fill-mask":
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
        tokenizer.add_special_tokens({"mask_token": tokenizer.unk_token or tokenizer.eos_token})
        tokenizer.save_pretrained(tmp_path / "model")
    text = run("card-gen", tmp_path / "model", "--base", "a/b").stdout.decode()
    assert ModelCard(text).data.pipeline_tag == task
    run_snippet(text, tmp_path, tmp_path / "cache")


def test_the_snippet_of_a_reward_adapter_runs_offline(fixtures, tmp_path, run, run_snippet):
    from peft import LoraConfig, get_peft_model

    repo = tmp_path / "cache/models--owner--base"
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(fixtures / "base", repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs/main").write_text(commit)
    from transformers import LlamaForSequenceClassification

    model = LlamaForSequenceClassification.from_pretrained(fixtures / "base", num_labels=1)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="SEQ_CLS")).save_pretrained(tmp_path / "adapter")
    text = run("card-gen", tmp_path / "adapter", "--base", "owner/base").stdout.decode()
    assert "num_labels=1" in text
    assert "logits" in run_snippet(text, tmp_path, tmp_path / "cache")


def test_every_snippet_compiles_and_names_what_is_there(tmp_path, run):
    """Tasks whose models are too large to make here: the code is Python, the classes and pipelines exist."""
    import ast

    import transformers
    from transformers.pipelines import SUPPORTED_TASKS

    seen = 0
    tasks = [line for line in (pathlib.Path(__file__).resolve().parents[2] / "lib/card/data/pipeline_tags.txt").read_text().split("\n") if line and line[0] != "#"]
    for task in tasks:
        text = run("card-gen", "--base", "a/b", "--repo", "me/it", "--pipeline-tag", task).stdout.decode()
        for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            seen += 1
            names = [a.name for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom) and node.module == "transformers" for a in node.names]
            assert names and all(hasattr(transformers, name) for name in names), code
            for call in re.findall(r"pipeline\(\"([^\"]*)\"", code):
                assert call in SUPPORTED_TASKS
            assert "None" not in code and "me/it" in code
    assert seen >= 12


@pytest.mark.parametrize("files, lines", [
    ("full-run/checkpoint-40", ["vllm serve me/it", "python convert_hf_to_gguf.py FOLDER --outfile model.gguf", "llama-server -m model.gguf"]),
    ("lora-run/checkpoint-40", ["vllm serve a/b --enable-lora --max-lora-rank 8 --lora-modules adapter=me/it",
                                "python convert_lora_to_gguf.py FOLDER --outfile adapter.gguf", "llama-server -m base.gguf --lora adapter.gguf"]),
    ("formats/tiny.gguf", ["llama-server -hf me/it"]),
])
def test_the_lines_for_servers(fixtures, tmp_path, run, files, lines):
    (tmp_path / "x").mkdir()
    source = fixtures / files
    shutil.copytree(source, tmp_path / "x", dirs_exist_ok=True) if source.is_dir() else shutil.copy(source, tmp_path / "x")
    text = run("card-gen", tmp_path / "x", "--base", "a/b", "--repo", "me/it").stdout.decode()
    shell = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert shell == lines


def test_a_card_of_peft_is_mended_and_kept(fixtures, tmp_path, run):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(fixtures / "base")
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")).save_pretrained(tmp_path / "out")
    readme = tmp_path / "out/README.md"
    before = ModelCard.load(readme)
    assert "[More Information Needed]" in before.text
    run("card-gen", "-i", tmp_path / "out", "--base", "owner/base", "--license", "mit")
    after = ModelCard.load(readme)
    assert str(fixtures) not in readme.read_text() and "[More Information Needed]" not in after.text
    assert after.data.base_model == "owner/base" and after.data.library_name == "peft"
    good = {t for t in before.data.tags if not t.startswith("base_model:adapter:")}
    assert good | {"base_model:adapter:owner/base", "lora", "transformers"} <= set(after.data.tags)
    # Nobody wrote anything into it: only the template's headings that facts fill remain.
    headings = re.findall(r"^#+ .*$", after.text.split("<!-- card-gen:begin")[0], re.MULTILINE)
    assert headings == ["# out", "## Model Details", "### Model Description", "### Framework versions"]
    once = readme.read_bytes()
    run("card-gen", "-i", tmp_path / "out")
    assert readme.read_bytes() == once
    run("card-gen", "--check", tmp_path / "out")
    assert run("card-gen", "--lint", readme).stdout == b""


def test_peft_saves_again_over_our_card(fixtures, tmp_path, run):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(fixtures / "base"), LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "out")
    readme = tmp_path / "out/README.md"
    readme.unlink()
    run("card-gen", "-i", tmp_path / "out", "--base", "owner/base", "--license", "mit", "--tag", "mine")
    readme.write_text(readme.read_text().replace("# out\n", "# out\n\nPeople wrote this.\n"))
    ours = readme.read_text()
    model.save_pretrained(tmp_path / "out")  # writes the base's path, other tags, its version
    assert str(fixtures) in readme.read_text()
    run("card-gen", "-i", tmp_path / "out")
    text = readme.read_text()
    before, after = ModelCard(ours), ModelCard(text)
    assert str(fixtures) not in text and after.data.base_model == "owner/base" and "People wrote this." in text
    assert set(before.data.tags) <= set(after.data.tags)
    assert text.count("PEFT") == ours.count("PEFT")
    run("card-gen", "-i", tmp_path / "out")
    assert readme.read_text() == text


def test_a_card_of_transformers_is_mended_and_kept(fixtures, tmp_path, run):
    from transformers.modelcard import TrainingSummary

    shutil.copytree(fixtures / "full-run/checkpoint-40", tmp_path / "out")
    summary = TrainingSummary(model_name="tuned", language="en", license="mit", finetuned_from="owner/base", tasks=["text-generation"],
                              tags=["mine"], hyperparameters={"learning_rate": 2e-5}, eval_results={"Loss": 2.5}, eval_lines=[])
    readme = tmp_path / "out/README.md"
    readme.write_text(summary.to_model_card())
    before = metadata_load(readme)
    run("card-gen", "-i", tmp_path / "out")
    after, text = metadata_load(readme), readme.read_text()
    assert "More information needed" not in text and "learning_rate: 2e-05" in text
    headings = re.findall(r"^#+ .*$", text.split("<!-- card-gen:begin")[0], re.MULTILINE)
    assert headings == ["# tuned", "## Training procedure", "### Training hyperparameters", "### Framework versions"]
    assert all(after[k] == v for k, v in before.items() if k not in ("tags",))
    assert set(before["tags"]) <= set(after["tags"])
    run("card-gen", "--check", tmp_path / "out")


def test_the_hints_of_the_template_are_known(run, tmp_path):
    import huggingface_hub
    from huggingface_hub import ModelCardData

    template = pathlib.Path(huggingface_hub.__file__).parent / "templates/modelcard_template.md"
    card = ModelCard.from_template(ModelCardData(tags=["a"]), template_path=template)
    (tmp_path / "README.md").write_text(str(card))
    run("card-gen", "--lint", "--fix", tmp_path / "README.md", code=None)
    # All except the title and the template's own hints, which don't mark a gap.
    left = [line for line in ModelCard.load(tmp_path / "README.md").text.splitlines() if line.strip()]
    assert [line for line in left if not line.startswith("<!--")] == ["# Model Card for Model ID"]


@pytest.mark.parametrize("words", ["Ask Anna.", "<!-- ask Anna -->", "- **Developed by:** Anna", "```\n# not a heading\n```", "| a |\n|---|"])
def test_people_who_wrote_into_the_template_keep_their_words(run, tmp_path, words):
    import huggingface_hub
    from huggingface_hub import ModelCardData

    template = pathlib.Path(huggingface_hub.__file__).parent / "templates/modelcard_template.md"
    card = str(ModelCard.from_template(ModelCardData(license="mit"), template_path=template))
    (tmp_path / "README.md").write_text(card.replace("### Direct Use\n", f"### Direct Use\n\n{words}\n"))
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    run("card-gen", "-i", tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert f"## Uses\n" in text and f"### Direct Use\n\n{words}\n" in text and "## Glossary" not in text


def test_keys_that_people_wrote_survive_the_library_and_us(fixtures, tmp_path, run):
    shutil.copytree(fixtures / "full-run/checkpoint-40", tmp_path / "out")
    (tmp_path / "out/README.md").write_text("---\nmeta: hello\n---\nThis is a model card\n")
    run("card-gen", "-i", tmp_path / "out", "--base", "a/b")
    card = ModelCard.load(tmp_path / "out/README.md")
    assert card.data.to_dict()["meta"] == "hello" and "This is a model card" in card.text
    card.save(tmp_path / "out/README.md")  # the library writes the front matter anew
    run("card-gen", "-i", tmp_path / "out", code=0)
    assert ModelCard.load(tmp_path / "out/README.md").data.to_dict()["meta"] == "hello"


def test_the_curve_is_drawn(fixtures, tmp_path, run):
    if not shutil.which("rsvg-convert"):
        pytest.skip("no rsvg-convert")
    run("card-gen", fixtures / "full-run/checkpoint-40", f"--plot={tmp_path}/loss.svg")
    png = subprocess.run(["rsvg-convert", "-b", "white", tmp_path / "loss.svg"], capture_output=True, check=True).stdout
    import struct
    import zlib

    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", png[16:24])
    data, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        data += png[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    assert width > 300 and height > 200
    assert len(set(zlib.decompress(data))) > 20  # axes, text and lines, not one colour
