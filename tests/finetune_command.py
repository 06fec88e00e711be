"""The run that tests of `finetune` start: a small task, a small encoder."""

import pathlib

TASK = f"{pathlib.Path(__file__).parent}/word_task.py:WordTask"
SHAPE = {
    "hidden_size": 32,
    "embedding_size": 32,
    "num_layers": 1,
    "num_heads": 2,
    "intermediate_size": 64,
    "max_positions": 32,
}
TRAIN = {
    "num_train_epochs": 4,
    "batch_size": 16,
    "learning_rate": 0.003,
    "checkpoint_every_steps": 5,
}


def flags(data, vocab, output, *words, **train) -> list[str]:
    """Returns the command's arguments, with a small model if `vocab` is given.

    Args:
      data: the data directory.
      vocab: the vocabulary of a model with random weights; None adds no flags
        of a model.
      output: the run directory.
      *words: more arguments.
      **train: settings of the section `train`.
    """
    sections = {"model": SHAPE, "train": TRAIN | train}
    return [
        "finetune",
        f"--task={TASK}",
        f"--data={data}",
        f"--output={output}",
        *([f"--vocab={vocab}"] if vocab else []),
        *(
            f"--set={section}.{key}={value}"
            for section, values in sections.items()
            if vocab or section != "model"
            for key, value in values.items()
        ),
        *words,
    ]
