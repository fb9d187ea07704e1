# SPDX-License-Identifier: Apache-2.0
"""Writes lib/model/data/ties.txt: which tensors Transformers ties, taken from the installed library.

    python tie_rules.py > ../../lib/model/data/ties.txt

test_ties.py fails when the table differs from what this writes. The lines, their fields separated by tabs:

config TYPE FORM BASE CAUSAL SEQ2SEQ ENCODER SUB=TYPE:DEFAULT…
    A model type. FORM says what tie_word_embeddings is: "yes" or "no" when config.json is silent, "always" or "never" whatever it
    says; "no|text_config" is true when that config inside says so, "unset|…" asks it only when config.json is silent, "sub|…"
    asks nothing else; "key:NAME:yes" reads another key. The classes are those that AutoModel, AutoModelForCausalLM,
    AutoModelForSeq2SeqLM and AutoModelForTextEncoding make. DEFAULT is the flag of a config inside that config.json lacks; of
    "parent" the flag is that of the whole config.
rules ID RULE…
    A rule is TARGET>SOURCE, further spellings behind "|", a condition last ("?KEY:DEFAULT", "!KEY:DEFAULT" for its opposite). "#" is
    a number, "#+1" the one after it, "~2" the first two of the targets' numbers in turn, a last "*weight" any name that ends so. "@PATH"
    names the config whose flag counts from there on; "@PATH=causal,seq2seq:PREFIX" stands for the rules of the class that
    is made from that config.
class NAME TYPE PREFIX ID HEAD
    A model class, the type of its config, the prefix of its base model, its rules, and the spellings of its output head where no rule
    names it.
# unbuilt NAME…
    Classes that can't be built here from a config of defaults; their rules are those of the class attribute.
"""
import importlib
import inspect
import itertools
import os
import pathlib
import re
import signal
import sys
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
if __name__ == "__main__":  # not for tests that import it and talk to a hub of their own
    os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
import torch  # noqa: E402
import transformers  # noqa: E402
from transformers import PreTrainedConfig, PreTrainedModel  # noqa: E402
from transformers.conversion_mapping import get_model_conversion_mapping  # noqa: E402
from transformers.core_model_loading import PrefixChange, WeightConverter, WeightRenaming, apply_renamings, rename_source_key  # noqa: E402
from transformers.models.auto import modeling_auto  # noqa: E402
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES  # noqa: E402

