"""Provides fine-tuned models for your own Apache Beam pipelines.

    import apache_beam as beam
    from electra_tf.beam import Predict

    with beam.Pipeline() as pipeline:
        rows = pipeline | beam.Create([{"id": 1, "text": "a fine film"}])
        rows | Predict("runs/sst2") | beam.Map(print)

It needs the extra `beam`. Importing this does not import TensorFlow; a worker
does when it loads the model.
"""

from electra_tf.beam.transforms import Predict

__all__ = ["Predict"]
