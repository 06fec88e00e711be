"""Writes docs/reference/: the public names, for mkdocstrings to fill in."""

import electra_tf

# A page, its title, its opening, and the package's names on it.
PAGES = {
    "networks": (
        "Networks and the tokenizer",
        "The networks as Keras models, with weights from any checkpoint.",
        ("Discriminator", "Generator", "Encoder", "Tokenizer", "Vocab",
         "load_vocab", "ModelConfig", "GeneratorConfig"),
    ),
    "pretraining": (
        "Pre-training",
        "Pre-training in a Keras program.",
        ("ElectraPretrainer", "pretraining_dataset", "make_optimizer",
         "MaskingConfig", "ObjectiveConfig"),
    ),
    "tasks": (
        "Tasks on texts",
        "Keras models that take texts and return predictions.",
        ("TextClassifier", "TextRegressor", "TokenClassifier",
         "QuestionAnswerer", "CrossEncoder", "MaskedLM",
         "ReplacedTokenDetector", "explain", "load"),
    ),
    "commands": (
        "Commands as functions",
        "Each command of `electra-tf` is one of these functions. Those that "
        "are not names of the package are imported from their modules: `from "
        "electra_tf.recipes.fill import fill`.",
        ("prepare_text", "build_vocab", "build_data", "pretrain",
         "evaluate_pretraining", "finetune", "evaluate", "predict", "embed",
         "convert",
         "export"),
    ),
    "serving": (
        "Clients and errors",
        "Clients of `electra-tf serve` and of TensorFlow Serving, and the "
        "errors of the package.",
        ("Client", "AsyncClient", "ServingError", "UserError"),
    ),
}  # fmt: skip
_ADAPTED = (
    "enable_lora", "freeze", "merge_lora", "save_adapter", "load_adapter",
)  # fmt: skip
_NETWORK = (
    "from_pretrained", "call", "tokenizer", "load_report", "save_pretrained",
    *_ADAPTED,
)  # fmt: skip
_TASK = (
    "from_pretrained", "compile", "fit", "evaluate", "predict", "scores",
    "answer", "train_on_batch", "test_on_batch", "save", "save_pretrained",
    *_ADAPTED,
)  # fmt: skip
# The documented members of classes; others are for Keras and for other modules
# of the package.
MEMBERS = {
    "Discriminator": _NETWORK,
    "Generator": _NETWORK,
    "Encoder": _NETWORK,
    "Tokenizer": (
        "from_pretrained", "call", "tokenize", "tokenize_with_offsets",
        "encode", "decode", "detokenize", "get_vocabulary", "vocabulary_size",
        "id_to_token", "token_to_id",
    ),
    "Vocab": (
        "pad_id", "unk_id", "cls_id", "sep_id", "mask_id", "special_ids",
        "fingerprint", "save",
    ),
    "ModelConfig": ("of_size", "generator"),
    "GeneratorConfig": (),
    "MaskingConfig": (),
    "ObjectiveConfig": (),
    "ElectraPretrainer": (
        "from_size", "from_config", "from_pretrained", "compile", "train_step",
        "test_step", "save_pretrained",
    ),
    "TextClassifier": (*_TASK, "labels", "multi_label", "classify"),
    "TextRegressor": _TASK,
    "TokenClassifier": (*_TASK, "labels", "classify"),
    "QuestionAnswerer": _TASK,
    "CrossEncoder": (*_TASK, "rank"),
    "MaskedLM": (*_TASK, "fill"),
    "ReplacedTokenDetector": (*_TASK, "tokens"),
    "Client": ("predict", "models", "status", "metadata", "close"),
    "AsyncClient": ("predict", "models", "status", "metadata", "close"),
    "ServingError": (),
    "UserError": (),
}  # fmt: skip
# Commands that are no public name of the package itself.
OTHER_RECIPES = (
    "ask", "client", "demo", "fill", "generate", "minimal_pairs", "push",
    "score", "serve", "tune",
)  # fmt: skip


def pages() -> dict[str, str]:
    """Returns the text of each page by its name."""
    found = {}
    for name, (title, opening, names) in PAGES.items():
        parts = [f"# {title}", opening]
        for each in names:
            parts.append(_entry(each))
        if name == "commands":
            parts += [
                f"::: electra_tf.recipes.{each}.{each}"
                for each in OTHER_RECIPES
            ]
        found[name] = "\n\n".join(parts) + "\n"
    return found


def _entry(name: str) -> str:
    """Returns the lines that mkdocstrings replaces by documentation."""
    line = f"::: {electra_tf._HOMES[name]}.{name}"
    if name not in MEMBERS:
        return line
    members = ", ".join(MEMBERS[name])
    return (
        f"{line}\n    options:\n      inherited_members: true\n"
        f"      members: [{members}]"
    )
