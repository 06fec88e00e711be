"""The end of a build: what its counts say, and the files in their place."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from electra_tf import files
from electra_tf.data import manifest
from electra_tf.data.build_settings import BuildSettings
from electra_tf.errors import UserError
from electra_tf.text.vocab import Vocab

_NO_REPAIRS = dict.fromkeys(
    ("invalid_utf8_replaced", "control_characters_dropped", "long_lines_cut",
     "bad_records"), 0
)  # fmt: skip
# What is counted of each split, beside its shards.
SPLIT_COUNTS = ("documents", "lines", "source_tokens", "tokens", "examples")


def summarise(
    settings: BuildSettings,
    kept_settings: Mapping[str, Any],
    vocab: Vocab,
    input_bytes: int,
    counts: Mapping[str, int],
    splits: Mapping[str, manifest.Split],
) -> manifest.Manifest:
    """The manifest of what was built.

    Args:
      settings: what was asked for.
      kept_settings: those that the manifest keeps.
      vocab: the vocabulary.
      input_bytes: of all files.
      counts: of files and repairs, by name.
      splits: with their shards.

    Raises:
      UserError: there is no example to train on.
    """
    repairs = Counter(_NO_REPAIRS)
    repairs.update(counts)
    about = {name: repairs.pop(name, 0) for name in ("files", "empty_files")}
    if not splits["train"].examples:
        hint = ""
        if repairs["bad_records"]:
            hint = (
                f" ({repairs['bad_records']} JSON lines have no text field "
                f"'{settings.text_field}': set --text_field)"
            )
        raise UserError(f"--input={settings.input}: no text to train on{hint}")
    return manifest.Manifest(
        max_seq_length=settings.max_seq_length,
        vocab_fingerprint=vocab.fingerprint(),
        vocab_size=len(vocab),
        lower_case=settings.lower_case,
        strip_accents=settings.strip_accents,
        seed=settings.seed,
        splits=dict(splits),
        input={**about, "bytes": input_bytes},
        repairs=dict(sorted(repairs.items())),
        settings=dict(kept_settings),
    )


def publish(output: str, building: str, finished: manifest.Manifest) -> None:
    """Moves the shards in place; what they replace goes first."""
    files.remove(files.join(output, manifest.FILE))
    for name in files.list_directory(output):
        if name.startswith(("train-", "validation-")) and name.endswith(
            ".tfrecord"
        ):
            files.remove(files.join(output, name))
    for split in finished.splits.values():
        for shard in split.shards:
            files.rename(
                files.join(building, shard.file),
                files.join(output, shard.file),
            )
    files.rename(
        files.join(building, manifest.VOCAB_FILE),
        files.join(output, manifest.VOCAB_FILE),
    )
    finished.save(output)
    files.remove(building)
