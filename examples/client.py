"""Asks a served model for many texts, and handles what can go wrong.

    electra-tf serve --model=served/sst2
    python examples/client.py --url=http://127.0.0.1:8501 --model=sst2 texts.txt

It needs neither TensorFlow nor NumPy; TensorFlow Serving answers it as well.
"""

import argparse
import asyncio
import sys

import electra_tf


def ask(url: str, model: str, texts: list[str]) -> list:
    """Returns the predictions, in the order of the texts."""
    client = electra_tf.Client(url, model, timeout=60.0, retries=3)
    # Long lists go in several requests; `progress` hears of each.
    return client.predict(
        texts,
        progress=lambda done: print(f"{done}/{len(texts)}", file=sys.stderr),
    )


async def ask_at_once(url: str, model: str, texts: list[str]) -> list:
    """Returns the same, with a request for each text at the same time."""
    async with electra_tf.AsyncClient(url, model) as client:
        found = await asyncio.gather(*(client.predict([t]) for t in texts))
    return [rows[0] for rows in found]


def main(words: list[str] | None = None) -> int:
    """Prints a line for each text; returns the exit status."""
    flags = argparse.ArgumentParser(description=__doc__)
    flags.add_argument("--url", default="http://127.0.0.1:8501")
    flags.add_argument("--model", required=True)
    flags.add_argument("--at_once", action="store_true")
    flags.add_argument("file", help="a text a line")
    args = flags.parse_args(words)
    with open(args.file, encoding="utf-8") as lines:
        texts = [line.strip() for line in lines if line.strip()]
    try:
        if args.at_once:
            found = asyncio.run(ask_at_once(args.url, args.model, texts))
        else:
            found = ask(args.url, args.model, texts)
    except electra_tf.ServingError as error:  # has status, model and said
        print(error, file=sys.stderr)
        return 1
    except electra_tf.UserError as error:  # an address that is none
        print(error, file=sys.stderr)
        return 2
    for text, answer in zip(texts, found, strict=True):
        print(f"{text}\t{answer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
