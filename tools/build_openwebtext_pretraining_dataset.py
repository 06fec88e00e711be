"""Runs the original's script of this name; see electra_tf/original/."""

import sys

from electra_tf.original.build_openwebtext_pretraining_dataset import main

if __name__ == "__main__":
    sys.exit(main())
