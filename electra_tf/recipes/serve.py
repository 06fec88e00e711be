"""Serves exported models over HTTP and gRPC."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from electra_tf.config import Setting
from electra_tf.errors import UserError
from electra_tf.recipes.arguments import checked


@checked
def serve(
    model: Sequence[str] = (),
    *,
    model_config_file: str | None = None,
    batching_parameters_file: str | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Setting(at_least=0, at_most=65535)] = 8501,
    grpc_port: Annotated[int, Setting(at_least=0, at_most=65535)] | None = None,
    versions: Annotated[int, Setting(at_least=1)] = 1,
    poll_seconds: Annotated[float, Setting(at_least=0, infinite=True)] = 1.0,
    batch_rows: Annotated[int, Setting(at_least=1)] = 32,
    batch_wait_ms: Annotated[float, Setting(at_least=0)] = 5.0,
    parallel_calls: Annotated[int, Setting(at_least=0)] = 0,
    engine: Literal["auto", "tensorflow", "litert"] = "auto",
    intra_op_threads: Annotated[int, Setting(at_least=0)] = 1,
    max_request_bytes: Annotated[int, Setting(at_least=1)] = 4 * 2**20,
    max_request_rows: Annotated[int, Setting(at_least=1)] = 4096,
    max_text_bytes: Annotated[int, Setting(at_least=1)] = 128 * 2**10,
    max_pending_rows: Annotated[int, Setting(at_least=1)] = 16384,
    max_connections: Annotated[int, Setting(at_least=1)] = 512,
    read_timeout: Annotated[
        float, Setting(at_least=0.001, infinite=True)
    ] = 20.0,
    answer_timeout: Annotated[
        float, Setting(at_least=0.001, infinite=True)
    ] = 60.0,
    stop_timeout: Annotated[int, Setting(at_least=0)] = 60,
    allowed_hosts: str | Sequence[str] = "",
    cors_origins: str | Sequence[str] = "",
) -> None:
    """Serves exported models on this machine, as TensorFlow Serving does.

        electra-tf serve --model=DIR --model=NAME=DIR --port=8501

    DIR is what electra-tf export wrote: numbered versions. The newest is
    served under the directory's name, or under NAME; a newer one that appears
    there takes over without a failed request. Open the printed address for a
    page to try it.

      POST /v1/models/NAME:predict   {"instances": [...]} or {"inputs": {...}}
      GET  /v1/models/NAME           also /metadata; /versions/N before them
      GET  /v1/models                all of them, with their descriptions
      POST /v1/models/NAME:classify  {"examples": [{"text": ...}]}; :regress
      GET  /healthz   GET /metrics   for monitoring

    --grpc_port adds the same by gRPC: PredictionService and ModelService.

    Rows of concurrent requests run together. SIGTERM or Ctrl-C stops it after
    running requests are answered. It has no passwords and no encryption: beyond
    this machine it belongs behind a proxy that has both.

    Args:
      model: directory of versions, or NAME=DIRECTORY
      model_config_file: file that names models, their versions and labels, in
        TensorFlow Serving's form; read again when it changes
      batching_parameters_file: TensorFlow Serving's file, which overrides
        --batch_rows, --batch_wait_ms, --parallel_calls and --max_pending_rows;
        DIR/serve.yaml has such flags for one model, by their names
      host: address to listen on; 0.0.0.0 is every address of this machine
      port: port to listen on; 0 takes a free one, which is printed
      grpc_port: port for TensorFlow Serving's gRPC interface, 8500 there; 0
        takes a free one, which is printed; no gRPC by default
      versions: number of newest versions of each model to serve
      poll_seconds: seconds between checks for new versions; 0 means never
      batch_rows: most rows in one call of a model
      batch_wait_ms: milliseconds that a row may wait for others to share its
        call, while calls run
      parallel_calls: number of calls that run at the same time; 0 means one for
        each core, or two with a GPU
      engine: engine of models: auto is litert where it is installed (pip
        install 'electra-tf[litert]') and the model was exported with --litert,
        in float32 for calls of one text alone, and tensorflow otherwise
      intra_op_threads: threads that share one operation of a call; 0 means as
        many as cores. One is best where requests keep the cores busy; for a
        large model with few requests take more, and fewer --parallel_calls
      max_request_bytes: largest body, also after decompression; larger ones get
        413
      max_request_rows: most rows in a request; more get 413
      max_text_bytes: most bytes of one row's texts together; more get 413
      max_pending_rows: most rows that wait or run; requests beyond get 503
      max_connections: most connections; further ones get 503. It is lowered
        where the system allows fewer open files
      read_timeout: seconds for a request's body, then 408; its headers have 10
        at most
      answer_timeout: seconds for the response, then 504
      stop_timeout: seconds for running requests when the server stops
      allowed_hosts: names, separated by commas, that clients may use for this
        server besides local names and addresses; * means any, which is the
        default unless --host is a local address. Other names get 403
      cors_origins: origins of web pages, separated by commas, that may send
        requests, as https://app.example; * means any

    Raises:
      UserError: a model is missing, no model can be loaded, or a port is taken.
    """
    from electra_tf.serving.server import (
        limits,
        model_settings,
        running,
        served,
    )
    from electra_tf.training.stopping import StopRequest

    models = {
        name: served.Served(directory, versions)
        for name, directory in _named(model).items()
    }
    if model_config_file is not None:
        if models:
            raise UserError(
                "--model, --model_config_file: give one of them; the file may "
                "name every model"
            )
        if versions != 1:
            raise UserError(
                "--versions: is for --model; in --model_config_file each model "
                "has a model_version_policy"
            )
        models = served.read_config(model_config_file)
    if not models:
        raise UserError("--model: name a directory of versions to serve")
    with _shown_log() as log:
        limits_given = limits.ModelSettings()
        if batching_parameters_file is not None:
            limits_given = model_settings.read_batching(
                batching_parameters_file
            )
        wait_seconds = batch_wait_ms / 1000
        if limits_given.wait_seconds is not None:
            wait_seconds = limits_given.wait_seconds
        connections = running.allow_connections(max_connections)
        if connections < max_connections:
            log.info(
                "--max_connections is %d: the system lets this process open no "
                "more files (ulimit -Hn)", connections,
            )  # fmt: skip
        running.keep_few_arenas()
        running.switch_often()
        calls = (
            limits_given.parallel or parallel_calls or running.parallel_calls()
        )
        if not running.set_threads(intra_op_threads, calls):
            log.info("--intra_op_threads is ignored: TensorFlow runs already")
        # A signal while models are loaded ends it too; uvicorn hears those
        # after.
        with StopRequest() as stop:
            server = running.ModelServer(
                running.Settings(
                    models=models,
                    host=host,
                    port=port,
                    grpc_port=grpc_port,
                    model_config_file=model_config_file,
                    poll_seconds=poll_seconds,
                    limits=limits.Limits(
                        request_bytes=max_request_bytes,
                        request_rows=max_request_rows,
                        text_bytes=max_text_bytes,
                        pending_rows=limits_given.pending_rows
                        or max_pending_rows,
                        connections=connections,
                        body_seconds=read_timeout,
                        header_seconds=min(read_timeout, 10.0),
                        answer_seconds=answer_timeout,
                        stop_seconds=stop_timeout,
                    ),
                    batching=limits.Batching(
                        rows=limits_given.rows or batch_rows,
                        wait_seconds=wait_seconds,
                        parallel=calls,
                    ),
                    allowed_hosts=_listed(allowed_hosts),
                    cors_origins=_listed(cors_origins),
                    engine=engine,
                )
            )
            if not stop.requested:
                server.run(lambda: _announce(server, list(models)))
    print("stopped", flush=True)


@contextlib.contextmanager
def _shown_log() -> Iterator[logging.Logger]:
    """Yields the server's log, which is on the screen until the end."""
    log = logging.getLogger("electra_tf.serving")
    before = log.level, log.propagate
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield log
    finally:
        log.removeHandler(handler)
        log.setLevel(before[0])
        log.propagate = before[1]


