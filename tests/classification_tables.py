"""Tasks on small tables, and their predictions from given logits."""

import numpy as np
import tensorflow as tf

from electra_tf.models.task_networks import ClassifierOutput
from electra_tf.tasks.texts.classification import Classification


def table(path, rows, header="text\tlabel"):
    lines = [header, *("\t".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def fitted(path, cls=Classification, **options):
    """Returns a task fitted to its training data, and the examples."""
    options = cls.Options(validation_fraction=0.0, **options)
    task = cls(cls.__name__.lower(), options, path)
    examples = task.read("train")
    task.fit(examples)
    return task, examples


def output(logits):
    return ClassifierOutput(tf.constant(logits, tf.float32), None)


def predicted(task, examples, logits):
    values = {k: v.numpy() for k, v in task.outputs(output(logits)).items()}
    rows = [{k: v[i] for k, v in values.items()} for i in range(len(examples))]
    return task.predictions(examples, None, rows)


def losses(task, tokenizer, examples, logits):
    features = task.features(tokenizer, examples, training=True)
    batch = features.batch(np.arange(len(features)))
    batch = {name: tf.constant(value) for name, value in batch.items()}
    return task.loss(output(logits), batch).numpy()
