"""Fine-tunes a classifier on a CSV file: which novel is a line from?

python examples/finetune_csv.py --model=runs/own/run --output=runs/novels
"""

import argparse
import csv
import pathlib

import electra_tf


def write_rows(path: pathlib.Path, lines_of_each: int) -> None:
    """Writes lines of the novels in the package, and which they are from."""
    novels = pathlib.Path(electra_tf.__file__).parent / "sample_text"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for novel in sorted(novels.glob("*.txt")):
            lines = filter(None, novel.read_text("utf-8").splitlines())
            for _, line in zip(range(lines_of_each), lines, strict=False):
                rows.writerow([line, novel.stem])


def main(words: list[str] | None = None) -> None:
    """Trains, evaluates, predicts."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--model", required=True, help="any checkpoint")
    flags.add_argument("--output", default="runs/novels")
    flags.add_argument("--rows", type=int, default=1000, help="of each novel")
    flags.add_argument("--epochs", type=float, default=3.0)
    args = flags.parse_args(words)
    folder = pathlib.Path(args.output).parent
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "novels.csv"
    write_rows(table, args.rows)
    # A tenth of the rows is held out, as there is one file alone.
    electra_tf.finetune(
        args.output,
        task="classification",
        data=table,
        model=args.model,
        train={"num_train_epochs": args.epochs, "learning_rate": 1e-3},
    )
    print(electra_tf.evaluate(args.output, data=table).metrics)
    model = electra_tf.load(args.output)
    for answer in model.predict(["Captain Wentworth had no fortune."]):
        print(answer["label"], answer["probabilities"])


if __name__ == "__main__":
    main()
