"""Trains any `keras.Model`: optimizer, loop, checkpoints, several workers.

settings.py     what can be set; a run's settings compared; no TensorFlow
optimizer.py    AdamW as ELECTRA uses it; 16-bit numbers
strategy.py     a name -> tf.distribute strategy, and a job under it
workers.py      TF_CONFIG, and the messages between workers
steps.py        the compiled steps: updates and evaluations
loop.py         train()
stopping.py     SIGTERM and SIGINT; the best checkpoint, and when to stop
checkpoints.py  save, find and restore; whole or not at all
reporting.py    progress line, metrics.jsonl, TensorBoard, plots
"""
