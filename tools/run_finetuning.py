"""Runs the original's script of this name; see electra_tf/original/."""

import sys

from electra_tf.original.run_finetuning import main

if __name__ == "__main__":
    sys.exit(main())
