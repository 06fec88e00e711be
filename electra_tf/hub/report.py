"""Moved to `checkpoint`; here until its users have followed."""

from electra_tf.hub.checkpoint import *  # noqa: F403
