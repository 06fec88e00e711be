"""Runs the whole pipeline at a small scale, on the text that ships."""

import os
import random
from typing import TYPE_CHECKING, Annotated

from electra_tf import files
from electra_tf.config import Setting
from electra_tf.recipes import commands_shown, demo_tasks
from electra_tf.recipes.arguments import checked

if TYPE_CHECKING:
    import numpy as np

    from electra_tf.hub.pretrained import Discriminator
    from electra_tf.text.tokenizer import Tokenizer

_LENGTH = 64  # tokens of an example
_SHORTEST, _LONGEST = 8, 18  # words of a sentence worth showing


@checked
def demo(
    output: str = "demo_run",
    *,
    num_train_steps: Annotated[int, Setting(at_least=1)] = 2000,
    num_train_epochs: Annotated[int, Setting(at_least=1)] = 3,
    vocab_size: Annotated[int, Setting(at_least=100)] = 4000,
    num_sentences: Annotated[int, Setting(at_least=1)] = 6,
) -> None:
    """Pre-trains a small ELECTRA on the text that ships, from text to results.

        electra-tf demo --output=demo_run

    Trains a vocabulary, builds examples, pre-trains the `tiny` size, measures
    it on held-out text beside its baselines, and marks replaced words in unseen
    sentences. Then it takes the model that ships, or its own where the
    installation has none, fills a blank, fine-tunes it to tell three authors
    apart, beside the same network from random weights, exports it, starts the
    server and asks it. Each step is a command, which is printed before it runs.
    Started again it resumes.

    Args:
      output: the folder for all outputs
      num_train_steps: length of the pre-training, in updates of 16 examples
      num_train_epochs: passes over the 1,800 sentences of three authors
      vocab_size: number of tokens
      num_sentences: number of sentences to show

    Raises:
      UserError: a step fails.
    """
    from electra_tf.data import manifest
    from electra_tf.hub import loading
    from electra_tf.recipes.build_data import build_data
    from electra_tf.recipes.build_vocab import build_vocab
    from electra_tf.recipes.evaluate_pretraining import evaluate_pretraining
    from electra_tf.recipes.pretrain import pretrain

    package = os.path.dirname(os.path.dirname(__file__))
    text = os.path.join(package, "sample_text", "*.txt")
    vocab, data = files.join(output, "vocab.txt"), files.join(output, "data")
    run = files.join(output, "run")
    if not manifest.is_finished(data):
        commands_shown.run(
            build_vocab, input=text, output=vocab, vocab_size=vocab_size
        )
        commands_shown.run(
            build_data, input=text, vocab=vocab, output=data,
            max_seq_length=_LENGTH, num_workers=2, validation_fraction=0.05,
        )  # fmt: skip
    settings = files.join(output, "demo.yaml")
    files.write_text(settings, _settings(num_train_steps))
    trained = commands_shown.run(
        pretrain, config=settings, data=data, output=run
    )
    if trained.model is None:
        return  # stopped by a signal
    evaluated = commands_shown.run(
        evaluate_pretraining, model=run, data=data,
        output=files.join(output, "held_out.json"),
    )  # fmt: skip
    print("\n" + _comparison(evaluated.metrics))
    print("\n" + _sentences(run, data, num_sentences))
    print(f"\nplots: {files.join(run, 'plots')}")
    print(f"model: electra_tf.Discriminator.from_pretrained('{run}')")
    model = loading.SHIPPED[0]
    if not loading.is_installed(model):
        print(f"\n{model} is not in this installation: {run} is used for it.")
        model = run
    demo_tasks.run(output, model, num_train_epochs)


