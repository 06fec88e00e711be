"""Runs a .tflite network with LiteRT: rows of any length, several at once.

LiteRT (`ai-edge-litert`, the extra `litert`) computes on CPUs with XNNPACK's
kernels. One interpreter runs one row at a time, on one thread: a row that is
as long as it is, without padding, and several interpreters side by side use
the cores better than one that divides each operation among them.
"""

import concurrent.futures
import importlib.util
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from electra_tf.errors import UserError

Engine = Literal["auto", "tensorflow", "litert"]
INPUTS = ("input_ids", "input_mask", "segment_ids")
# XNNPACK multiplies so many tokens at a time, of 32 bits and of 8, where the
# processor has AVX-512: up to a multiple of it a row takes as long. Where there
# are other kernels it is but a step.
_TILE, _TILE_INT8 = 7, 5
# Interpreters that keep the length they have, as another one costs as much as
# some tokens: so many, if they take no more memory than this.
_KEPT, _KEPT_BYTES = 4, 64 << 20


def installed() -> bool:
    """Whether LiteRT is there."""
    return importlib.util.find_spec("ai_edge_litert") is not None


def interpreter_class() -> Any:
    """LiteRT's `Interpreter`.

    Raises:
      UserError: the package is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            "LiteRT needs the package ai-edge-litert: pip install "
            f"'electra-tf[litert]' ({error})"
        ) from error
    return Interpreter


def cores() -> int:
    """Returns how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Stopped(Exception):
    """Raised where a call was asked to stop."""


