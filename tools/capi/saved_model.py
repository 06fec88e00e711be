"""Runs a SavedModel in a session of TensorFlow's C API."""

import contextlib
import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from capi import library, signatures, tensors
from capi.library import CApiError, Output


class SavedModel:
    """Loads and runs a SavedModel; a context manager closes it.

    Attributes:
      signatures: name -> signature.
    """

    def __init__(self, path: str):
        """Loads the model for serving.

        Args:
          path: the folder with saved_model.pb.

        Raises:
          CApiError: the model cannot be loaded.
        """
        self._library = c = library.load()
        self._session = None
        self._graph = c.TF_NewGraph()
        options, meta_graph = c.TF_NewSessionOptions(), c.TF_NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            with library.checked(c, f"cannot load {path}") as status:
                self._session = c.TF_LoadSessionFromSavedModel(
                    options, None, str(path).encode(), tags, len(tags),
                    self._graph, meta_graph, status,
                )  # fmt: skip
            content = ctypes.string_at(
                meta_graph.contents.data, meta_graph.contents.length
            )
            self.signatures = signatures.read(content)
        except BaseException:
            self.close()
            raise
        finally:
            c.TF_DeleteBuffer(meta_graph)
            c.TF_DeleteSessionOptions(options)

    def run(
        self, signature: str, inputs: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        """Returns the outputs of a signature by name; strings as bytes.

        Args:
          signature: its name.
          inputs: name -> list or array, of bytes or numbers.

        Raises:
          CApiError: there is no such signature or input, or the model fails.
        """
        wanted = self.signatures.get(signature)
        if wanted is None:
            raise CApiError(
                f"no signature {signature}; there are "
                + ", ".join(self.signatures)
            )
        if set(inputs) != set(wanted.inputs):
            raise CApiError(
                f"{signature}: takes {', '.join(wanted.inputs) or 'nothing'}, "
                f"got {', '.join(inputs) or 'nothing'}"
            )
        with contextlib.ExitStack() as stack:
            fed = [
                stack.enter_context(
                    tensors.made(self._library, _array(inputs[n], info.dtype))
                )
                for n, info in wanted.inputs.items()
            ]
            arrays = self._run(signature, wanted, fed)
        return dict(zip(wanted.outputs, arrays))

    def _run(
        self, name: str, wanted: signatures.Signature, fed: list[int]
    ) -> list[np.ndarray]:
        c = self._library
        count = len(wanted.outputs)
        results = (ctypes.c_void_p * count)()
        try:
            with library.checked(c, name) as status:
                c.TF_SessionRun(
                    self._session, None,
                    self._places(wanted.inputs.values()),
                    (ctypes.c_void_p * len(fed))(*fed), len(fed),
                    self._places(wanted.outputs.values()), results, count,
                    None, 0, None, status,
                )  # fmt: skip
            # Copied before inputs are freed: an output may share an input.
            return [tensors.array_of(c, result) for result in results]
        finally:
            for result in results:
                if result:
                    c.TF_DeleteTensor(result)

    def _places(self, infos: Any) -> ctypes.Array:
        found = []
        for info in infos:
            operation = self._library.TF_GraphOperationByName(
                self._graph, info.operation.encode()
            )
            if not operation:
                raise CApiError(f"the graph has no operation {info.operation}")
            found.append(Output(operation, info.index))
        return (Output * len(found))(*found)

    def close(self) -> None:
        """Frees all resources; may be called again."""
        c = self._library
        if self._session:
            with library.checked(c, "cannot close the session") as status:
                c.TF_CloseSession(self._session, status)
            with library.checked(c, "cannot free the session") as status:
                c.TF_DeleteSession(self._session, status)
            self._session = None
        if self._graph:
            c.TF_DeleteGraph(self._graph)
            self._graph = None

    def __enter__(self) -> "SavedModel":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _array(values: Any, dtype: str) -> np.ndarray:
    if dtype != "string":
        return np.asarray(values, dtype)
    if isinstance(values, np.ndarray):
        return values.astype(object)
    # Element by element: NumPy would drop NULs at the ends of bytes.
    found = np.empty([len(values)], object)
    found[:] = list(values)
    return found
