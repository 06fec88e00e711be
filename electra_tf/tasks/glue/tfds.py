"""GLUE through TensorFlow Datasets."""

import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.tasks.glue.files import GlueRow
from electra_tf.tasks.glue.sets import UNLABELLED, GlueSet

# The text of the only row of a split that stands for a file that was not
# there: TensorFlow Datasets has no empty splits. See tools/prepare_glue.py.
NO_FILE = "(electra_tf: no such file was given)"
# What MRPC is downloaded as; the other sets have one file each.
MRPC_FILES = (
    "msr_paraphrase_train.txt",
    "msr_paraphrase_test.txt",
    "data_mrpc_dev_ids.tsv",
)
_BATCH = 1024


def rows(
    glue_set: GlueSet, splits: Sequence[str], data_dir: str | None
) -> dict[str, list[GlueRow]]:
    """Rows by split, each in the order of the source; downloads if it must.

    Args:
      glue_set: which.
      splits: which of its splits; one that the data lacks is left out.
      data_dir: of TensorFlow Datasets; its own default where None.

    Raises:
      UserError: it can be neither found nor downloaded.
    """
    import tensorflow_datasets as tfds

    try:
        builder = builder_of(glue_set, data_dir)
        if not builder.is_prepared():
            _check_network(builder)
        builder.download_and_prepare(
            # The copies on Google's storage are no longer kept.
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    except Exception as error:  # of the network, the disk, an archive ...
        problem = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"glue/{glue_set.name}: TensorFlow Datasets cannot get it "
            f"({problem[0]:.160}); with no network give --data, a folder of "
            "the official TSV files, or lay them into its cache by "
            "tools/prepare_glue.py"
        ) from error
    found = {}
    for split in splits:
        known = builder.info.splits  # empty under tfds.testing.mock_data
        if known and split not in known:
            continue
        data = builder.as_dataset(split=split).batch(_BATCH)
        split_rows = _rows(glue_set, data.as_numpy_iterator(), split)
        if [row.texts[0] for row in split_rows] != [NO_FILE]:
            found[split] = split_rows
    return found


def builder_of(glue_set: GlueSet, data_dir: str | None) -> Any:
    """The set's `tfds.core.DatasetBuilder`."""
    import tensorflow_datasets as tfds

    return tfds.builder(f"glue/{glue_set.name}", data_dir=data_dir)


def downloads_folder(builder: Any) -> str:
    """Where the downloads of all data sets are."""
    data_dir = os.fspath(builder.data_path.parents[2])  # of glue/NAME/VERSION
    return files.join(data_dir, "downloads")


def cached_files(builder: Any) -> dict[str, str]:
    """URL -> the file where a download of it is looked for."""
    from tensorflow_datasets.core.download import resource

    urls = [builder.builder_config.data_url]
    if not urls[0]:
        urls = [
            url
            for url, info in builder.url_infos.items()
            if info.filename in MRPC_FILES
        ]
    folder = files.join(downloads_folder(builder), "glue")
    return {
        # Found under the checksum of what is to be downloaded.
        url: files.join(
            folder, resource.get_dl_fname(url, builder.url_infos[url].checksum)
        )
        for url in urls
    }


def _check_network(builder: Any) -> None:
    """Fails at once where a download would be tried for minutes."""
    if urllib.request.getproxies():
        return  # names are resolved elsewhere
    if ".testing." in type(builder).download_and_prepare.__module__:
        return  # tfds.testing.mock_data is on, and nothing is downloaded
    for url, path in cached_files(builder).items():
        legacy = files.join(downloads_folder(builder), os.path.basename(path))
        if not files.exists(path) and not files.exists(legacy):
            host = urllib.parse.urlsplit(url).hostname
            try:
                socket.getaddrinfo(host, 443)
            except OSError as error:
                raise OSError(f"no connection to {host}") from error


def _rows(
    glue_set: GlueSet, batches: Iterator[Mapping[str, np.ndarray]], split: str
) -> list[GlueRow]:
    found = []
    for batch in batches:
        texts = zip(*(batch[name].tolist() for name in glue_set.texts))
        answers = [_answer(glue_set, label) for label in batch["label"]]
        indices = batch["idx"].tolist()
        for index, text, answer in zip(indices, texts, answers):
            found.append(
                GlueRow(
                    tuple(part.decode("utf-8") for part in text),
                    answer,
                    index,
                    f"glue/{glue_set.name} {split} {index}",
                )
            )
    # Stored shuffled; the numbers are those of the source's rows.
    return sorted(found, key=lambda row: row.index)


def _answer(glue_set: GlueSet, label: np.generic) -> str | float | None:
    if label == UNLABELLED:
        return None
    if glue_set.labels is None:
        return float(str(label))  # 3.8, which float32 has not
    return glue_set.labels[int(label)]
