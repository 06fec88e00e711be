"""Makes Hugging Face checkpoints of many kinds that users have; tiny, random.

Settings: vocab, a file. Requests: {"do": "list"} names the kinds; {"do":
"make", name, directory, texts, pairs} saves one, and replies with what the
library itself computes: `outputs`, a file of its class's outputs, `ids` of the
texts, `pairs` and their `segments` with special tokens. `expect` is "" where
ours must do the same, else a word that our message must hold: an error
("!word") or a warning ("word"); "?" where nothing is expected.
"""

import json
import pathlib
import shutil

from hf_kinds_tokenizers import tokenizers
from serve import serve

SIZE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 40,
}  # fmt: skip
NAMES = {"id2label": {0: "yes", 1: "no", 2: "maybe"},
         "label2id": {"yes": 0, "no": 1, "maybe": 2}}  # fmt: skip
NARROW, WIDE = {"embedding_size": 16}, {"embedding_size": 32}


def models():
    """Returns name -> (class, settings, store, expect)."""
    found = {}

    def add(cls, store="safetensors", expect="", name="", **settings):
        shown = ",".join(f"{k}={v}" for k, v in settings.items())[:70]
        found[f"{name or cls} {store} {shown}"] = cls, settings, store, expect

    electra = ("Model", "ForPreTraining", "ForMaskedLM", "ForMultipleChoice",
               "ForSequenceClassification", "ForTokenClassification",
               "ForQuestionAnswering", "ForCausalLM")  # fmt: skip
    for i, kind in enumerate(electra):
        stores = ("safetensors", "sharded", "bin", "sharded_bin", "bfloat16",
                  "float16", "mixed", "float64")  # fmt: skip
        add("Electra" + kind, stores[i], **NARROW)
        add("Electra" + kind, stores[-i], **WIDE)
    bert = ("Model", "ForMaskedLM", "ForPreTraining", "LMHeadModel",
            "ForNextSentencePrediction", "ForMultipleChoice",
            "ForSequenceClassification", "ForTokenClassification",
            "ForQuestionAnswering")  # fmt: skip
    for i, kind in enumerate(bert):
        add("Bert" + kind, stores[i % 8])
    add("BertForMaskedLM", tie_word_embeddings=False)
    add("BertForPreTraining", tie_word_embeddings=False)
    add("ElectraForMaskedLM", tie_word_embeddings=False, **NARROW)
    for act in ("gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh",
                "gelu_accurate", "gelu_python_tanh"):  # fmt: skip
        add("ElectraForMaskedLM", hidden_act=act, **NARROW)
        add("BertForMaskedLM", hidden_act=act)
    for act in ("relu", "silu", "gelu_10", "quick_gelu"):
        add("ElectraModel", expect="!hidden_act", hidden_act=act, **NARROW)
        add("BertModel", expect="!hidden_act", hidden_act=act)
    for cls in ("ElectraForSequenceClassification",
                "BertForSequenceClassification"):  # fmt: skip
        add(cls, num_labels=1)
        add(cls, num_labels=1, problem_type="regression")
        add(cls, num_labels=5, problem_type="regression")
        add(cls, num_labels=5, problem_type="multi_label_classification")
        add(cls, problem_type="single_label_classification", **NAMES)
        add(cls, id2label={2: "c", 0: "a", 1: "b"})
        add(cls, id2label={0: "a", 1: "a", 2: "b"})
        add(cls, id2label={0: 1, 1: 2, 2: 3})
        add(cls, id2label={0: "", 1: "x y", 2: "é\n"})
        add(cls, classifier_dropout=0.3, hidden_dropout_prob=0.0)
        add(cls, summary_type="mean", summary_activation="tanh",
            use_last_dropout=True, summary_use_proj=False)  # fmt: skip
        token = cls.replace("Sequence", "Token")
        add(token, num_labels=1)
        add(token, num_labels=5)
        add(token, id2label={0: "O", 1: "B-a", 2: "I-a", 3: "B-b", 4: "I-b"})
        add(token, id2label={0: "I-a", 1: "O", 2: "S-a"})
    for cls in ("ElectraModel", "BertModel"):
        add(cls, layer_norm_eps=1e-5)
        add(cls, type_vocab_size=1)
        add(cls, type_vocab_size=4)
        add(cls, pad_token_id=7)
        add(cls, vocab_size=900)
        add(cls, num_attention_heads=8, intermediate_size=7)
        add(cls, max_position_embeddings=600)
        add(cls, is_decoder=True, expect="!is_decoder")
    add("BertModel", name="no pooler", add_pooling_layer=False)
    add("ElectraForQuestionAnswering", num_labels=2)
    add("BertLMHeadModel", is_decoder=True, expect="!is_decoder")
    add("ElectraForCausalLM", is_decoder=True, expect="!ElectraForCausalLM")
    others = (
        "RobertaModel",
        "DistilBertModel",
        "AlbertModel",
        "XLNetModel",
        "ConvBertModel",
        "MobileBertModel",
        "DebertaV2Model",
        "ErnieModel",
        "RoFormerModel",
        "ModernBertModel",
        "T5Model",
    )
    for other in others:  # fmt: skip
        add(other, expect="!model_type")
    return found


