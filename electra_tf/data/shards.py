"""Writes the shards of one split."""

from collections.abc import Sequence

import tensorflow as tf

from electra_tf import files
from electra_tf.data import framing
from electra_tf.data.manifest import Shard
from electra_tf.errors import UserError


def shard_name(split: str, index: int, num_shards: int) -> str:
    """The name of a file."""
    return f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"


class ShardWriter:
    """Spreads records evenly: the i-th goes to shard i modulo their number.

    Each shard is then an even sample of the whole, which lets the reader
    shuffle well with little memory.

    Args:
      directory: where the files are written.
      split: the beginning of their names.
      num_shards: how many.
    """

    def __init__(self, directory: str, split: str, num_shards: int):
        self._directory = directory
        self._names = [
            shard_name(split, index, num_shards) for index in range(num_shards)
        ]
        self._examples = [0] * num_shards
        self._bytes = [0] * num_shards
        self._next = 0
        self._writers: list[tf.io.TFRecordWriter] = []
        for name in self._names:
            path = files.join(directory, name)
            with files.named_errors(path, "write"):
                self._writers.append(tf.io.TFRecordWriter(path))

    def write(self, records: Sequence[bytes]) -> None:
        """Appends records.

        Raises:
          UserError: they cannot be written, as on a full disk.
        """
        n = self._next
        try:
            for record in records:
                self._writers[n].write(record)
                self._examples[n] += 1
                self._bytes[n] += len(record) + framing.OVERHEAD
                n = (n + 1) % len(self._writers)
        except (tf.errors.OpError, OSError) as error:
            with files.named_errors(self._path(n), "write"):
                raise error
        self._next = n

    def close(self) -> tuple[Shard, ...]:
        """Finishes the files.

        Raises:
          UserError: they are not on the disk as they should be.
        """
        shards = []
        for i, name in enumerate(self._names):
            with files.named_errors(self._path(i), "write"):
                self._writers[i].close()
            size = files.size(self._path(i))
            if size != self._bytes[i]:
                raise UserError(
                    f"cannot write {self._path(i)}: {size} bytes arrived of "
                    f"{self._bytes[i]}; is the disk full?"
                )
            shards.append(Shard(name, self._examples[i], self._bytes[i]))
        return tuple(shards)

    def _path(self, index: int) -> str:
        return files.join(self._directory, self._names[index])