# Rules that __init__ makes from the config, in place of those of the class attribute; the last of the library's comes first.
# The source of each is modeling_….py of the class, what is named here.
BY_HAND = {
    # __init__, share_encoder_decoder_embeddings
    "MarianModel": [f"{side}.embed_tokens.weight>shared.weight?share_encoder_decoder_embeddings:yes" for side in ("encoder", "decoder")],
    "MarianMTModel": ["model.encoder.embed_tokens.weight>model.shared.weight?share_encoder_decoder_embeddings:yes",
                      "model.decoder.embed_tokens.weight>model.shared.weight?share_encoder_decoder_embeddings:yes",
                      "lm_head.weight>model.shared.weight?share_encoder_decoder_embeddings:yes",
                      "lm_head.weight>model.decoder.embed_tokens.weight!share_encoder_decoder_embeddings:yes"],
    # __init__ and get_layers: hybrid layers repeat the blocks of the first ones
    "ZambaModel": ["layers.#.shared_transf>layers.~1.shared_transf"],
    "Zamba2Model": ["layers.#.shared_transformer>layers.~num_mem_blocks:1.shared_transformer"],
    # __init__: a head for each codebook that is not given
    "BarkFineModel": ["lm_heads.#.weight>input_embeds_layers.#+1.weight"],
    # __init__, additional_vocab_size: the additional names are there only then
    "IdeficsForVisionText2Text": ["lm_head.additional_fc.weight>model.embed_tokens.additional_embedding.weight",
                                  "lm_head.weight>model.embed_tokens.weight"],
    # __init__, decoder_bbox_embed_share and decoder_cls_embed_share
    "GroundingDinoForObjectDetection": ["model.decoder.bbox_embed>bbox_embed", "bbox_embed.#>bbox_embed.0?decoder_bbox_embed_share:yes"],
    "MMGroundingDinoForObjectDetection": ["model.decoder.class_embed>class_embed", "model.decoder.bbox_embed>bbox_embed",
                                          "class_embed.#>class_embed.0?decoder_cls_embed_share:yes",
                                          "bbox_embed.#>bbox_embed.0?decoder_bbox_embed_share:yes"],
    # __init__, two_stage and with_box_refine
    "DeformableDetrForObjectDetection": ["class_embed>model.decoder.class_embed?two_stage:no",
                                         "bbox_embed>model.decoder.bbox_embed?with_box_refine:no",
                                         "class_embed.#>class_embed.0", "bbox_embed.#>bbox_embed.0"],
    # __init__, legacy
    **{f"{name}ForMaskedLM": [f"cls.predictions.decoder.weight>deberta.embeddings.word_embeddings.weight?legacy:yes",
                              "cls.predictions.decoder.bias>cls.predictions.bias?legacy:yes"] for name in ("Deberta", "DebertaV2")},
}
# Configs that the rules above are tried on, beside the defaults.
TRIED = {
    "MarianMTModel": [{"share_encoder_decoder_embeddings": False}],
    "ZambaForCausalLM": [{"num_hidden_layers": 13}],
    "Zamba2ForCausalLM": [{"num_mem_blocks": 2}],
    "IdeficsForVisionText2Text": [{"additional_vocab_size": 4}],
    "GroundingDinoForObjectDetection": [{"decoder_bbox_embed_share": False, "two_stage_bbox_embed_share": False}],
    "MMGroundingDinoForObjectDetection": [{"decoder_bbox_embed_share": False, "decoder_cls_embed_share": False, "two_stage_bbox_embed_share": False}],
    "DebertaV2ForMaskedLM": [{"legacy": False}],
}
# Classes that make a part of theirs with an Auto class: prefix, the key of that part's config, and which Auto classes.
PARTS = {
    **dict.fromkeys(("Blip2ForConditionalGeneration", "Blip2Model", "InstructBlipForConditionalGeneration",
                     "InstructBlipVideoForConditionalGeneration"), ("language_model", "text_config", "causal,seq2seq")),
    **dict.fromkeys(("EncoderDecoderModel", "SpeechEncoderDecoderModel", "VisionEncoderDecoderModel"), ("decoder", "decoder", "causal")),
    **dict.fromkeys(("MusicgenForConditionalGeneration", "MusicgenMelodyForConditionalGeneration"), ("text_encoder", "text_encoder", "encoder")),
    "RagModel": ("generator", "generator", "seq2seq"),
    **dict.fromkeys(("RagSequenceForGeneration", "RagTokenForGeneration"), ("rag.generator", "generator", "seq2seq")),
}
# Prefixes under which files of some time hold a part.
OLD_PREFIXES = ("", "model.", "language_model.", "language_model.model.", "model.language_model.", "model.text_model.", "text_model.",
                "text_model.model.", "transformer.", "language_model.transformer.", "llm.", "thinker.")
FLAG = "tie_word_embeddings"
SHRUNK = {"num_hidden_layers": 2, "n_layer": 2, "n_layers": 2, "num_layers": 2, "encoder_layers": 2, "decoder_layers": 2, "num_decoder_layers": 2,
          "num_encoder_layers": 2, "depth": 2, "num_local_experts": 2, "num_experts": 4, "n_routed_experts": 4, "num_blocks": 2}
TOO_LONG = 60  # seconds for one class


def model_classes():
    folder = pathlib.Path(transformers.__file__).parent / "models"
    for path in sorted(folder.glob("*/modeling_*.py")):
        name = f"transformers.models.{path.parent.name}.{path.stem}"
        try:
            module = importlib.import_module(name)
        except ImportError:  # a library that the module needs
            continue
        for cls in vars(module).values():
            if inspect.isclass(cls) and issubclass(cls, PreTrainedModel) and cls.__module__ == name and cls.config_class is not None:
                if not cls.__name__.endswith("PreTrainedModel"):
                    yield cls


def shrink(config, seen):
    """Fewer layers, so that hundreds of models are built in seconds."""
    if id(config) in seen:
        return
    seen.add(id(config))
    for key, value in list(vars(config).items()):
        if isinstance(value, PreTrainedConfig):
            shrink(value, seen)
        elif key in SHRUNK and isinstance(value, int) and value > SHRUNK[key]:
            setattr(config, key, SHRUNK[key])
        elif key in ("layer_types", "layers_block_type", "mlp_layer_types") and isinstance(value, list) and len(value) > 2:
            setattr(config, key, value[:2])


