"""Builds examples in this process, for tests that look inside the builder."""

import inspect

from electra_tf.data.build_settings import BuildSettings
from electra_tf.recipes.build_data import build_data

_ELSEWHERE = ("runner", "beam_args", "progress")


def settings_of(**given):
    """Returns `BuildSettings` of `given` and, for the rest, the defaults."""
    parameters = inspect.signature(build_data).parameters
    defaults = {
        name: parameter.default
        for name, parameter in parameters.items()
        if name not in _ELSEWHERE
    }
    return BuildSettings(**(defaults | given))
