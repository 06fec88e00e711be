"""What all tests share: a quiet TensorFlow, small inputs, the goldens."""

import os
import pathlib

# Before any test imports TensorFlow.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the same on any machine
# So is this: numbers are pinned in float32, whatever the processor could do.
os.environ["ELECTRA_TF_PRECISION"] = "float32"

import hypothesis
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Times on shared machines are no property of the code, and a test that fails
# must fail again.
hypothesis.settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    database=None,
)
hypothesis.settings.load_profile("repeatable")


def pytest_make_parametrize_id(val, argname):
    """Names bytes given to a test by their number, not by what they are.

    Packed files hold the time, and the workers of a parallel run, each of
    which collects the tests for itself, have to come to the same names.
    """
    if isinstance(val, bytes) and len(val) >= 20:
        return f"{argname}_of_{len(val)}_bytes"
    return None


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
    """The folder with recorded goldens and larger data; skips without it."""
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
    """The first six chapters or so of the sample text, 60 KB; its path."""
    source = sorted(sample_text_dir.glob("*.txt"))[0]
    text = source.read_text(encoding="utf-8")[:60_000]
    path = tmp_path_factory.mktemp("text") / "small.txt"
    path.write_text(text[: text.rindex("\n") + 1], encoding="utf-8")
    return str(path)


@pytest.fixture(scope="session", autouse=True)
def devices() -> None:
    """Two threads, and two logical CPUs for tests of several replicas.

    Must precede the first operation; what asks for no device uses the first.
    """
    import tensorflow as tf

    tf.config.threading.set_inter_op_parallelism_threads(2)
    tf.config.threading.set_intra_op_parallelism_threads(2)
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * 2,
    )


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
