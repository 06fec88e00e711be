"""Files for TensorFlow Serving, beside the versions of a model.

    DIR/models.config             which model is served, and from where
    DIR/batching_parameters.txt   how requests are put together
    DIR/compose.yaml              the server in a container: docker compose up

They hold nothing of a version, and one's own changes stay: a file that is
there is left as it is.
"""

from electra_tf import files

# A release reads what TensorFlow of the same version or an older one wrote.
_IMAGE = "tensorflow/serving:latest"

_MODELS = """\
# tensorflow_model_server --model_config_file=.../models.config
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    # The newest version alone. Another one is served, with no request failed,
    # when it appears in the directory.
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""

_BATCHING = """\
# tensorflow_model_server --enable_batching --batching_parameters_file=...
# A request waits at most this long for others to be run with.
max_batch_size { value: 64 }
batch_timeout_micros { value: 2000 }
# As many batches at once; set it to the number of cores.
num_batch_threads { value: 2 }
# Batches that may wait; what comes after them is refused (UNAVAILABLE).
max_enqueued_batches { value: 64 }
"""

_COMPOSE = """\
# docker compose up
# curl -d '{curl}' \\
#   http://localhost:8501/v1/models/{name}:predict
services:
  serving:
    image: {image}
    command:
      - --model_config_file=/models/{name}/models.config
      - --enable_batching
      - --batching_parameters_file=/models/{name}/batching_parameters.txt
      - --file_system_poll_wait_seconds=5
    ports:
      # This machine alone; leave the address out to serve others.
      - "127.0.0.1:8500:8500" # gRPC
      - "127.0.0.1:8501:8501" # REST
    volumes:
      - .:/models/{name}:ro
    restart: unless-stopped
"""


def write(output: str, name: str, curl: str) -> list[str]:
    """Writes those of the files that are not there.

    Args:
      output: directory of the model's versions.
      name: the model's.
      curl: the JSON body of a request, for a comment.

    Returns:
      Names of the files that were written.
    """
    contents = {
        "models.config": _MODELS.format(name=name),
        "batching_parameters.txt": _BATCHING,
        "compose.yaml": _COMPOSE.format(
            name=name, image=_IMAGE, curl=curl.replace("'", "\\u0027")
        ),
    }
    written = []
    for file, content in contents.items():
        path = files.join(output, file)
        if not files.exists(path):
            files.write_text(path, content)
            written.append(file)
    return written
