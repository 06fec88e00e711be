"""Processes units of work: cleans, tokenizes, makes examples, serializes.

A unit is some parts of files; the result depends on the unit alone (in legacy
mode, also on earlier units). Units are processed here, or by a pool of
processes. This module imports TensorFlow only when a worker starts, so that a
new process can set its environment first.
"""

import collections
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np

from electra_tf.data import examples as examples_lib
from electra_tf.data.build_settings import BuildSettings
from electra_tf.errors import UserError
from electra_tf.text import accents, corpus
from electra_tf.text.cleaning import Cleaning, fingerprint

_MASK64 = (1 << 64) - 1
# Bytes of each document, and of a unit, that are checked for scripts that
# stripping accents harms.
_SAMPLED, _SAMPLED_OF_UNIT = 1 << 11, 1 << 14
_PRELOAD = "electra_tf.data.worker_preload"


@dataclasses.dataclass(frozen=True)
class UnitResult:
    """The result of a unit; all arrays have one entry for each document.

    Attributes:
      records: serialized examples, document after document.
      examples: number of records of each document.
      tokens: number of tokens in these.
      lines: number of lines of each document.
      source_tokens: number of tokens in these.
      unknown_tokens: number of [UNK] among those.
      held_out: whether a document belongs to the validation split.
      begins: whether it is a document's beginning, not a later piece.
      fingerprints: 16 bytes for each document's (or piece's) clean content.
      counts: counts of repairs by name, and of `accents.changes`.
    """

    records: list[bytes]
    examples: np.ndarray
    tokens: np.ndarray
    lines: np.ndarray
    source_tokens: np.ndarray
    unknown_tokens: np.ndarray
    held_out: np.ndarray
    begins: np.ndarray
    fingerprints: list[bytes]
    counts: Counter[str]


class UnitWorker:
    """Turns units into serialized examples."""

    def __init__(self, settings: BuildSettings, cleaning: Cleaning):
        from electra_tf.text import segment, tokenizer, vocab

        self._settings, self._cleaning = settings, cleaning
        words = vocab.load_vocab(settings.vocab)
        self._tokenizer = tokenizer.Tokenizer(
            words,
            lower_case=settings.lower_case,
            strip_accents=settings.strip_accents,
        )
        self._unk_id = words.unk_id
        self._specials = {"cls_id": words.cls_id, "sep_id": words.sep_id}
        self._segmenter = None
        if settings.word_segmenter:
            self._segmenter = segment.Segmenter(settings.word_segmenter)
            self._continues = np.array(words.continues)
        self._legacy = None
        if settings.legacy:
            self._legacy = examples_lib.LegacyBuilder(
                settings.max_seq_length, seed=settings.seed, **self._specials
            )

    def __call__(self, unit: Sequence[corpus.Part]) -> UnitResult:
        """Processes one unit; a flaw is a `UserError` with `strict`."""
        from electra_tf.data import tfrecords

        settings = self._settings
        counts: Counter[str] = Counter()
        documents: list[list[bytes]] = []
        fingerprints: list[bytes] = []
        identities: list[bytes] = []
        pieces: list[int] = []
        last: list[bool] = []
        for part in unit:
            found = corpus.documents(
                part, self._cleaning, counts, settings.text_field
            )
            names = [fingerprint(lines) for lines in found]
            if self._legacy and not found and part.piece and part.ends:
                # Nothing follows, but the document of those before ends.
                found = [[]]
                name = [part.identity or b"", b"%d" % part.piece]
                names = [fingerprint(name)]
            documents += found
            fingerprints += names
            identities += [part.identity or name for name in names]
            pieces += [part.piece] * len(names)
            last += [part.ends] * len(names)
        if self._tokenizer.strip_accents:
            counts.update(accents.changes(_sample(documents)))
        lines = self._tokenize(documents)
        unknown = _count_in_documents(lines, self._unk_id)
        keys, held_out = place(
            identities,
            pieces,
            seed=settings.seed,
            validation_fraction=settings.validation_fraction,
        )
        if self._legacy:
            made = self._legacy.add(lines, last)
        else:
            made = examples_lib.build(
                lines,
                keys,
                max_seq_length=settings.max_seq_length,
                **self._specials,
            )
        if self._segmenter:
            made = examples_lib.read_word_starts(made)
        ends = np.concatenate([[0], np.cumsum(made.per_document)])
        return UnitResult(
            records=tfrecords.serialize(made),
            examples=made.per_document,
            tokens=np.diff(made.starts[ends]),
            lines=np.diff(lines.documents),
            source_tokens=np.diff(lines.starts[lines.documents]),
            unknown_tokens=unknown,
            held_out=held_out,
            begins=np.array(pieces, np.int64) == 0,
            fingerprints=fingerprints,
            counts=counts,
        )

    def _tokenize(self, documents: list[list[bytes]]) -> examples_lib.Lines:
        import tensorflow as tf

        rows = [line for lines in documents for line in lines]
        first = np.cumsum([0] + [len(lines) for lines in documents])
        if not rows:
            empty = np.zeros(1, np.int64)
            return examples_lib.Lines(empty[:0].astype(np.int32), empty, first)
        with tf.device("CPU:0"):  # even if the caller's process has a GPU
            texts = tf.constant(rows, tf.string)
            if self._segmenter is None:
                tokens = self._tokenizer(texts)
            else:
                offsets = self._tokenizer.tokenize_with_offsets(texts)
                tokens = offsets.ids
        lines = examples_lib.Lines(
            tokens.flat_values.numpy(),
            tokens.row_splits.numpy().astype(np.int64),
            first,
        )
        if self._segmenter is None:
            return lines
        word_starts = self._segmenter.word_starts(
            rows, lines.starts, offsets.start_bytes.flat_values.numpy()
        )
        # The segmenter splits unknown scripts into single letters.
        word_starts &= ~self._continues[lines.ids]
        return examples_lib.mark_word_starts(lines, word_starts)