def build(cls, overrides=None):
    """An instance on the meta device, or None."""
    def give_up(*_):
        raise TimeoutError
    signal.signal(signal.SIGALRM, give_up)
    for small in (True, False) if overrides is None else (False,):
        signal.alarm(TOO_LONG)
        try:
            config = cls.config_class(**(overrides or {}))
            if small:
                shrink(config, set())
            with torch.device("meta"):
                instance = cls(config)
            return instance if hasattr(instance, "all_tied_weights_keys") else None
        except Exception:  # noqa: BLE001  whatever a model finds wrong with a config of defaults
            continue
        finally:
            signal.alarm(0)
    return None


def path_of(config, part, depth=0):
    """The keys that lead from a config to one inside it; nothing for a copy of the whole."""
    if config is part:
        return ""
    for key, value in vars(config).items() if depth < 4 else ():
        if isinstance(value, PreTrainedConfig):
            below = path_of(value, part, depth + 1)
            if below is not None:
                return f"{key}.{below}".rstrip(".")
    return None


def plain(pattern):
    """A key of _tied_weights_keys as the table has it."""
    pattern = pattern.removeprefix("^").removesuffix("$").replace(r"\.(?:[^.]+\.)*", ".*")
    pattern = re.sub(r"\\\.\(\?![^)]*\)$", "", pattern).replace(r".(?![0])\d+", ".#").replace(r"\.", ".")
    pattern = re.sub(r"layers\.\*(\w+)$", r"layers.*\1", pattern)
    if re.fullmatch(r"[\w.#*]+", pattern) is None:
        raise ValueError(f"{pattern} is of a new kind")
    return pattern


def own_rules(cls, instance):
    if cls.__name__ in BY_HAND:
        return list(BY_HAND[cls.__name__])
    keys = (cls if instance is None else instance)._tied_weights_keys
    return [f"{plain(target)}>{plain(source)}" for target, source in reversed((keys or {}).items())]


def below(prefix, rule):
    target, source = re.match(r"([^>]*)>(.*)", rule).groups()
    return f"{prefix}{target}>{prefix}{source}"


def rules_of(cls, instance):
    """Rules with the path of the config that owns them before each change of owner."""
    if instance is None:
        return own_rules(cls, None)
    rules = []
    owner = ""
    parts = PARTS.get(cls.__name__)

    def walk(module, prefix):
        nonlocal owner
        if not isinstance(module, PreTrainedModel):
            return
        if parts and prefix == parts[0] + ".":
            rules.append(f"@{parts[1]}={parts[2]}:{prefix}")
            owner = None
            return
        own = own_rules(type(module), module)
        if own:
            path = path_of(instance.config, module.config) or ""
            if path != owner:
                rules.append(f"@{path}")
                owner = path
            rules.extend(below(prefix, rule) for rule in own)
        for name, child in module.named_children():
            walk(child, f"{prefix}{name}.")

    walk(instance, "")
    return rules


def matches(pattern, name):
    """What "#" stands for and what is behind the match; None if there is none."""
    parts, at, number = name.split("."), 0, None
    for wanted in pattern.split("."):
        if wanted.startswith("*"):
            return (number, "." + ".".join(parts[at:])) if at < len(parts) and parts[-1].endswith(wanted[1:]) else None
        if at == len(parts) or not (wanted == parts[at] or wanted == "#" and parts[at].isdigit()):
            return None
        number = parts[at] if wanted == "#" else number
        at += 1
    return number, "".join("." + part for part in parts[at:])


def expand(rules, names, config):
    """The pairs that the table means, as lib/model/tied.cc finds them."""
    names = set(names)

    def source_of(name):
        for rule in rules:
            if rule.startswith("@"):
                continue
            rule, _, condition = re.match(r"([^?!]*)(([?!].*)?)", rule).groups()
            if condition:
                key, default = condition[1:].split(":")
                if getattr(config, key, default == "yes") != (condition[0] == "?"):
                    continue
            target, source = rule.split("|")[0].split(">")
            found = matches(target, name)
            if found is None:
                continue
            numbers = sorted({int(m[0]) for m in (matches(target, n) for n in names) if m and m[0]})

            def fill(part):
                if part.startswith("#"):
                    return str(int(found[0]) + int(part[2:] or 0))
                if part.startswith("~"):
                    key, _, default = part[1:].partition(":")
                    turn = int(key) if key.isdigit() else getattr(config, key, int(default))
                    return str(numbers[numbers.index(int(found[0])) % turn])
                return part

            source = ".".join(fill(part) for part in re.sub(r"(~\w+):", r"\1@", source).replace("@", ":").split(".") if not part.startswith("*")) + found[1]
            if source != name and source in names:
                return source
        return None

    pairs = {}
    for name in names:
        kept = source_of(name)
        while kept and source_of(kept):
            kept = source_of(kept)
        if kept:
            pairs[name] = kept
    return pairs