class LiteNetwork:
    """A network as LiteRT runs it; several threads may call it at once.

    Args:
      content: of the .tflite file: `INPUTS`, each int32 [1, L] with any L.
      longest: the most tokens that it can read.
      int8: whether it multiplies in 8 bits, for whoever asks.
      make: the class of interpreters; LiteRT's where None.

    Attributes:
      outputs: their names.
      shapes: of each, that of one row; -1 is the row's length.

    Raises:
      UserError: LiteRT is not installed, or cannot run it.
    """

    def __init__(
        self,
        content: bytes,
        longest: int,
        int8: bool = False,
        make: Any = None,
    ):
        self.int8 = int8
        self._content = content
        self._longest = longest
        self._make = make or interpreter_class()
        self._lock = threading.Lock()
        # Those that nobody uses now, what was used last at the end. There are
        # as many as ran at once, and at most some more for other lengths.
        self._free: list[_Interpreter] = []
        self._more = min(_KEPT, _KEPT_BYTES // max(1, len(content))) - 1
        self._threads: concurrent.futures.Executor | None = None
        first = self._new()
        self.shapes = first.shapes
        self.outputs = tuple(first.shapes)
        self._free.append(first)

    def _new(self) -> "_Interpreter":
        tile = _TILE_INT8 if self.int8 else _TILE
        return _Interpreter(self._make, self._content, self._longest, tile)

    def _taken(self, length: int, alone: bool) -> "_Interpreter":
        """Takes an interpreter, for rows of about this length.

        Args:
          length: tokens of the first row.
          alone: whether it is the only one.
        """
        with self._lock:
            for i, one in enumerate(self._free):
                if one.fits(length):
                    return self._free.pop(i)
            more = alone and self._more > 0
            if self._free and not more:
                return self._free.pop(0)
            self._more -= more
        return self._new()

    def __call__(
        self,
        output: str,
        rows: Sequence[np.ndarray],
        *,
        threads: int = 1,
        stopped: Callable[[], bool] = lambda: False,
    ) -> np.ndarray:
        """Returns one output of B rows, float32 [B, ...].

        Args:
          output: its name. Where its second axis is the tokens', it is 0 at
            padding.
          rows: `INPUTS`, each int32 [B, L]; the mask is 1 at the first tokens
            of a row, at one at least, and 0 at the others.
          threads: rows that run at the same time.
          stopped: asked before each row.

        Raises:
          Stopped: it said so.
        """
        input_ids, input_mask, segment_ids = rows
        lengths = np.maximum(np.count_nonzero(input_mask, axis=1), 1)
        order = np.argsort(lengths, kind="stable").tolist()
        each = [
            (input_ids[i, : lengths[i]], segment_ids[i, : lengths[i]])
            for i in order
        ]
        threads = min(threads, len(each))
        if threads <= 1:
            found = self._run(output, each, stopped)
        else:
            if self._threads is None:
                self._threads = concurrent.futures.ThreadPoolExecutor(cores())
            # Neighbours are alike in length: dealt out like cards.
            shares = [each[i::threads] for i in range(threads)]
            calls = [
                self._threads.submit(self._run, output, share, stopped)
                for share in shares
            ]
            found = [np.empty(0)] * len(each)
            for i, call in enumerate(calls):
                found[i::threads] = call.result()
        shape = self.shapes[output]
        wide = [input_ids.shape[1] if size < 0 else size for size in shape]
        result = np.zeros([len(found), *wide], "float32")
        of_tokens = shape[:1] == (-1,)
        for i, row in zip(order, found):
            if of_tokens:
                result[i, : lengths[i]] = row[: lengths[i]]
            else:
                result[i] = row
        return result

    def _run(
        self,
        output: str,
        rows: list[tuple[np.ndarray, np.ndarray]],
        stopped: Callable[[], bool],
    ) -> list[np.ndarray]:
        """The output of each row, one after another."""
        if not rows:
            return []
        found = []
        one = self._taken(len(rows[0][0]), len(rows) == 1)
        try:
            for row in rows:
                if stopped():
                    raise Stopped
                found.append(one.run(output, *row))
            return found
        finally:
            with self._lock:
                self._free.append(one)


class _Interpreter:
    """One interpreter, for one thread at a time.

    Args:
      make: the class.
      content: of the .tflite file.
      longest: the most tokens that it can read.
      tile: it is given lengths that are multiples of this.
    """

    def __init__(self, make: Any, content: bytes, longest: int, tile: int):
        try:
            self._made = make(model_content=content, num_threads=1)
            runner = self._made.get_signature_runner()
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f"LiteRT cannot run the network: {error}; if its file is not "
                "whole, copy or export it again"
            ) from error
        self._inputs = {
            name: detail["index"]
            for name, detail in runner.get_input_details().items()
        }
        details = runner.get_output_details()
        self._outputs = {name: each["index"] for name, each in details.items()}
        # Of a row; -1 is its length.
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(map(int, each["shape_signature"][1:]))
            for name, each in details.items()
        }
        self._longest, self._tile = longest, tile
        self._length = 0

    def _wide(self, length: int) -> int:
        return min(-(-length // self._tile) * self._tile, self._longest)

    def fits(self, length: int) -> bool:
        """Whether it has the length that this row needs, or none yet."""
        return self._length in (0, self._wide(length))

    def run(
        self, output: str, input_ids: np.ndarray, segment_ids: np.ndarray
    ) -> np.ndarray:
        """One output of one row: [...], or [L or more, ...] of its tokens."""
        length = len(input_ids)
        wide = self._wide(length)
        if wide != self._length:
            self._length = 0  # of no use, should there be no memory for it
            for index in self._inputs.values():
                self._made.resize_tensor_input(index, [1, wide])
            self._made.allocate_tensors()
            self._length = wide
        row = np.zeros([3, 1, self._length], "int32")
        row[0, 0, :length] = input_ids
        row[1, 0, :length] = 1
        row[2, 0, :length] = segment_ids
        for name, value in zip(INPUTS, row):
            if name in self._inputs:  # one that nothing reads is not there
                self._made.set_tensor(self._inputs[name], value)
        self._made.invoke()
        return self._made.get_tensor(self._outputs[output])[0]
