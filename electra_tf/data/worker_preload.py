"""Is imported once by the server from which worker processes are forked.

Workers then share TensorFlow's pages and start at once. Importing TensorFlow
starts no threads (with one BLAS thread), and nothing is computed before the
fork, which is what makes it safe.
"""

import gc
import os

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

# TensorFlow's libraries log at import before their settings take effect.
_screen = os.dup(2)
_nowhere = os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import tensorflow_text  # noqa: F401

    from electra_tf.data import tfrecords, worker  # noqa: F401
    from electra_tf.text import segment, tokenizer, vocab  # noqa: F401
finally:
    os.dup2(_screen, 2)
    os.close(_screen)
    os.close(_nowhere)

# Memory remains shared, as the workers' collector does not write to it.
gc.collect()
gc.freeze()
