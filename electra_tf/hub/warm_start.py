"""Moved to `loading`; here until its users have followed."""

from electra_tf.hub.loading import *  # noqa: F403
