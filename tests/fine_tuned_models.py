"""Directories of fine-tuned models, but with random weights."""

from electra_tf.hub import directory


def about(task, options, state):
    """Returns the part of a model's config.json about its task."""
    return {
        "task": task, "options": options, "state": state, "metrics": {},
        "settings": {},
    }  # fmt: skip


def save(path, network, vocab, fine_tuning):
    """Writes a built task network as a model directory; returns its path."""
    directory.save(
        str(path),
        directory.DirectoryConfig(
            network.config, None, True, None, vocab.fingerprint(),
            replaced_token_head=False, token_lm_head=False,
            task=network.head_config, fine_tuning=fine_tuning,
        ),
        [network],
        vocab,
    )  # fmt: skip
    return str(path)
