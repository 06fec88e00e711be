"""Pairs of texts through TensorFlow Datasets."""

from typing import Any

from electra_tf.errors import UserError
from electra_tf.tasks.seq2seq.pairs import Pair

_BATCH = 1024


def read(name: str, split: str, data_dir: str | None) -> list[Pair] | None:
    """A split's pairs, in the order of the source; downloads if it must.

    Args:
      name: of the set and its config: "ted_hrlr_translate/pt_to_en".
      split: "train", "validation" or "test".
      data_dir: of TensorFlow Datasets; its own default where None.

    Returns:
      None where the set has no such split.

    Raises:
      UserError: no such set, none of pairs of texts, or it can be neither
        found nor downloaded.
    """
    import tensorflow_datasets as tfds

    builder = builder_of(name, data_dir)
    source, target = columns(name, builder)
    try:
        builder.download_and_prepare(
            download_config=tfds.download.DownloadConfig(try_download_gcs=False)
        )
    except Exception as error:  # of the network, the disk, an archive ...
        raise _cannot(name, error) from error
    known = builder.info.splits  # empty under tfds.testing.mock_data
    if known and split not in known:
        return None
    found = []
    batches = builder.as_dataset(split=split, shuffle_files=False).batch(_BATCH)
    for batch in batches.as_numpy_iterator():
        for texts in zip(batch[source].tolist(), batch[target].tolist()):
            first, second = (text.decode("utf-8", "replace") for text in texts)
            place = f"{name} {split} {len(found)}"
            found.append(Pair(_one_line(first), _one_line(second), place))
    return found


def builder_of(name: str, data_dir: str | None) -> Any:
    """The set's `tfds.core.DatasetBuilder`.

    Raises:
      UserError: no such set.
    """
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # a name, a config, a missing package ...
        raise _cannot(name, error) from error


def columns(name: str, builder: Any) -> tuple[str, str]:
    """What holds the texts that are read and those that are written.

    Raises:
      UserError: it is no set of such pairs.
    """
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys
    features = builder.info.features
    if (
        not keys
        or len(keys) != 2
        or any(key not in features for key in keys)
        or any(
            not isinstance(features[key], tfds.features.Text) for key in keys
        )
    ):
        raise UserError(
            f"{name}: a set of TensorFlow Datasets, but not of pairs of "
            "texts; expected one such as ted_hrlr_translate/pt_to_en"
        )
    return keys


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


def _cannot(name: str, error: Exception) -> UserError:
    problem = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(
        f"{name}: TensorFlow Datasets cannot get it ({problem[0]:.160}); "
        "with no network give --data, a folder of files with pairs, and no "
        "name of a set"
    )