def _sample(documents: list[list[bytes]]) -> str:
    """Returns some text of each document that is not only ASCII."""
    found, left = [], _SAMPLED_OF_UNIT
    for lines in documents:
        size = min(_SAMPLED, left)
        for line in lines:
            if size <= 0:
                break
            found.append(line[:size])
            size -= len(line)
            left -= len(found[-1])
        if left <= 0:
            break
    return b"\n".join(found).decode("utf-8", "ignore")


def _count_in_documents(lines: examples_lib.Lines, token: int) -> np.ndarray:
    """Counts a token in each document; int64 [documents]."""
    # The marks of word starts are in a bit above the ids.
    ids = lines.ids & examples_lib.ID_MASK
    places = np.flatnonzero(ids == token)
    ends = lines.starts[lines.documents]
    document = np.searchsorted(ends, places, side="right") - 1
    return np.bincount(document, minlength=len(ends) - 1)


def place(
    identities: Sequence[bytes],
    pieces: Sequence[int],
    *,
    seed: int,
    validation_fraction: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns each document's random key, and whether it is held out.

    The split depends only on the content, not on the seed, so that runs with
    other seeds have the same held-out documents.

    Args:
      identities: 16 bytes for each document.
      pieces: number of the piece, 0 for a whole document.
      seed: any integer.
      validation_fraction: share of held-out documents.

    Returns:
      uint64 keys and bool "held out", one for each document.
    """
    words = np.frombuffer(b"".join(identities), "<u8").reshape(-1, 2)
    share = (words[:, 0] >> np.uint64(11)) * 2.0**-53
    held_out = share < validation_fraction
    mix = np.array([(seed * 0x9E3779B97F4A7C15 + 0x1234567) & _MASK64])
    salt = (examples_lib.uniform(mix.astype(np.uint64), 0) * 2**53).astype(
        np.uint64
    )
    number = np.array(pieces, np.uint64) * np.uint64(0xD1342543DE82EF95)
    return words[:, 1] ^ salt ^ number, held_out


_worker: UnitWorker | None = None


class Stopped(Exception):
    """Raised when the parent wants no more results."""


class _Stop:
    """Makes SIGTERM abandon the current unit and all others.

    It does not end the process at once: a process killed while it sends a
    result would leave the parent waiting for the rest.
    """

    def __init__(self) -> None:
        self.wanted = self.at_work = False

    def __call__(self, *_: object) -> None:
        self.wanted = True
        if self.at_work:
            raise Stopped


_stop = _Stop()


def start(settings: BuildSettings, cleaning: Cleaning) -> None:
    """Makes this process a worker: one thread, no GPU, ends with its parent.

    SIGTERM makes `work` raise `Stopped`, and ends the process soon after.
    """
    # Ctrl-C reaches the whole group; the parent ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end(*_: object) -> None:
        # If no end is announced, as after another worker's death: any result
        # has been sent by now.
        timer = threading.Timer(2.0, os._exit, (1,))
        timer.daemon = True
        timer.start()
        _stop()

    signal.signal(signal.SIGTERM, end)
    parent: Any = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    global _worker
    _worker = UnitWorker(settings, cleaning)


def work(unit: Sequence[corpus.Part]) -> UnitResult:
    """Processes a unit in a process where `start` was called.

    Raises:
      Stopped: SIGTERM was received.
    """
    if _worker is None:
        raise UserError("a data worker was not started")
    if _stop.wanted:
        raise Stopped
    _stop.at_work = True
    try:
        return _worker(unit)
    finally:
        _stop.at_work = False


def results(
    units: Iterable[Sequence[corpus.Part]],
    settings: BuildSettings,
    cleaning: Cleaning,
    num_workers: int,
) -> Generator[UnitResult, None, None]:
    """Processes all units; yields results in the order of the units.

    Args:
      units: the units, read a few ahead.
      settings: settings of the build.
      cleaning: options for cleaning lines.
      num_workers: number of processes; 1 means this one.

    Raises:
      UserError: from a worker, or if a worker process died.
    """
    if num_workers <= 1:
        local = UnitWorker(settings, cleaning)
        for unit in units:
            yield local(unit)
        return
    with _pool(num_workers, (settings, cleaning)) as pool:
        waiting: collections.deque[futures.Future[UnitResult]] = (
            collections.deque()
        )
        try:
            for unit in units:
                waiting.append(pool.submit(work, unit))
                # One current and one waiting unit for each worker: memory is
                # bounded, and no worker waits.
                while len(waiting) >= 2 * num_workers or (
                    waiting and waiting[0].done()
                ):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process died (killed, or out of memory); nothing "
                "finished was changed: run the command again, with a smaller "
                "--num_workers if memory was short"
            ) from error


@contextlib.contextmanager
def _pool(
    num_workers: int, arguments: tuple[BuildSettings, Cleaning]
) -> Iterator[futures.ProcessPoolExecutor]:
    """Yields a pool whose processes always end with the block."""
    others = set(multiprocessing.active_children())
    # Never forked from this process, as TensorFlow's threads do not survive it.
    method = "spawn"
    if "forkserver" in multiprocessing.get_all_start_methods():
        method = "forkserver"
        multiprocessing.set_forkserver_preload([_PRELOAD])
    pool = futures.ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context(method),
        initializer=start,
        initargs=arguments,
    )
    try:
        yield pool
        pool.shutdown()
    finally:
        ours = set(multiprocessing.active_children()) - others
        for process in ours:
            process.terminate()  # they abandon their work, see `start`
        pool.shutdown(wait=True, cancel_futures=True)