def differences(cls, instance, rules):
    """What the library ties and the rules don't, which must be nothing."""
    names = list(instance.state_dict())
    wanted = {k: v for k, v in instance.all_tied_weights_keys.items() if k in names and v in names}
    on = [rule for rule in rules if "=" not in rule or ">" in rule]
    found = expand(on, names, instance.config)
    if PARTS.get(cls.__name__):
        prefix = PARTS[cls.__name__][0] + "."
        wanted = {k: v for k, v in wanted.items() if not k.startswith(prefix)}
    missing = {k: v for k, v in wanted.items() if found.get(k) != v}
    return [f"{cls.__name__}: {rules} lack {dict(itertools.islice(missing.items(), 4))}"] if missing else []


def spellings(instance, rules):
    """Adds the names under which files hold what a rule names, where the library renames it at load."""
    conversions = get_model_conversion_mapping(instance)
    if not conversions:
        return rules
    renamings = [c for c in conversions if isinstance(c, WeightRenaming)]
    converters = [c for c in conversions if isinstance(c, WeightConverter)]
    own = get_model_conversion_mapping(instance, add_legacy=False)
    back = [c.reverse_transform() for c in own[::-1] if not isinstance(c, PrefixChange)]
    back = [c for c in back if isinstance(c, WeightRenaming)]
    meta = instance.state_dict()

    def in_files(name):
        if name not in meta:
            return [name]
        parts = name.split(".")
        tried = [name, apply_renamings(name, back)]
        tried += [prefix + ".".join(parts[at:]) for at in range(max(1, len(parts) - 1)) for prefix in OLD_PREFIXES]
        kept = []
        for other in tried:
            try:
                loaded, _ = rename_source_key(other, renamings, converters, instance.base_model_prefix, meta)
            except Exception:  # noqa: BLE001
                continue
            if (loaded == name or other == name) and other not in kept:
                kept.append(other)
        prefix = instance.base_model_prefix + "."  # lib/model/tie_table.cc adds what differs by it
        return [other for i, other in enumerate(kept) if i == 0 or not any(other in (prefix + k, k.removeprefix(prefix)) for k in kept[:i])]

    out = []
    for rule in rules:
        if rule.startswith("@") or re.search("[#~*]", rule):
            out.append(rule)
            continue
        rule, condition = re.match(r"([^?!]*)(.*)", rule).groups()
        target, source = rule.split(">")
        out.append("|".join(f"{t}>{s}" for t in in_files(target) for s in in_files(source)) + condition)
    return out


def head_of(instance, rules):
    """The module of the output head, as memory and files call it, unless a rule names it."""
    try:
        head = instance.get_output_embeddings()
    except Exception:  # noqa: BLE001
        return "-"
    if head is None:
        return "-"
    name = next((name for name, module in instance.named_modules() if module is head), "")
    if not name or not any(key.startswith(name + ".") for key in instance.state_dict()):
        return "-"
    if any(rule.startswith("@") or matches(rule.split(">")[0], name + ".weight") for rule in rules):
        return "-"
    called = [rule.split(">")[0].removesuffix(".weight") for rule in spellings(instance, [f"{name}.weight>-"])[0].split("|")]
    return "|".join(dict.fromkeys(called))


def flag(config):
    return bool(getattr(config, FLAG, False))


