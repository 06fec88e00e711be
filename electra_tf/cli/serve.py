"""Serves exported models on this machine: TensorFlow Serving's REST interface.

electra-tf serve --model=DIR [--model=NAME=DIR ...] [--port=8501]

DIR is what electra-tf export wrote: numbered versions. The newest is served
under the directory's name, or under NAME; a newer one that appears there takes
over without a failed request. Open the printed address for a page to try it.

  POST /v1/models/NAME:predict   {"instances": [...]} or {"inputs": {...}}
  GET  /v1/models/NAME           also /metadata, and /versions/N before either
  GET  /v1/models                all of them, with what they say of themselves
  GET  /healthz   GET /metrics   for whoever watches over it

Rows of requests that come together run together. SIGTERM or ctrl-C ends it
when what is in flight is answered. It has no passwords and no encryption:
beyond this machine it belongs behind a proxy that has.
"""

from absl import flags

FLAGS = flags.FlagValues()
flags.DEFINE_multi_string(
    "model",
    None,
    "directory of versions, or NAME=DIRECTORY; repeat for more models",
    required=True,
    flag_values=FLAGS,
)
flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "address to listen on; 0.0.0.0 is every address of this machine",
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "port",
    8501,
    "port to listen on; 0 takes a free one, which is printed",
    lower_bound=0,
    upper_bound=65535,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "versions",
    1,
    "serve so many of the newest versions of each model",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "poll_seconds",
    1.0,
    "look for new versions so often; 0 never",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "batch_rows",
    32,
    "the most rows in one call of the model",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "batch_wait_ms",
    5.0,
    "while calls run a row may wait so long for others to share its own",
    lower_bound=0.0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "parallel_calls",
    0,
    "calls of models that run at the same time; 0: one for each core, two "
    "where there is a GPU",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "intra_op_threads",
    1,
    "threads that share one operation of a call; 0: as many as cores. One is "
    "best where requests keep the cores busy; for a large model that few ask "
    "take more, and fewer --parallel_calls",
    lower_bound=0,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_request_bytes",
    4 * 2**20,
    "answer larger requests with 413",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_request_rows",
    4096,
    "answer requests of more rows with 413",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_pending_rows",
    16384,
    "answer 503 while so many rows wait",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "max_connections",
    512,
    "answer 503 to further connections",
    lower_bound=1,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "read_timeout",
    20.0,
    "seconds in which a request's body must have come",
    lower_bound=0.001,
    flag_values=FLAGS,
)
flags.DEFINE_float(
    "answer_timeout",
    60.0,
    "seconds after which a request that waits is answered with 504",
    lower_bound=0.001,
    flag_values=FLAGS,
)
flags.DEFINE_integer(
    "stop_timeout",
    60,
    "seconds for what is in flight when the server is told to stop",
    lower_bound=0,
    flag_values=FLAGS,
)


def main(flags_: flags.FlagValues) -> int:
    """Loads, listens, stops."""
    import logging

    from electra_tf.serving.server import limits, memory, running, threads
    from electra_tf.training.signals import StopRequest

    log = logging.getLogger("electra_tf.serving")
    log.setLevel(logging.INFO)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False

    models = named(flags_.model)
    memory.keep_few_arenas()
    if not threads.set_intra_op(flags_.intra_op_threads):
        log.info("--intra_op_threads is not heeded: TensorFlow runs already")
    # A signal while models are loaded ends it too; uvicorn hears those after.
    with StopRequest() as stop:
        server = running.ModelServer(
            running.Settings(
                models=models,
                host=flags_.host,
                port=flags_.port,
                newest=flags_.versions,
                poll_seconds=flags_.poll_seconds,
                limits=limits.Limits(
                    request_bytes=flags_.max_request_bytes,
                    request_rows=flags_.max_request_rows,
                    pending_rows=flags_.max_pending_rows,
                    connections=flags_.max_connections,
                    body_seconds=flags_.read_timeout,
                    header_seconds=min(flags_.read_timeout, 10.0),
                    answer_seconds=flags_.answer_timeout,
                    stop_seconds=flags_.stop_timeout,
                ),
                batching=limits.Batching(
                    rows=flags_.batch_rows,
                    wait_seconds=flags_.batch_wait_ms / 1000,
                    parallel=flags_.parallel_calls or threads.places(),
                ),
            )
        )
        if not stop.requested:
            server.run(lambda: _tell(server.url, list(models)))
    log.removeHandler(handler)
    print("stopped", flush=True)
    return 0


def named(models: list[str]) -> dict[str, str]:
    """`["DIR", "NAME=DIR"]` as name -> directory.

    Raises:
      UserError: a name twice, or one that no path can hold.
    """
    import os

    from electra_tf.errors import UserError

    found: dict[str, str] = {}
    for model in models:
        name, equals, directory = model.partition("=")
        if not equals or "/" in name:
            directory = model
            name = os.path.basename(os.path.abspath(model))
        if not directory:
            raise UserError(f"--model={model}: names no directory")
        if not name or set(name) & set("/:") or not name.isprintable():
            raise UserError(
                f"--model={model}: '{name}' can be no model's name; give "
                f"--model=NAME={directory}"
            )
        if name in found:
            raise UserError(
                f"--model={model}: there is a model '{name}' already; give "
                f"--model=OTHER_NAME={directory}"
            )
        found[name] = directory
    return found


def _tell(url: str, models: list[str]) -> None:
    for name in models:
        print(f"model {name}: {url}/v1/models/{name}:predict", flush=True)
    print(f"listening on {url}", flush=True)
