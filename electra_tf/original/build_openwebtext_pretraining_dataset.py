"""Builds pre-training examples from the OpenWebText corpus.

    python -m electra_tf.original.build_openwebtext_pretraining_dataset \\
        --data-dir DIR --num-processes 5

Reads DIR/openwebtext, archives of text files or text files, each one a
document, and DIR/vocab.txt; writes DIR/pretrain_tfrecords.
"""

import sys
import tarfile
import tempfile
from collections.abc import Sequence

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import datasets, hparams

_CORPUS, _OUTPUT, _VOCAB = "openwebtext", "pretrain_tfrecords", "vocab.txt"


def _extract(corpus: str, names: Sequence[str], folder: str) -> int:
    """Unpacks the archives among `names`; returns their number."""
    count = 0
    for name in names:
        path = files.join(corpus, name)
        if not files.is_local(path) or not tarfile.is_tarfile(path):
            continue
        target = files.join(folder, f"{count:05d}")
        files.make_directory(target)
        with tarfile.open(path) as archive:
            archive.extractall(target, filter="data")
        count += 1
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Builds; returns the exit status."""
    flags = datasets.parser(__doc__)
    flags.add_argument(
        "--data-dir", required=True, help="Where corpus and vocabulary are."
    )
    args = flags.parse_args(argv)
    corpus = files.join(args.data_dir, _CORPUS)

    def body() -> str:
        if not files.is_directory(corpus):
            raise UserError(f"--data-dir: no directory {corpus}")
        names = sorted(files.list_directory(corpus))
        with tempfile.TemporaryDirectory(dir=args.data_dir) as folder:
            found = files.join(corpus, "*")
            archives = _extract(corpus, names, folder)
            if archives == len(names):
                found = files.join(folder, "*", "*")
            elif archives:
                raise UserError(
                    f"{corpus}: holds archives and other files; expected "
                    "either alone"
                )
            return datasets.build(
                args,
                input=found,
                vocab=files.join(args.data_dir, _VOCAB),
                output=files.join(args.data_dir, _OUTPUT),
                blank_lines_separate_documents=False,
            )

    command = "build_openwebtext_pretraining_dataset"
    return hparams.run(command, body, argv or sys.argv)


if __name__ == "__main__":
    sys.exit(main())