def _named(models: Sequence[str]) -> dict[str, str]:
    """Reads `["DIR", "NAME=DIR"]` as name -> directory.

    Raises:
      UserError: a name twice, or one that no path can hold.
    """
    from electra_tf.serving.server.served import is_name

    found: dict[str, str] = {}
    for model in models:
        name, equals, directory = model.partition("=")
        if not equals or "/" in name:
            directory = model
            name = os.path.basename(os.path.abspath(model))
        if not directory:
            raise UserError(f"--model={model}: names no directory")
        if not is_name(name):
            raise UserError(
                f"--model={model}: '{name}' is not a valid model name; give "
                f"--model=NAME={directory}"
            )
        if name in found:
            raise UserError(
                f"--model={model}: there is a model '{name}' already; give "
                f"--model=OTHER_NAME={directory}"
            )
        found[name] = directory
    return found


def _listed(names: str | Sequence[str]) -> list[str]:
    """Returns the names of a list, or of a text that separates them by
    commas.
    """
    if isinstance(names, str):
        names = names.split(",")
    return [name.strip() for name in names if name.strip()]


def _announce(server: Any, models: Sequence[str]) -> None:
    """Prints where the models are; called when clients can connect."""
    for name in models:
        path = f"/v1/models/{quote(name, safe='')}:predict"
        print(f"model {name}: {server.url}{path}", flush=True)
    if server.grpc_port is not None:
        print(f"gRPC on port {server.grpc_port}", flush=True)
    print(f"listening on {server.url}", flush=True)
