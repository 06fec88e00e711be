"""docs/reference/: the public names, for mkdocstrings to fill in."""

import electra_tf

# A page, its title, its opening, and what of the package is on it.
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
        "Keras models that take texts and give answers.",
        ("TextClassifier", "TextRegressor", "TokenClassifier",
         "QuestionAnswerer", "CrossEncoder", "MaskedLM",
         "ReplacedTokenDetector", "explain", "load"),
    ),
    "commands": (
        "Commands as functions",
        "Each command of `electra-tf` is one of these functions; "
        "`electra_tf.recipes` has the others, by the same names.",
        ("prepare_text", "build_vocab", "build_data", "pretrain",
         "evaluate_pretraining", "finetune", "evaluate", "predict", "convert",
         "export"),
    ),
    "serving": (
        "Clients and errors",
        "Clients of `electra-tf serve` and of TensorFlow Serving, and the "
        "errors of the package.",
        ("Client", "AsyncClient", "ServingError", "UserError"),
    ),
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
            home = electra_tf._HOMES[each]
            parts.append(f"::: {home}.{each}")
        if name == "commands":
            parts += [
                f"::: electra_tf.recipes.{each}.{each}"
                for each in OTHER_RECIPES
            ]
        found[name] = "\n\n".join(parts) + "\n"
    return found
