"""Answers the rows of JSON Lines with a UDF of Spark.

    pip install electra-tf pyspark pandas pyarrow
    python spark_udf.py --model=runs/sst2 --input=rows.jsonl --output=answers

A Python worker of Spark loads the model once, when the first batch comes, and
keeps it for the tasks that follow.
"""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf

SCHEMA = "label string, probabilities map<string, double>, error string"
NAMES = ["label", "probabilities", "error"]


def answers(model: str) -> Callable[..., Any]:
    """Returns a UDF: a column of texts -> label and probabilities, or error."""

    @pandas_udf(SCHEMA)
    def answer(batches: Iterator[pd.Series]) -> Iterator[pd.DataFrame]:
        for texts in batches:
            # By the name of its module, so that what it keeps stays there.
            from spark_udf import loaded

            # A null, or an empty text, is an error in its row alone.
            rows = [({"text": text}, "row") for text in texts]
            found = loaded(model).predict_rows(rows)
            values = [[row.get(name) for name in NAMES] for row in found]
            yield pd.DataFrame(values, columns=NAMES, dtype=object)

    return answer


@functools.cache
def loaded(model: str) -> Any:
    """Loads a model, once a process."""
    import electra_tf

    return electra_tf.load(model)


def main(arguments: Any = None) -> None:
    """Answers the input that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    given = parser.parse_args(arguments)
    # Workers run this Python; Spark's own choice is the first on PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.getOrCreate()
    spark.sparkContext.addPyFile(__file__)  # workers import this file
    rows = spark.read.json(given.input)
    found = rows.withColumn("answer", answers(given.model)(rows["text"]))
    found.select("id", "text", "answer.*").write.json(given.output)
    spark.stop()


if __name__ == "__main__":
    main()
