"""Lets each call of Keras' `fit` begin at the epoch that it names."""

import functools
from typing import Any

import keras


class Fits:
    """Mixes into a `keras.Model` a `fit` without the epochs of an earlier one.

    `keras.callbacks.BackupAndRestore` hands the epoch that it restored to `fit`
    by an attribute of the model, `_initial_epoch`, which Keras (3.10 to 3.15.1)
    never clears: it takes precedence over `initial_epoch` in all later calls,
    which leave out their first epochs, or all of them. That attribute is
    private; nothing public clears it.
    """

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does, from its own `initial_epoch` on."""
        self._initial_epoch = None
        return super().fit(*args, **kwargs)  # type: ignore[misc]

    functools.update_wrapper(fit, keras.Model.fit, assigned=())  # its signature
