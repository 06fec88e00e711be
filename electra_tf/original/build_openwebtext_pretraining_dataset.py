"""Builds pre-training examples from the OpenWebText corpus.

    python -m electra_tf.original.build_openwebtext_pretraining_dataset \\
        --data-dir DIR --num-processes 5

Reads DIR/openwebtext, archives of text files or text files, each one a
document, and DIR/vocab.txt; writes DIR/pretrain_tfrecords.
"""

import contextlib
import lzma
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Sequence

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.original import datasets, hparams
from electra_tf.recipes.interrupts import sigterm_interrupts

_CORPUS, _OUTPUT, _VOCAB = "openwebtext", "pretrain_tfrecords", "vocab.txt"


def _archives(corpus: str) -> list[str]:
    """Returns the archives of a folder; none where it has texts.

    Raises:
      UserError: it has archives and other files.
    """
    names = files.list_directory(corpus)
    if not files.is_local(corpus):
        return []  # read as they are
    paths = [files.join(corpus, name) for name in names]
    found = [path for path in paths if _is_archive(path)]
    if found and len(found) < len(paths):
        raise UserError(
            f"{corpus}: holds archives and other files; expected either alone"
        )
    return found


def _is_archive(path: str) -> bool:
    with files.named_errors(path, "read"):
        return not files.is_directory(path) and tarfile.is_tarfile(path)


def _unpack(path: str, folder: str) -> None:
    """Unpacks an archive into a folder, which it makes.

    Raises:
      UserError: the archive is damaged, or cannot be unpacked; it is named.
    """
    files.make_directory(folder)
    try:
        with files.named_errors(path, "unpack"), tarfile.open(path) as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise UserError(
            f"{path}: is a damaged archive ({error}); download it again"
        ) from error


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
        with sigterm_interrupts(), contextlib.ExitStack() as stack:
            archives = _archives(corpus)
            if not archives:
                found = datasets.all_files(corpus)
            else:
                with files.named_errors(args.data_dir, "write to"):
                    made = tempfile.TemporaryDirectory(dir=args.data_dir)
                folder = stack.enter_context(made)
                for number, archive in enumerate(archives):
                    _unpack(archive, files.join(folder, f"{number:05d}"))
                found = datasets.all_files(folder, levels=2)
            return datasets.build(
                args,
                input=found,
                vocab=files.join(args.data_dir, _VOCAB),
                output=files.join(args.data_dir, _OUTPUT),
                blank_lines_separate_documents=False,
            )

    command = "build_openwebtext_pretraining_dataset"
    return hparams.run(command, body, argv or sys.argv, resumes=False)


if __name__ == "__main__":
    sys.exit(main())
