"""Settings and fixtures of all tests: small inputs, a tiny model, goldens."""

import gc
import os
import pathlib

# These have to be set before any test imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # same on any machine
# Expected values hold for float32, whatever else the processor supports.
os.environ["ELECTRA_TF_PRECISION"] = "float32"

import hypothesis
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# No deadlines, as shared machines are slow at times; always the same examples,
# so that a test that fails does so again.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    database=None,
)
hypothesis.settings.load_profile("repeatable")


def pytest_make_parametrize_id(val, argname):
    """Names a test's parameter of type bytes by its length, not its content.

    Packed files contain the time. The workers of a parallel run collect the
    tests independently and must arrive at the same names.
    """
    if isinstance(val, bytes) and len(val) >= 20:
        return f"{argname}_of_{len(val)}_bytes"
    return None


def pytest_collection_finish():
    """Keeps Python's garbage collector from what was imported.

    With TensorFlow and all tests there are a million objects, which stay; each
    look at all of them takes half a second, and tracing graphs causes many.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
    """The folder of recorded goldens and larger data; skips if missing."""
    path = pathlib.Path(
        os.environ.get("ELECTRA_TF_SHARED", ROOT.parent / "shared")
    )
    if not path.is_dir():
        pytest.skip(f"no goldens at {path}: set ELECTRA_TF_SHARED")
    return path


@pytest.fixture(scope="session")
def tiny_tokens() -> tuple[str, ...]:
    """A vocabulary of some 150 pieces that can spell any lower-case word."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = (
        "the of and to a in was he she it her his that not with for on as at"
        " be is had but have you all they from this which one said we very"
        " good sister house love cat sat mat dog ran"
    ).split()
    pieces = [
        *SPECIALS,
        *".,;:!?'\"()-",
        *letters,
        *(f"##{letter}" for letter in letters),
        "##s", "##ed", "##ing", "##ly", "##er",
        "中", "国", "人",
        *words,
    ]  # fmt: skip
    return tuple(dict.fromkeys(pieces))


@pytest.fixture(scope="session")
def tiny_vocab_file(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokens: tuple[str, ...]
) -> str:
    """`tiny_tokens` as a vocab.txt; returns its path."""
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("\n".join(tiny_tokens) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session")
def sample_text_dir() -> pathlib.Path:
    """The folder of the text that ships inside the package."""
    return ROOT / "electra_tf" / "sample_text"


@pytest.fixture(scope="session")
def small_text_file(
    tmp_path_factory: pytest.TempPathFactory, sample_text_dir: pathlib.Path
) -> str:
    """Writes 60 KB of the sample text, about six chapters; returns the path."""
    source = sorted(sample_text_dir.glob("*.txt"))[0]
    text = source.read_text(encoding="utf-8")[:60_000]
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text(text[: text.rindex("\n") + 1], encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def devices() -> None:
    """Sets two threads, and two logical CPUs for tests of several replicas.

    This has to precede the first operation. Operations that name no device
    run on the first CPU.
    """
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )


@pytest.fixture
def plain_kernels():
    """Turns off XLA's kernels, whose compilation would take most of the time.

    For tests of something else, which compare steps in the same mode.
    """
    from electra_tf.models import kernels

    with kernels.use("plain"):
        yield


@pytest.fixture(scope="session")
def tiny_model(
    tmp_path_factory: pytest.TempPathFactory, tiny_vocab_file: str
) -> str:
    """A pre-trained model directory: two layers of 16, 48 positions."""
    import electra_tf

    path = str(tmp_path_factory.mktemp("pretrained") / "model")
    shape = {
        "hidden_size": 16, "embedding_size": 16, "num_layers": 2,
        "num_heads": 2, "intermediate_size": 32, "max_positions": 48,
    }  # fmt: skip
    electra_tf.ElectraPretrainer.from_size(
        "tiny", vocab=tiny_vocab_file, model=shape
    ).save_pretrained(path)
    return path
