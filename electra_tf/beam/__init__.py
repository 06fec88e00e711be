"""Fine-tuned models in Apache Beam pipelines of one's own.

    import apache_beam as beam
    from electra_tf.beam import Predict

    with beam.Pipeline() as pipeline:
        rows = pipeline | beam.Create([{"id": 1, "text": "a fine film"}])
        rows | Predict("runs/sst2") | beam.Map(print)

Needs the extra `beam`. Importing this does not start TensorFlow; a worker does
when it loads the model.
"""

from electra_tf.beam.transforms import Predict

__all__ = ["Predict"]
