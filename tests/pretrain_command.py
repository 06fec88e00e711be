"""The pretrain command on little text, for the tests of the command line."""

import pathlib

from electra_tf.cli import app

SMALL = (
    "model.hidden_size=32", "model.embedding_size=16", "model.num_layers=1",
    "model.num_heads=2", "model.intermediate_size=64",
    "generator.hidden_fraction=0.5", "train.batch_size=4",
    "train.num_warmup_steps=2", "train.log_every_steps=2",
)  # fmt: skip


def flags(
    data: pathlib.Path, output: pathlib.Path, *settings: str, small: bool = True
) -> list[str]:
    """Returns the command's arguments, of a small model if `small`."""
    settings = (*SMALL, *settings) if small else settings
    return [
        "pretrain", f"--data={data}", f"--output={output}",
        *(f"--set={s}" for s in settings),
    ]  # fmt: skip


def build_data(
    folder: pathlib.Path, text: str, vocab: pathlib.Path | None = None
) -> pathlib.Path:
    """Builds examples of `text`, and a vocabulary unless `vocab` is given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(text)
    if vocab is None:
        vocab = folder / "vocab.txt"
        assert not app.run(
            ["build-vocab", f"--input={folder}/text.txt", "--vocab_size=500",
             f"--output={vocab}"]
        )  # fmt: skip
    assert not app.run(
        ["build-data", f"--input={folder}/text.txt", f"--output={folder}/out",
         f"--vocab={vocab}", "--max_seq_length=32", "--num_workers=1",
         "--validation_fraction=0.3"]
    )  # fmt: skip
    return folder / "out"
