"""Defines `manifest.json`, the description of a data directory.

It is written last, so a directory with one is complete.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.text.vocab import Vocab

FILE = "manifest.json"
VOCAB_FILE = "vocab.txt"
BUILDING = ".building"
"""The folder, inside the data directory, that holds an unfinished build."""

_FORMAT = "electra_tf pre-training examples"
_VERSION = 1


class LostData(UserError):
    """Raised for a run on other machines whose output does not match its input.

    The output is left beside its place for inspection.
    """


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name, number of examples and size in bytes."""

    file: str
    examples: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Split:
    """The counts of the training or the held-out split.

    Attributes:
      documents: number of documents with at least one line.
      lines: number of clean lines that are not blank.
      source_tokens: number of tokens of those lines.
      tokens: tokens of the examples, `[CLS]` and `[SEP]` included.
      examples: the number of examples in all shards.
      shards: the files; example i of the split lies in shard
        i modulo their number.
      unknown_tokens: number of [UNK] among the `source_tokens`; None where an
        earlier version did not count them.
    """

    documents: int
    lines: int
    source_tokens: int
    tokens: int
    examples: int
    shards: tuple[Shard, ...]
    unknown_tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The description of a data directory.

    Attributes:
      max_seq_length: longest example, special tokens included.
      vocab_fingerprint: `Vocab.fingerprint` of the vocabulary.
      vocab_size: its number of tokens.
      lower_case: setting of the tokenizer.
      strip_accents: setting of the tokenizer.
      seed: seed of the random numbers.
      splits: "train" and, if documents were held out, "validation".
      input: files, bytes, empty files.
      repairs: counts of replaced, dropped or truncated data, by name.
      settings: all other settings of the build.
      warnings: warnings about the text.
    """

    max_seq_length: int
    vocab_fingerprint: str
    vocab_size: int
    lower_case: bool
    strip_accents: bool | None
    seed: int
    splits: dict[str, Split]
    input: dict[str, int]
    repairs: dict[str, int]
    settings: dict[str, Any]
    warnings: tuple[str, ...] = ()

    def what_was_built(self) -> dict[str, Any]:
        """Returns what identifies these examples, as plain values.

        Further statistics are left out: versions that do not count them build
        the same examples.
        """
        content = dataclasses.asdict(self)
        del content["warnings"]
        for split in content["splits"].values():
            del split["unknown_tokens"]
        return content

    def save(self, directory: str) -> None:
        """Writes `manifest.json` into `directory`, atomically."""
        content = {"format": _FORMAT, "version": _VERSION}
        content |= dataclasses.asdict(self)
        text = json.dumps(content, indent=1, ensure_ascii=False)
        files.write_text(files.join(directory, FILE), text + "\n")


def is_finished(directory: str) -> bool:
    """Returns whether `directory` has a finished build."""
    return files.exists(files.join(directory, FILE))


def load_manifest(directory: str) -> Manifest:
    """Reads the manifest of a data directory.

    Raises:
      UserError: there is none (the build was interrupted, or this is not a data
        directory), or this version cannot read it.
    """
    path = files.join(directory, FILE)
    if not files.exists(path):
        if files.exists(files.join(directory, BUILDING)):
            raise UserError(
                f"{directory}: its build did not finish; run "
                "`electra-tf build-data` again"
            )
        raise UserError(
            f"{directory}: no {FILE} there; expected a directory made by "
            "`electra-tf build-data`"
        )
    try:
        content = json.loads(files.read_text(path))
        if content.pop("format") != _FORMAT:
            raise ValueError("another kind of file")
        if content.pop("version") != _VERSION:
            raise ValueError("written by another version of electra_tf")
        return _from_json(content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: not a manifest of pre-training data ({error}); build "
            "the data again"
        ) from error


def _from_json(content: Mapping[str, Any]) -> Manifest:
    splits = {
        name: Split(**{**split, "shards": tuple(Shard(**s) for s in shards)})
        for name, split in content["splits"].items()
        for shards in [split["shards"]]
    }
    warnings_read = {"warnings": tuple(content.get("warnings", ()))}
    return Manifest(**{**content, **warnings_read, "splits": splits})


def check_vocab(manifest: Manifest, vocab: Vocab) -> None:
    """Refuses a vocabulary other than the data's.

    Raises:
      UserError: they differ; the message has both fingerprints.
    """
    ours = vocab.fingerprint()
    if ours != manifest.vocab_fingerprint:
        raise UserError(
            "the data was built with another vocabulary: the data's is "
            f"{manifest.vocab_fingerprint} ({manifest.vocab_size} tokens), "
            f"this run's is {ours}; use the {VOCAB_FILE} in the data "
            "directory or build the data again"
        )
