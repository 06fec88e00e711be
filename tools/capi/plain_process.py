"""Runs an export in a Python with only TensorFlow and tensorflow-text.

    python -I -S plain_process.py SITE REQUESTS ANSWERS

-I -S leave out the installed packages; SITE, their folder, is added here, and
a hook refuses all but those two packages and what they require. REQUESTS is a
pickle: a path and pairs of a signature and its inputs. ANSWERS is a sequence
of pickles: facts, and then for each request its outputs or an error.
"""

import importlib.metadata
import pickle
import re
import sys


class Refuse:
    """A finder of modules that refuses all but the allowed ones."""

    def __init__(self, allowed: set[str]):
        self._allowed = allowed | set(sys.stdlib_module_names)

    def find_spec(self, name, path=None, target=None):
        """Raises for modules that are not allowed (see `sys.meta_path`)."""
        top = name.partition(".")[0]
        # The name of this module of Python's depends on the system.
        if top not in self._allowed and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def required(*names: str) -> set[str]:
    """Returns distributions and all that they require, without extras."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        found.add(name)
        waiting += [
            re.match(r"[\w.-]+", need).group()
            for need in needs
            if "extra ==" not in need
        ]
    return found


def modules(distributions: set[str]) -> set[str]:
    """Returns the top-level modules of distributions."""
    return {
        name
        for name, owners in importlib.metadata.packages_distributions().items()
        if {re.sub(r"[-_.]+", "-", o).lower() for o in owners} & distributions
    }


def main(site: str, source: str, target: str) -> None:
    """Answers the requests of `source` in `target`; see above."""
    sys.path.append(site)
    allowed = modules(required("tensorflow", "tensorflow-text"))
    sys.meta_path.insert(0, Refuse(allowed))

    import tensorflow as tf
    import tensorflow_text  # noqa: F401 (registers its operations)

    with open(source, "rb") as file:
        path, requests = pickle.load(file)
    model = tf.saved_model.load(path)
    loaded = {name.partition(".")[0] for name in sys.modules}
    with open(target, "wb") as file:
        pickle.dump(
            {
                "version": tf.__version__,
                "foreign": sorted(loaded & {"electra_tf", "keras_hub"}),
            },
            file,
        )
        for signature, inputs in requests:
            pickle.dump(run(tf, model, signature, inputs), file)
            file.flush()


def run(tf, model, signature: str, inputs: dict):
    """Returns name -> array of the outputs; or an error's message."""
    try:
        tensors = {
            name: tf.constant(values, tf.string, [len(values)])
            for name, values in inputs.items()
        }
        outputs = model.signatures[signature](**tensors)
        return {name: value.numpy() for name, value in outputs.items()}
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main(*sys.argv[1:])
