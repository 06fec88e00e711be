"""Runs an export through the C API, in a process without Python TensorFlow.

    python -m capi.capi_process REQUESTS ANSWERS

REQUESTS and ANSWERS are pickles, as described in `plain_process`.
"""

import pickle
import sys

from capi import library
from capi.saved_model import SavedModel


def main(source: str, target: str) -> None:
    """Answers the requests of `source` in `target`; see above."""
    with open(source, "rb") as file:
        path, requests = pickle.load(file)
    with SavedModel(path) as model, open(target, "wb") as file:
        pickle.dump(
            {
                "version": library.load().TF_Version().decode(),
                "foreign": sorted(
                    {name.partition(".")[0] for name in sys.modules}
                    & {"tensorflow", "tensorflow_text", "electra_tf"}
                ),
            },
            file,
        )
        for signature, inputs in requests:
            try:
                answer = model.run(signature, inputs)
            except library.CApiError as error:
                answer = str(error)
            pickle.dump(answer, file)
            file.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
