"""Runs `python -m electra_tf COMMAND --flags`."""

from electra_tf.cli import app

if __name__ == "__main__":
    app.entry()
