"""Moved to `names`; here until its users have followed."""

from electra_tf.hub.names import *  # noqa: F403
