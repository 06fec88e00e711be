"""Answers the rows of JSON Lines with Ray Data.

    pip install electra-tf 'ray[data]'
    python ray_data.py --model=runs/sst2 --input=rows.jsonl --output=answers

An actor of Ray loads the model once. --actors says how many there are: fewer
than the cluster has cores, as reading and writing need one too.
"""

import argparse
from typing import Any

import pandas as pd
import ray

import electra_tf


class Answers:
    """A model that is loaded once, and answers batches of rows."""

    def __init__(self, model: str):
        self._model = electra_tf.load(model)

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Adds the columns of the answers, in place of such columns there."""
        # A null, or an empty text, is an `error` in its row alone.
        given = [(row, "row") for row in rows.to_dict("records")]
        found = pd.DataFrame(self._model.predict_rows(given))
        kept = rows.reset_index(drop=True).drop(
            columns=found.columns, errors="ignore"
        )
        return pd.concat([kept, found], axis=1)


def main(arguments: Any = None) -> None:
    """Answers the input that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--actors", type=int, default=1)
    given = parser.parse_args(arguments)
    rows = ray.data.read_json(given.input, lines=True)
    answers = rows.map_batches(
        Answers,
        fn_constructor_args=[given.model],
        batch_format="pandas",
        batch_size=1024,
        compute=ray.data.ActorPoolStrategy(size=given.actors),
        num_cpus=1,
    )
    answers.write_json(
        given.output, pandas_json_args_fn=lambda: {"double_precision": 15}
    )


if __name__ == "__main__":
    main()
