"""Runs the original's command lines, unchanged, with our recipes.

    python -m electra_tf.original.build_pretraining_dataset --corpus-dir ...
    python -m electra_tf.original.run_pretraining --data-dir DIR --model-name N

Flags, hyperparameters, folders and names of tasks are those of
google-research/electra; what they mean here, and what differs, is in
docs/original-commands.md. A hyperparameter is translated, or refused with its
replacement: none is ignored silently. Nothing imports this package.
"""
