"""Writes TFRecord files as shards, and searches them for damage.

A record is: its length (uint64), the masked CRC-32C of those eight bytes, the
data, the masked CRC-32C of the data (all little-endian). TensorFlow stops at
the first bad one without naming it; `find_corruption` finds it.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from electra_tf import files
from electra_tf.data.manifest import Shard
from electra_tf.errors import UserError

OVERHEAD = 16
"""Bytes that framing adds to each record."""

_HEADER = 12


def shard_name(split: str, index: int, num_shards: int) -> str:
    """Returns the file name of a shard."""
    return f"{split}-{index:05d}-of-{num_shards:05d}.tfrecord"


class ShardWriter:
    """Distributes records: the i-th goes to shard i modulo their number.

    Each shard is then an even sample of the whole, which lets the reader
    shuffle well with little memory.

    Args:
      directory: directory of the files.
      split: prefix of their names.
      num_shards: number of shards.
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
          UserError: they cannot be written, such as on a full disk.
        """
        n = self._next
        try:
            for record in records:
                self._writers[n].write(record)
                self._examples[n] += 1
                self._bytes[n] += len(record) + OVERHEAD
                n = (n + 1) % len(self._writers)
        except (tf.errors.OpError, OSError) as error:
            with files.named_errors(self._path(n), "write"):
                raise error
        self._next = n

    def close(self) -> tuple[Shard, ...]:
        """Completes the files.

        Raises:
          UserError: the files on disk are incomplete.
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


def _table() -> np.ndarray:
    """Returns CRC-32C (Castagnoli, reflected 0x82F63B78) of each byte,
    uint32.
    """
    table: np.ndarray = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        odd = (table & 1).astype(bool)
        table = (table >> 1) ^ np.where(odd, np.uint32(0x82F63B78), 0)
    return table.astype(np.uint32)


_CRC = _table()