def directories():
    """Returns name -> (class, change to its directory, expect)."""

    def config(**changes):
        def change(path):
            file = path / "config.json"
            content = json.loads(file.read_text()) | changes
            kept = {k: v for k, v in content.items() if v is not ...}
            file.write_text(json.dumps(kept))

        return change

    def weights(change):
        def rewrite(path):
            from safetensors.torch import load_file, save_file

            file = path / "model.safetensors"
            save_file(change(load_file(file)), file, {"format": "pt"})

        return rewrite

    def renamed(old, new):
        return weights(
            lambda t: {k.replace(old, new, 1): v for k, v in t.items()}
        )

    def truncated(path):
        file = path / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-1000])

    def empty(name):
        return lambda path: (path / name).write_bytes(b"")

    def gone(name):
        return lambda path: (path / name).unlink()

    def both(*steps):
        def change(path):
            for step in steps:
                step(path)

        return change

    def index(change):
        def rewrite(path):
            file = path / "model.safetensors.index.json"
            content = json.loads(file.read_text())
            change(content["weight_map"])
            file.write_text(json.dumps(content))

        return rewrite

    def swapped(places):
        names = sorted(set(places.values()))
        for name, place in places.items():
            places[name] = names[0] if place == names[1] else names[1]

    def moved(folder):
        def change(path):
            (path / folder).mkdir()
            for file in list(path.iterdir()):
                if file.is_file():
                    shutil.move(file, path / folder)

        return change

    def adapter(path):
        for file in path.iterdir():
            file.unlink()
        (path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
        shutil.copy(__file__, path / "adapter_model.safetensors")

    def as_int8(tensors):
        import torch

        return {k: v.to(torch.int8) for k, v in tensors.items()}

    def replaced_by(path, save):
        other = path.with_name(path.name + "_other")
        save(str(other))
        shutil.rmtree(path)
        other.rename(path)

    def sentences(mode):
        def change(path):
            from sentence_transformers import SentenceTransformer, models

            first = models.Transformer(str(path))
            size = first.get_word_embedding_dimension()
            parts = [first, models.Pooling(size, mode)]
            parts += [models.Dense(size, 8), models.Normalize()]
            replaced_by(path, SentenceTransformer(modules=parts).save)

        return change

    def scorer(labels):
        def change(path):
            from sentence_transformers import CrossEncoder

            made = CrossEncoder(str(path), num_labels=labels)
            replaced_by(path, made.save_pretrained)

        return change

    def trainer(path):
        import torch

        torch.save({"lr": 1}, path / "optimizer.pt")
        torch.save({"lr": 1}, path / "training_args.bin")
        (path / "trainer_state.json").write_text("{}")

    minimal = dict.fromkeys(
        ("hidden_act", "hidden_dropout_prob", "layer_norm_eps", "pad_token_id",
         "attention_probs_dropout_prob", "initializer_range", "vocab_size",
         "type_vocab_size", "max_position_embeddings", "intermediate_size",
         "position_embedding_type", "hidden_size", "embedding_size",
         "num_hidden_layers", "transformers_version", "dtype", "torch_dtype"),
        ...,
    )  # fmt: skip
    seq = "ForSequenceClassification"
    rel = {"position_embedding_type": "relative_key"}
    found = {}
    for kind in ("Electra", "Bert"):
        found |= {
            f"{kind}: sizes missing": (kind + "Model", config(**minimal), ""),
            f"{kind}: heads missing": (
                kind + "Model", config(num_attention_heads=...),
                "num_heads",
            ),
            f"{kind}: no architectures": (
                kind + seq, config(architectures=...), "",
            ),
            f"{kind}: no model_type": (kind + seq, config(model_type=...), "?"),
            f"{kind}: dtype": (
                kind + seq, config(dtype="float16", torch_dtype=...), "",
            ),
            f"{kind}: torch_dtype": (
                kind + seq, config(torch_dtype="bfloat16", dtype=...), "",
            ),
            f"{kind}: relative": (kind + "Model", config(**rel), "!position"),
            f"{kind}: pruned": (
                kind + "Model", config(pruned_heads={"0": [1]}), "!pruned",
            ),
            f"{kind}: truncated": (kind + "Model", truncated, "!safetensors"),
            f"{kind}: empty weights": (
                kind + "Model", empty("model.safetensors"), "!safetensors",
            ),
            f"{kind}: empty config": (
                kind + "Model", empty("config.json"), "!config.json",
            ),
            f"{kind}: no config": (
                kind + "Model", gone("config.json"), "!config.json",
            ),
            f"{kind}: no weights": (
                kind + "Model", gone("model.safetensors"), "!no weights",
            ),
            f"{kind}: hidden size of another": (
                kind + "Model", config(hidden_size=48), "!asks for",
            ),
            f"{kind}: vocabulary of another": (
                kind + "Model", config(vocab_size=33), "!word_embeddings",
            ),
            f"{kind}: more layers": (
                kind + "Model", config(num_hidden_layers=3), "!layer",
            ),
            f"{kind}: fewer layers": (
                kind + "Model", config(num_hidden_layers=1), "layer",
            ),
            f"{kind}: DDP's prefix": (
                kind + "Model", renamed("", "module."), "",
            ),
            f"{kind}: int8": (kind + "Model", weights(as_int8), "!quantised"),
            f"{kind}: of the Trainer": (kind + seq, trainer, ""),
            f"{kind}: lists labels anew": (
                kind + seq, config(id2label=dict.fromkeys("012", "p")), "?",
            ),
            f"{kind}: in the folder 0_Transformer": (
                kind + "Model", moved("0_Transformer"), "?",
            ),
            f"{kind}: SentenceTransformer, mean": (
                kind + "Model", sentences("mean"), "Pooling, Dense, Normalize",
            ),
            f"{kind}: SentenceTransformer, cls": (
                kind + "Model", sentences("cls"), "Pooling, Dense, Normalize",
            ),
            f"{kind}: CrossEncoder of one score": (
                kind + "Model", scorer(1), "?",
            ),
            f"{kind}: CrossEncoder of three": (kind + "Model", scorer(3), "?"),
            f"{kind}: an adapter": (kind + "Model", adapter, "!adapter"),
            f"{kind}: ONNX alone": (
                kind + "Model",
                both(gone("model.safetensors"), empty("model.onnx")), "!onnx",
            ),
            f"{kind}: Flax alone": (
                kind + "Model",
                both(gone("model.safetensors"), empty("flax_model.msgpack")),
                "!flax",
            ),
            f"{kind}: a variant": (
                kind + "Model",
                lambda path: (path / "model.safetensors").rename(
                    path / "model.fp16.safetensors"
                ),
                "!fp16",
            ),
            f"{kind}: shards swapped": (
                kind + "Model/sharded", index(swapped), "!shards",
            ),
            f"{kind}: an index without a name": (
                kind + "Model/sharded",
                index(lambda m: m.pop("encoder.layer.0.output.dense.bias")),
                "!lacks",
            ),
            f"{kind}: an index of nothing": (
                kind + "Model/sharded", index(lambda m: m.clear()),
                "!weight_map",
            ),
            f"{kind}: a shard is gone": (
                kind + "Model/sharded",
                lambda path: min(path.glob("model-*")).unlink(), "!shards",
            ),
        }  # fmt: skip
    return found


def prepare(settings):
    """Imports `transformers`; returns facts and the handler."""
    import numpy as np
    import torch
    import transformers
    from transformers import AutoTokenizer

    transformers.logging.set_verbosity_error()
    version = transformers.__version__
    before_5 = int(version.partition(".")[0]) < 5
    vocab = pathlib.Path(settings["vocab"]).read_text().split("\n")[:-1]
    plain = pathlib.Path(settings["vocab"])

    def new(vocab=vocab, **options):
        file = plain.with_name("other.txt")
        file.write_text("".join(f"{t}\n" for t in vocab))
        name = "vocab_file" if before_5 else "vocab"
        return transformers.BertTokenizerFast(**{name: str(file)}, **options)

    def made(cls, options, store, path):
        torch.manual_seed(0)
        family = cls.partition("For")[0].removesuffix("Model")
        family = family.removesuffix("LMHead")
        options = {"vocab_size": len(vocab), **SIZE, **options}
        more = {}
        if "add_pooling_layer" in options:
            more["add_pooling_layer"] = options.pop("add_pooling_layer")
        if family == "Electra":
            options.setdefault("embedding_size", 16)
        elif family == "ConvBert":
            options["embedding_size"] = 32
        if family not in ("Electra", "Bert"):
            options = {"vocab_size": len(vocab)}
            options |= {"hidden_size": 64, "num_hidden_layers": 1}
            options |= {"intermediate_size": 64, "num_attention_heads": 2}
        config = getattr(transformers, family + "Config")(**options)
        model = getattr(transformers, cls)(config, **more).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        kind = getattr(torch, store, None)
        if kind is not None:
            model = model.to(kind)
        if store == "mixed":
            model.base_model.embeddings.half()
        size = sum(p.numel() * 4 for p in model.parameters())
        options = {"safe_serialization": False} if (
            "bin" in store and before_5) else {}  # fmt: skip
        model.save_pretrained(
            path, max_shard_size=size // 3 if "sharded" in store else 9 * size,
            **options,
        )  # fmt: skip
        if "bin" in store and not before_5:
            from safetensors.torch import load_file

            for file in path.glob("model*.safetensors"):
                name = file.name.replace("model", "pytorch_model", 1)
                name = name.replace("safetensors", "bin")
                torch.save(load_file(file), file.with_name(name))
                file.unlink()
            for file in path.glob("model*.json"):
                text = file.read_text().replace("model-", "pytorch_model-")
                file.with_name("pytorch_model.bin.index.json").write_text(
                    text.replace(".safetensors", ".bin")
                )
                file.unlink()

    def computed(cls, path, length):
        exact = {"torch_dtype" if before_5 else "dtype": torch.float32}
        model = getattr(transformers, cls).from_pretrained(path, **exact).eval()
        rng = np.random.default_rng(0)
        ids = rng.integers(5, 500, (3, length))
        mask, segments = np.ones_like(ids), np.zeros_like(ids)
        mask[1, 6:] = 0
        segments[:, 4:] = model.config.type_vocab_size > 1
        body = model.base_model if "MultipleChoice" in cls else model
        if "NextSentence" in cls:
            body = model.bert
        with torch.no_grad():
            out = body(
                torch.tensor(ids), attention_mask=torch.tensor(mask),
                token_type_ids=torch.tensor(segments),
            )  # fmt: skip
        arrays = {k: v.numpy() for k, v in out.items() if hasattr(v, "numpy")}
        if "prediction_logits" in arrays:
            arrays["logits"] = arrays["prediction_logits"]
        return {
            "input_ids": ids, "input_mask": mask, "segment_ids": segments,
            **{f"out_{k}": v for k, v in arrays.items()},
        }  # fmt: skip

    def tokenized(path, request):
        tokenizer = AutoTokenizer.from_pretrained(path)
        special = tokenizer(request["texts"], add_special_tokens=False)
        pairs = tokenizer(*zip(*request["pairs"]))
        return {
            "ids": special["input_ids"],
            "pairs": pairs["input_ids"],
            "segments": pairs.get("token_type_ids"),
        }

    def make(request):
        path = pathlib.Path(request["directory"])
        path.mkdir(parents=True)
        group, _, name = request["name"].partition("/")
        before = None
        try:
            if group == "model":
                cls, options, store, expect = models()[name]
                made(cls, options, store, path)
                new().save_pretrained(path)
            elif group == "directory":
                cls, change, expect = directories()[name]
                cls, _, store = cls.partition("/")
                made(cls, {}, store or "safetensors", path)
                new().save_pretrained(path)
                # Ours must compute what the unchanged model does, even if
                # the library fails on the changed directory.
                if not expect:
                    before = computed(cls, path, 9)
                change(path)
                if "CrossEncoder" in name:
                    cls = cls.replace("Model", "ForSequenceClassification")
            else:
                made("ElectraModel", {"vocab_size": 2000}, "safetensors", path)
                cls = "ElectraModel"
                make_files, expect = tokenizers(vocab)[name]
                make_files(path, new)
        except Exception as error:  # the library cannot make it
            return {"cannot": f"{type(error).__name__}: {error}"[:200]}
        reply = {"expect": expect, "class": cls}
        try:
            arrays = before or computed(cls, path, 9)
            np.savez(path.with_suffix(".npz"), **arrays)
            reply["outputs"] = str(path.with_suffix(".npz"))
        except Exception as error:
            reply["their_error"] = f"{type(error).__name__}: {error}"[:200]
        try:
            reply |= tokenized(path, request)
        except Exception as error:
            reply["their_tokenizer_error"] = f"{type(error).__name__}: {error}"[
                :200
            ]
        return reply

    def handle(request):
        if request["do"] == "make":
            return make(request)
        return {
            "names": [
                *(f"model/{n}" for n in models()),
                *(f"directory/{n}" for n in directories()),
                *(f"tokenizer/{n}" for n in tokenizers(vocab)),
            ]
        }

    return {"version": f"transformers {version}"}, handle


if __name__ == "__main__":
    serve(prepare)