def form_of(cls):
    """How a config class settles tie_word_embeddings, found by trying; and the configs inside it."""
    def with_(value=None, sub=None, of_sub=None):
        settings = {} if value is None else {FLAG: value}
        if sub:
            inside = {"model_type": default.__dict__[sub].model_type}
            settings[sub] = inside if of_sub is None else {**inside, FLAG: of_sub}
        try:
            return cls.from_dict(settings)
        except Exception:  # noqa: BLE001  not a value that the class takes
            return None

    default = cls()
    subs = {}
    form = {True: "yes", False: "no"}[flag(default)]
    yes, no = with_(True), with_(False)
    for sub, inside in vars(default).items():
        if isinstance(inside, PreTrainedConfig) and sub in (getattr(cls, "sub_configs", None) or {}):
            if getattr(inside, FLAG, None) is None and not flag(inside) and not getattr(inside, "model_type", ""):
                continue
            told = with_(True, sub)
            subs[sub] = f"{inside.model_type}:{'yes' if flag(inside) else 'no'}"
            if told and flag(getattr(told, sub)) and not flag(getattr(with_(False, sub) or told, sub)):
                subs[sub] = f"{inside.model_type}:parent"
            on, off, off_on = with_(False, sub, True), with_(False, sub, False), with_(None, sub, True)
            if on and off and flag(on) and not flag(off):
                silent = with_(None, sub, False)
                own = "sub" if not flag(with_(True, sub, False)) else "yes" if silent is not None and flag(silent) else "no"
                form = f"{own}|{sub}"
            elif off_on and off and flag(off_on) and not flag(default) and not flag(on or default):
                form = "unset|" + sub
    if "|" not in form:
        if yes is not None and no is not None and flag(yes) == flag(no):
            form = "always" if flag(yes) else "never"
        elif yes is None and no is not None:
            form = "never"
    if hasattr(default, "tie_codebooks_embeddings"):
        form = f"key:tie_codebooks_embeddings:{'yes' if default.tie_codebooks_embeddings else 'no'}"
    return form, subs


def first(names):
    return "-" if names is None else names if isinstance(names, str) else names[0]


def table():
    lines, unbuilt, ids, ruled, wrong, configs = [], [], {}, [], [], {}
    for cls in model_classes():
        instance = build(cls)
        rules = rules_of(cls, instance)
        head = "-"
        if instance is None:
            unbuilt += [cls.__name__] if rules else []
        else:
            wrong += differences(cls, instance, rules)
            rules = spellings(instance, rules)
            head = head_of(instance, rules)
        for overrides in TRIED.get(cls.__name__, ()):
            other = build(cls, overrides)
            wrong += [f"{cls.__name__} can't be built with {overrides}"] if other is None else differences(cls, other, rules_of(cls, other))
        if rules or head != "-":
            configs[cls.config_class.model_type or "-"] = cls.config_class
            identity = ids.setdefault("\t".join(rules), len(ids) + 1) if rules else 0
            ruled.append((cls.__name__, cls.config_class.model_type or "-", cls.base_model_prefix or "-", identity, head))
    if wrong:
        raise ValueError("\n".join(wrong))
    names = {line[0] for line in ruled}
    autos = [modeling_auto.MODEL_MAPPING_NAMES, modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
             modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, modeling_auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES]
    for kind in sorted(CONFIG_MAPPING_NAMES | configs):
        try:
            form, subs = form_of(configs.get(kind) or CONFIG_MAPPING[kind])
        except Exception:  # noqa: BLE001  a config that needs a library or has no defaults
            form, subs = "no", {}
        made = [first(auto.get(kind)) for auto in autos]
        asked = {form.partition("|")[2]} | {r[1:].partition("=")[0].split(".")[0] for line in ruled if line[1] == kind
                                            for r in rules_by_id(ids, line[3]) if r.startswith("@")}
        inside = [f"{sub}={what}" for sub, what in sorted(subs.items()) if sub in asked]
        if form == "no" and not inside and made[0] == "-":
            continue
        lines.append("\t".join(["config", kind, form, *(name if i == 0 or name in names else "-" for i, name in enumerate(made)), *inside]))
    lines += [f"rules\t{identity}\t{rules}" for rules, identity in ids.items()]
    lines += ["\t".join(map(str, ("class", *line))) for line in sorted(ruled)]
    top = f"# Which tensors Transformers {transformers.__version__} ties, written by tests/interop/tie_rules.py, which says how to read it.\n"
    return top + "\n".join(lines) + "".join(f"\n# unbuilt {name}" for name in sorted(unbuilt)) + "\n"


def rules_by_id(ids, identity):
    return next((rules.split("\t") for rules, other in ids.items() if other == identity), [])


if __name__ == "__main__":
    sys.stdout.write(table())