def masked_crcs(
    data: np.ndarray, starts: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Computes the masked CRC-32C of many ranges of `data` at once.

    Args:
      data: uint8 [bytes].
      starts: int64 [n], first byte of each range.
      lengths: int64 [n], length of each range.

    Returns:
      uint32 [n].
    """
    order = np.argsort(-lengths, kind="stable")
    starts, sizes = starts[order], lengths[order]
    crc = np.full(len(starts), 0xFFFFFFFF, np.uint32)
    active = len(starts)
    for i in range(int(sizes[0]) if len(sizes) else 0):
        while active and sizes[active - 1] <= i:
            active -= 1
        now = crc[:active]
        crc[:active] = _CRC[(now ^ data[starts[:active] + i]) & 0xFF] ^ (
            now >> 8
        )
    crc = ~crc
    masked = np.empty_like(crc)
    rotated = (crc >> 15) | (crc << 17)
    masked[order] = rotated + np.uint32(0xA282EAD8)
    return masked


DAMAGED = "a damaged record was read"
"""In the message of what `ChosenRecords` raises."""


class ChosenRecords:
    """Reads some records of local files, without reading the others.

    The lengths of a file's records are read once, 12 bytes per record, and kept
    in 8 bytes per record.

    Args:
      paths: paths of the files.
      counts: number of records in each.
    """

    def __init__(self, paths: Sequence[str], counts: Sequence[int]):
        self._paths = list(paths)
        self._counts = np.array(counts, np.int64)
        self._starts: dict[int, np.ndarray] = {}

    def read(self, order: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Reads records by their numbers.

        Args:
          order: int [files], the order in which records are numbered.
          numbers: numbers of the records, int64 [n].

        Returns:
          The records' data, an array of bytes objects, [n].

        Raises:
          ValueError: a record is damaged; the message is `DAMAGED`.
        """
        ends = np.cumsum(self._counts[order])
        place = np.searchsorted(ends, numbers, "right")
        within = numbers - (ends - self._counts[order])[place]
        records = np.empty(len(numbers), object)
        for k in np.unique(place):
            chosen = np.flatnonzero(place == k)
            chosen = chosen[np.argsort(within[chosen], kind="stable")]
            self._read_file(int(order[k]), within[chosen], records, chosen)
        return records

    def _read_file(
        self,
        file: int,
        numbers: np.ndarray,
        records: np.ndarray,
        places: np.ndarray,
    ) -> None:
        """Fills `records[places]` with a file's records, in ascending order."""
        handle = os.open(self._paths[file], os.O_RDONLY)
        try:
            if file not in self._starts:
                self._starts[file] = self._lengths(handle, file)
            starts = self._starts[file]
            # Reads neighbours together.
            runs = np.split(
                np.arange(len(numbers)),
                np.flatnonzero(np.diff(numbers) > 1) + 1,
            )
            blocks = []
            for run in runs:
                begin = int(starts[numbers[run[0]]])
                end = int(starts[numbers[run[-1]] + 1])
                block = os.pread(handle, end - begin, begin)
                if len(block) != end - begin:
                    raise ValueError(f"{DAMAGED}: {self._paths[file]}")
                blocks.append(block)
        finally:
            os.close(handle)
        content = b"".join(blocks)
        sizes = starts[numbers + 1] - starts[numbers]
        at = np.cumsum(sizes) - sizes
        lengths = sizes - OVERHEAD
        data = np.frombuffer(content, np.uint8)
        crcs = masked_crcs(data, at + _HEADER, lengths)
        if not np.array_equal(crcs, _stored(data, at + _HEADER + lengths)):
            raise ValueError(f"{DAMAGED}: {self._paths[file]}")
        for i, first, length in zip(places, at + _HEADER, lengths):
            records[i] = content[first : first + length]

    def _lengths(self, handle: int, file: int) -> np.ndarray:
        """Returns where each record of a file begins, and the file's end, [n +
        1].
        """
        count = int(self._counts[file])
        headers, starts, at = [], np.zeros(count + 1, np.int64), 0
        size = os.fstat(handle).st_size
        for i in range(count):
            header = os.pread(handle, _HEADER, at)
            headers.append(header)
            at += OVERHEAD + int.from_bytes(header[:8], "little")
            if at > size:
                raise ValueError(f"{DAMAGED}: {self._paths[file]}")
            starts[i + 1] = at
        data = np.frombuffer(b"".join(headers), np.uint8)
        first = np.arange(count, dtype=np.int64) * _HEADER
        crcs = masked_crcs(data, first, np.full(count, 8))
        if not np.array_equal(crcs, _stored(data, first + 8)):
            raise ValueError(f"{DAMAGED}: {self._paths[file]}")
        return starts


@dataclasses.dataclass(frozen=True)
class Corruption:
    """The first damage in a TFRecord file.

    Attributes:
      record: number of the record, from 0.
      offset: where it begins, in bytes.
      reason: description of the damage.
    """

    record: int
    offset: int
    reason: str


@dataclasses.dataclass(frozen=True)
class _Scan:
    content: bytes
    starts: np.ndarray  # where each record's framing begins
    lengths: np.ndarray  # lengths of the data
    good: np.ndarray  # whether the data is intact
    end: Corruption | None  # what stopped the scan


def _scan(path: str) -> _Scan:
    content = files.read_bytes(path)
    data = np.frombuffer(content, np.uint8)
    starts, lengths, at = [], [], 0
    while at + _HEADER <= len(content):
        length = int.from_bytes(content[at : at + 8], "little")
        starts.append(at)
        lengths.append(length)
        at += OVERHEAD + length
    end = None
    first = np.array(starts, np.int64)
    headers = masked_crcs(data, first, np.full(len(first), 8))
    bad = np.flatnonzero(headers != _stored(data, first + 8))
    if len(bad):
        k = int(bad[0])
        end = Corruption(k, starts[k], "its length is damaged")
    elif at > len(content):
        k = len(starts) - 1
        end = Corruption(k, starts[k], "the file ends inside it")
    elif at < len(content):
        k = len(starts)
        end = Corruption(k, at, "the file ends inside it")
    if end:
        first = first[: end.record]
    size = np.array(lengths[: len(first)], np.int64)
    crcs = masked_crcs(data, first + _HEADER, size)
    good = crcs == _stored(data, first + _HEADER + size)
    return _Scan(content, first, size, good, end)


def _stored(data: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Reads the little-endian uint32 at each position."""
    stored = np.zeros(len(at), np.uint32)
    for k in range(4):
        stored |= data[at + k].astype(np.uint32) << np.uint32(8 * k)
    return stored


def find_corruption(path: str) -> Corruption | None:
    """Finds the first bad record of a TFRecord file, or returns None.

    It reads the whole file into memory.
    """
    scan = _scan(path)
    bad = np.flatnonzero(~scan.good)
    if len(bad):
        k = int(bad[0])
        return Corruption(k, int(scan.starts[k]), "its data is damaged")
    return scan.end


def copy_good_records(source: str, target: str) -> tuple[int, int]:
    """Copies the intact records of `source` to `target`.

    Returns:
      The numbers of copied records, and of lost ones (everything after a
      damaged length or a truncation counts as one).
    """
    scan = _scan(source)
    with files.atomic_write(target) as handle:
        for k in np.flatnonzero(scan.good):
            start = scan.starts[k]
            end = start + OVERHEAD + scan.lengths[k]
            handle.write(scan.content[start:end])
    kept = int(scan.good.sum())
    return kept, len(scan.good) - kept + (scan.end is not None)
