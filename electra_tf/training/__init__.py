"""Training any `keras.Model` with a train_step: optimizer, loop, checkpoints.

optimizer.py    AdamW as ELECTRA uses it
strategy.py     flag -> tf.distribute strategy
cluster.py      TF_CONFIG: who the workers are; they meet
workers.py      what the workers tell each other
loop.py         train() and evaluate()
precision.py    16-bit numbers
checkpoints.py  save, find and restore; whole or not at all
reporting.py    progress line, metrics.jsonl, TensorBoard
plots.py        metrics.jsonl -> PNG
signals.py      SIGTERM and SIGINT ask for a stop
"""
