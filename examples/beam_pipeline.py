"""Answers the rows of JSON Lines in an Apache Beam pipeline of one's own.

    pip install 'electra-tf[beam]'
    python beam_pipeline.py --model=runs/sst2 --input='rows-*.jsonl' \
        --output=answers --direct_num_workers=2 \
        --runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner \
        --direct_running_mode=multi_processing

What else is on the command line goes to Beam. Each worker process loads the
model once.
"""

import argparse
import json

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from electra_tf.beam import Predict


def main() -> None:
    """Runs the pipeline that the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--input", required=True)
    parser.add_argument("--output", required=True)
    ours, beams = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beams)) as pipeline:
        _ = (
            pipeline
            | "Lines" >> beam.io.ReadFromText(ours.input)
            | "Not blank" >> beam.Filter(str.strip)
            | "Rows" >> beam.Map(json.loads)
            | "Answers" >> Predict(ours.model)
            | "Text" >> beam.Map(json.dumps)
            | "Write" >> beam.io.WriteToText(ours.output, ".jsonl")
        )


if __name__ == "__main__":
    main()
