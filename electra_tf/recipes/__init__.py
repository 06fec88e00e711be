"""Provides one typed function for each command, for Python and the shell.

A recipe takes plain arguments and settings, returns a small frozen result
whose `str()` is what the command prints, and raises `UserError`. Importing one
imports neither TensorFlow nor NumPy. `electra_tf.cli` makes each recipe's flags
from its signature and docstring.
"""
