"""Makes up for what Keras' `fit` does with restored backups."""

import functools
import inspect
import warnings
from typing import Any

import keras


class Fits:
    """Mixes into a `keras.Model` a `fit` without the epochs of an earlier one.

    `keras.callbacks.BackupAndRestore` hands the epoch that it restored to `fit`
    by an attribute of the model, `_initial_epoch`, which Keras (3.10 to 3.15.1)
    never clears: it takes precedence over `initial_epoch` in all later calls,
    which leave out their first epochs, or all of them. That attribute is
    private; nothing public clears it.

    A backup within an epoch (an integer `save_freq`) resumes at the first batch
    of that epoch there; `fit` warns of it.
    """

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Trains as `keras.Model.fit` does, from its own `initial_epoch` on."""
        self._initial_epoch = None
        given = inspect.signature(super().fit).bind(*args, **kwargs)  # type: ignore[misc]
        _warn_of_repeats(given.arguments.get("callbacks"))
        return super().fit(*args, **kwargs)  # type: ignore[misc]

    functools.update_wrapper(fit, keras.Model.fit, assigned=())  # its signature


def _warn_of_repeats(callbacks: Any) -> None:
    """Warns of backups that would train on batches twice."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    elif not isinstance(callbacks, list | tuple):
        callbacks = [callbacks]
    for callback in callbacks:
        if (
            isinstance(callback, keras.callbacks.BackupAndRestore)
            and callback.save_freq != "epoch"
        ):
            warnings.warn(
                f"BackupAndRestore(save_freq={callback.save_freq}): Keras "
                "resumes from such a backup at the first batch of its epoch, "
                "and trains on the batches before it twice; give "
                'save_freq="epoch", with a smaller steps_per_epoch if epochs '
                "are long",
                stacklevel=3,
            )
