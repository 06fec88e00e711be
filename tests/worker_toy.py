"""Trains the toy as one of the workers of TF_CONFIG, for tests of them.

`python tests/worker_toy.py RUN_DIR STEPS SECONDS_PER_BATCH` prints its result
in JSON. RUN_DIR may contain {index}, for workers that share no folder.
"""

import json
import sys

import numpy as np
import training_toy as toy

from electra_tf import errors
from electra_tf.training import loop, strategy, workers


def main(run_dir: str, steps: str, seconds: str) -> int:
    chosen = strategy.make_strategy("multi_worker", join_seconds=60)
    team = workers.of(chosen)
    run_dir = run_dir.format(index=workers.read_tf_config().index)
    try:
        with team.watched():
            with chosen.scope():
                model = toy.make_model(dropout=0.0)
            result = loop.train(
                model,
                lambda step: share_of(
                    toy.train_data(seconds=float(seconds))(step), team.share
                ),
                config=toy.config(
                    num_train_steps=int(steps),
                    checkpoint_every_steps=3,
                    log_every_steps=1,
                    eval_every_steps=20,
                ),
                run_dir=run_dir,
                strategy=chosen,
                eval_data=share_of(toy.eval_data(), team.share),
                run_config={"toy": 1},
            )
            gathered = team.gather(f"worker {team.share.index} ".encode() * 7)
            team.barrier()
    except errors.UserError as error:
        print(f"ERROR {error}")
        return 2
    weights = sum(
        float(np.sum(np.abs(v.numpy()))) for v in model.trainable_variables
    )
    gathered = [text.decode() for text in gathered]
    report = result | {"weights": weights, "gathered": gathered}
    print(f"RESULT {json.dumps(report)}")
    return 0


def share_of(data, share):
    """Returns the rows of each batch that a worker takes, possibly none."""
    width = 8 // share.count
    at = slice(share.index * width, (share.index + 1) * width)
    return data.map(
        lambda batch: {name: value[at] for name, value in batch.items()}
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
