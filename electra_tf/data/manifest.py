"""What a data directory says about itself: `manifest.json`.

It is written last, so a directory that has one is finished.
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
    """A run on other machines whose outputs are not what its inputs make.

    What was written is left beside its place, for whoever wants to look.
    """


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name, number of examples and size in bytes."""

    file: str
    examples: int
    bytes: int


@dataclasses.dataclass(frozen=True)
class Split:
    """Counts of the training or the held-out part.

    Attributes:
      documents: documents that gave at least one line.
      lines: clean lines that are not blank.
      source_tokens: tokens of those lines.
      tokens: tokens of the examples, `[CLS]` and `[SEP]` included.
      examples: the number of examples in all shards.
      shards: the files; example i of the split lies in shard
        i modulo their number.
      unknown_tokens: how many of the `source_tokens` are [UNK]; None where an
        earlier version has not counted them.
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
    """All that is known of a data directory.

    Attributes:
      max_seq_length: the longest example, specials included.
      vocab_fingerprint: of the vocabulary, as `Vocab.fingerprint` gives it.
      vocab_size: its number of tokens.
      lower_case: how the tokenizer was set.
      strip_accents: how the tokenizer was set.
      seed: of the random numbers.
      splits: "train" and, if anything was to be held out, "validation".
      input: files, bytes, empty files.
      repairs: what was replaced, dropped or cut, by name.
      settings: everything else the build was asked for.
      warnings: what the user was told about the text.
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
        """Returns what tells these examples from others, as plain values.

        What is only told of them is left out: versions that do not count it
        build the same.
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
    """Returns whether `directory` holds a finished build."""
    return files.exists(files.join(directory, FILE))


def load_manifest(directory: str) -> Manifest:
    """Reads the manifest of a data directory.

    Raises:
      UserError: none there (the build was interrupted, or this is not a data
        directory), or not one that this version reads.
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
    told = {"warnings": tuple(content.get("warnings", ()))}
    return Manifest(**{**content, **told, "splits": splits})


def check_vocab(manifest: Manifest, vocab: Vocab) -> None:
    """Refuses a vocabulary other than the data's.

    Raises:
      UserError: with both fingerprints.
    """
    ours = vocab.fingerprint()
    if ours != manifest.vocab_fingerprint:
        raise UserError(
            "the data was built with another vocabulary: the data's is "
            f"{manifest.vocab_fingerprint} ({manifest.vocab_size} tokens), "
            f"this run's is {ours}; use the {VOCAB_FILE} in the data "
            "directory or build the data again"
        )
