"""Runs the original's command lines, as they stand, with our recipes.

    python -m electra_tf.original.build_pretraining_dataset --corpus-dir ...
    python -m electra_tf.original.run_pretraining --data-dir DIR --model-name N

Flags, hyperparameters, folders and names of tasks are those of
google-research/electra; what they mean here, and what differs, is in
docs/original-commands.md. A hyperparameter is translated, or refused with a
word on what takes its place: none is passed over in silence. Nothing imports
this room.
"""