def _settings(num_train_steps: int) -> str:
    """Returns configs/pretrain/tiny.yaml, shortened to the demo's length."""
    import dataclasses

    import yaml

    from electra_tf.models.config import GENERATOR_FRACTIONS, ModelConfig

    shape = ModelConfig.of_size(
        "tiny",
        hidden_dropout=0.0,
        attention_dropout=0.0,
        initializer_range=0.05,
        local_start=True,
    )
    model = dataclasses.asdict(shape)
    del model["vocab_size"]  # follows from the data
    every = max(1, num_train_steps // 4)
    settings = {
        "model": model,
        "generator": {
            "hidden_fraction": GENERATOR_FRACTIONS["tiny"],
            "layers_fraction": 0.5,
        },
        "objective": {"disc_weight": 20.0, "temperature": 1.75},
        "train": {
            "learning_rate": 1e-3,
            "num_warmup_steps": min(100, num_train_steps // 5),
            "bias_correction": True,
            "num_train_steps": num_train_steps,
            "batch_size": 16,
            "eval_every_steps": every,
            "checkpoint_every_steps": every,
            "log_every_steps": max(1, num_train_steps // 40),
        },
    }
    return yaml.safe_dump(settings, sort_keys=False)


def _comparison(metrics: dict[str, float]) -> str:
    """Returns each network's metrics beside baselines without learning."""
    rows = [
        (
            "generator: loss per masked token (nats)",
            metrics["mlm_loss"],
            "unigram entropy",
            metrics["unigram_entropy"],
            metrics["mlm_loss"] < metrics["unigram_entropy"],
        ),
        (
            "discriminator: accuracy",
            metrics["disc_accuracy"],
            "always original",
            metrics["always_original_accuracy"],
            metrics["disc_accuracy"] > metrics["always_original_accuracy"],
        ),
        (
            "discriminator: area under the ROC curve",
            metrics["disc_auc"],
            "always original",
            0.5,
            metrics["disc_auc"] > 0.5,
        ),
    ]
    return "\n".join(
        f"{what:<40} {ours:8.4f}   {baseline:<16} {theirs:8.4f}   "
        f"{'better' if better else 'not better: train longer'}"
        for what, ours, baseline, theirs, better in rows
    )


def _sentences(model: str, data: str, count: int, seed: int = 1) -> str:
    """Replaces a word in held-out sentences and prints every word's score.

    Args:
      model: run or model directory.
      data: directory of examples with a validation split.
      count: number of sentences.
      seed: seed of the choice of sentences, words and replacements.
    """
    import numpy as np

    from electra_tf.hub.pretrained import Discriminator

    discriminator = Discriminator.from_pretrained(model)
    tokenizer = discriminator.tokenizer
    assert tokenizer is not None  # the vocabulary is saved with the model
    chance = random.Random(seed)
    found = _held_out_sentences(data, tokenizer)
    chance.shuffle(found)
    words = [
        token
        for token in tokenizer.vocab.tokens
        if token.isalpha() and token.isascii() and len(token) > 3
    ]
    shown = [
        "Held-out sentences, one word of each replaced at random. After each",
        "word: the probability, in per cent, that it was replaced.",
    ]
    hits = 0
    for sentence in found[:count]:
        place = chance.choice(
            [i for i, w in enumerate(sentence) if w.isalpha()]
        )
        original = sentence[place]
        fake = [*sentence]
        fake[place] = chance.choice(words)
        scores = _word_scores(discriminator, tokenizer, fake)
        marked = [
            f"[{word} {100 * score:.0f}]" if i == place
            else f"{word} {100 * score:.0f}"
            for i, (word, score) in enumerate(zip(fake, scores))
        ]  # fmt: skip
        hits += int(np.argmax(scores) == place)
        shown.append(f"\n  {'  '.join(marked)}")
        shown.append(f"  ({original!r} became {fake[place]!r})")
    shown.append(
        f"\nThe replaced word has the highest score in {hits} of "
        f"{min(count, len(found))} sentences."
    )
    return "\n".join(shown)


def _held_out_sentences(data: str, tokenizer: "Tokenizer") -> list[list[str]]:
    """Returns whole sentences of the held-out examples, as lists of words."""
    from electra_tf.data import reader

    batches = reader.pretraining_dataset(
        data,
        split="validation",
        batch_size=64,
        max_seq_length=_LENGTH,
        repeat=False,
        drop_remainder=False,
    )
    sentences = []
    for batch in batches.take(8):
        for row in batch["input_ids"].numpy():
            sentence: list[str] = []
            inside = False
            for word in _words(row, tokenizer):
                if word in ".?!":
                    if inside and _SHORTEST <= len(sentence) <= _LONGEST:
                        sentences.append([*sentence, word])
                    sentence, inside = [], True
                elif word == "":  # special: the sentence may be incomplete
                    sentence, inside = [], False
                else:
                    sentence.append(word)
    return sentences


def _words(ids: "np.ndarray", tokenizer: "Tokenizer") -> list[str]:
    """Joins pieces to words; '' for a special token."""
    special = set(tokenizer.vocab.special_ids)
    words: list[str] = []
    for i in ids:
        token = tokenizer.vocab.tokens[i]
        if i in special:
            words.append("")
        elif token.startswith("##") and words and words[-1]:
            words[-1] += token[2:]
        else:
            words.append(token)
    return words


def _word_scores(
    discriminator: "Discriminator", tokenizer: "Tokenizer", words: list[str]
) -> list[float]:
    """Returns P(replaced) of each word: the highest among its pieces."""
    import numpy as np
    import tensorflow as tf

    pieces = tokenizer(words)  # [words, (pieces)]
    vocab = tokenizer.vocab
    flat = [vocab.cls_id, *pieces.flat_values.numpy(), vocab.sep_id]
    logits = discriminator(tf.constant([flat], tf.int32)).logits
    scores = tf.sigmoid(logits)[0, 1:-1].numpy()
    ends = np.cumsum(pieces.row_lengths().numpy())
    return [
        float(part.max()) if len(part) else 0.0
        for part in np.split(scores, ends[:-1])
    ]
