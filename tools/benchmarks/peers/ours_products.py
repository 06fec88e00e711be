"""Measures TensorFlow's matrix products: the upper bound of a step's speed.

It runs in its own process, so that no other side's memory includes its own.

Settings: shapes (products at once, rows, inner, columns, calls), cores.
Requests: {"do": "peak", "precision": "float32", or another for bfloat16};
replies with GFLOP/s of a large `square` product, of its `edge`, and of each of
the `shapes`.
"""

import time

from serve import serve


def gflops(b, m, k, n, seconds, dtype):
    """Returns GFLOP/s of b products [m, k] x [k, n]; the best of many calls."""
    import tensorflow as tf

    left, right = (m, k), (k, n)
    if b > 1:
        left, right = (b, *left), (b, *right)
    left = tf.cast(tf.random.normal(left), dtype)
    right = tf.cast(tf.random.normal(right), dtype)
    product = tf.function(lambda x, y: tf.reshape(tf.matmul(x, y), [-1]))
    product(left, right)
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        # Reading one element waits for the accelerator.
        float(product(left, right)[0])
        elapsed = time.perf_counter() - start
        best = max(best, 2e-9 * b * m * k * n / elapsed)
    return best


def prepare(settings):
    """Chooses the size of products; returns facts and the handler."""
    import tensorflow as tf

    # Smaller products do not occupy a GPU.
    edge = 8192 if tf.config.list_physical_devices("GPU") else 2048

    def handle_request(request):
        dtype = "float32" if request["precision"] == "float32" else "bfloat16"
        return {
            "edge": edge,
            "square": gflops(1, edge, edge, edge, 0.5, dtype),
            "shapes": [
                gflops(*shape, 0.1, dtype) for *shape, _ in settings["shapes"]
            ],
        }

    return {"version": f"tensorflow {tf.__version__}"}, handle_request


if __name__ == "__main__":
    serve(prepare)
