import lzma
import pathlib
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from electra_tf.data import examples
from electra_tf.data.examples import Lines
from electra_tf.text import cleaning

GOLDEN = pathlib.Path(__file__).parent / "golden"
CLS, SEP = 1, 2
MAX = 32


def _lines(documents):
    """Returns Lines with ids 10, 11, 12, ... for lists of line lengths."""
    lengths = [n for lines in documents for n in lines]
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    ids = np.arange(10, 10 + starts[-1], dtype=np.int32)
    first = np.cumsum([0] + [len(lines) for lines in documents])
    return Lines(ids, starts, first)


def _unpack(made):
    """Returns a list of (ids, length of the first segment)."""
    return [
        (made.ids[a:b].tolist(), int(first))
        for a, b, first in zip(
            made.starts[:-1], made.starts[1:], made.first_lengths
        )
    ]


def _pad(made, length):
    n = len(made.first_lengths)
    out = {
        name: np.zeros([n, length], np.int32)
        for name in ("input_ids", "input_mask", "segment_ids")
    }
    for i, (ids, first) in enumerate(_unpack(made)):
        out["input_ids"][i, : len(ids)] = ids
        out["input_mask"][i, : len(ids)] = 1
        out["segment_ids"][i, first : len(ids)] = 1
    return out


@pytest.mark.parametrize(("length", "seed"), [(64, 1), (128, 2)])
def test_legacy_makes_the_recorded_examples(length, seed):
    golden = np.load(GOLDEN / "examples_gpl3.npz")
    lines = Lines(golden["ids"], golden["starts"], golden["documents"])
    made = examples.LegacyBuilder(length, 101, 102, seed).add(lines)
    for name, value in _pad(made, length).items():
        np.testing.assert_array_equal(
            value, golden[f"L{length}_seed{seed}_{name}"]
        )


def test_legacy_does_not_depend_on_how_the_lines_are_fed():
    golden = np.load(GOLDEN / "examples_gpl3.npz")
    starts, first = golden["starts"], golden["documents"]
    builder = examples.LegacyBuilder(64, 101, 102, 1)
    parts = []
    for a, b in [(0, 5), (5, 5), (5, 70), (70, len(first) - 1)]:
        here = starts[first[a] : first[b] + 1]
        ids = golden["ids"][here[0] : here[-1]]
        parts.append(
            builder.add(Lines(ids, here - here[0], first[a : b + 1] - first[a]))
        )
    ids = np.concatenate([_pad(p, 64)["input_ids"] for p in parts])
    np.testing.assert_array_equal(ids, golden["L64_seed1_input_ids"])


@pytest.mark.slow
def test_legacy_makes_the_recorded_examples_of_a_whole_book(shared_dir):
    from electra_tf.text.tokenizer import Tokenizer

    folder = shared_dir / "golden"
    golden = np.load(
        folder / "tokenizer_and_examples/examples_kjv_L128_seed12345.npz"
    )
    tokenizer = Tokenizer(str(shared_dir / "data/vocab/bert_uncased_en.txt"))
    documents = cleaning.clean_text(
        lzma.open(folder / "kjv.txt.xz").read(),
        cleaning.Cleaning(),
        Counter(),
        split_at_blank=True,
        path="kjv",
    )
    tokens = tokenizer([line for lines in documents for line in lines])
    lines = Lines(
        tokens.flat_values.numpy(),
        tokens.row_splits.numpy(),
        np.cumsum([0] + [len(lines) for lines in documents]),
    )
    made = examples.LegacyBuilder(128, 101, 102, 12345).add(lines)
    for name, value in _pad(made, 128).items():
        np.testing.assert_array_equal(value, golden[name])


def _slow_build(lines, keys):
    """Computes what `build` does, line by line and document by document."""
    made = []
    for d, key in enumerate(keys):
        rows = []
        for line in range(lines.documents[d], lines.documents[d + 1]):
            row = lines.ids[lines.starts[line] : lines.starts[line + 1]]
            piece = -(-(MAX - 3) // 4)
            if len(row) > MAX:
                rows += [row[i : i + piece] for i in range(0, len(row), piece)]
            elif len(row):
                rows.append(row)
        number = 0
        while rows:

            def draw(k, n=number, key=key):
                return float(examples.uniform(np.uint64(key), n * 4 + k))

            target = MAX
            if draw(0) < 0.05:
                target = 5 + int(draw(1) * (MAX - 4))
            taken, length = [], 0
            while rows and length < target:
                taken.append(rows.pop(0))
                length += len(taken[-1])
            # What there is no room for begins the next example, with five
            # tokens at least.
            over = length - (MAX - 2 if len(taken) == 1 else MAX - 3)
            if over > 0:
                over = max(over, 5 - sum(map(len, rows)))
                rest = []
                while over:
                    last = taken.pop()
                    rest.insert(0, last[-over:])
                    if len(last) > over:
                        taken.append(last[:-over])
                    over -= len(rest[0])
                rows = rest + rows
            half = (target - 3) // 2
            if draw(2) < 0.1:
                half = 10**9
            first, second = list(taken[0]), []
            for row in taken[1:]:
                fits = len(first) + len(row) < half
                over = len(first) < half and draw(3) < 0.5
                if not second and (fits or over):
                    first += list(row)
                else:
                    second += list(row)
            ids = [CLS, *first, SEP]
            if second:
                ids += [*second, SEP]
            made.append((ids, len(first) + 2))
            number += 1
    return made


_document = st.lists(
    st.one_of(st.integers(0, 12), st.integers(0, 100)), max_size=40
)


@given(st.lists(_document, max_size=6), st.integers(0, 2**64 - 1))
def test_build_is_the_algorithm(documents, key):
    lines = _lines(documents)
    keys = np.array(
        [(key + 7 * i) % 2**64 for i in range(len(documents))], np.uint64
    )
    made = examples.build(
        lines, keys, max_seq_length=MAX, cls_id=CLS, sep_id=SEP
    )
    assert _unpack(made) == _slow_build(lines, keys)
    assert made.per_document.sum() == len(made.first_lengths)
    # No token is lost, and none is repeated.
    np.testing.assert_array_equal(
        made.ids[~np.isin(made.ids, [CLS, SEP])], lines.ids
    )
    assert np.diff(made.starts).max(initial=0) <= MAX
    # A document gives the same examples alone and among others.
    at = 0
    for d, count in enumerate(made.per_document):
        a, b = lines.documents[d], lines.documents[d + 1]
        alone = examples.build(
            Lines(
                lines.ids,
                lines.starts[a : b + 1],
                np.array([0, b - a]),
            ),
            keys[d : d + 1],
            max_seq_length=MAX,
            cls_id=CLS,
            sep_id=SEP,
        )
        assert _unpack(alone) == _unpack(made)[at : at + count]
        at += count


def test_shares_are_the_papers():
    # Lines of four tokens, so that segments can be cut anywhere.
    lines = _lines([[4] * 400_000])
    made = examples.build(
        lines, np.array([5], np.uint64), max_seq_length=128, cls_id=1, sep_id=2
    )
    lengths = np.diff(made.starts)
    assert abs(np.mean(lengths < 124) - 0.05) < 0.006
    full = lengths >= 124
    single = made.first_lengths == lengths
    assert abs(np.mean(single[full]) - 0.10) < 0.006
    assert lengths.max() == 128
    assert lengths[~full].min() < 15


@pytest.mark.parametrize("length", [5, 6, 7, 8, 128])
@pytest.mark.parametrize("shape", [[50_000], [100] * 200, [120, 8], [1] * 300])
def test_nothing_is_lost(shape, length):
    lines = _lines([shape, shape[::-1]])
    made = examples.build(
        lines, np.array([5, 6], np.uint64), max_seq_length=length, cls_id=1,
        sep_id=2,
    )  # fmt: skip
    np.testing.assert_array_equal(made.ids[made.ids >= 10], lines.ids)
    assert np.diff(made.starts).max() <= length


def test_no_documents_no_examples():
    for documents in ([], [[]], [[0, 0], []]):
        made = examples.build(
            _lines(documents),
            np.arange(len(documents), dtype=np.uint64),
            max_seq_length=MAX,
            cls_id=CLS,
            sep_id=SEP,
        )
        assert len(made.ids) == 0
        assert made.per_document.tolist() == [0] * len(documents)
        legacy = examples.LegacyBuilder(MAX, CLS, SEP, 0)
        assert len(legacy.add(_lines(documents)).ids) == 0


def test_uniform_numbers_are_known_and_even():
    # SplitMix64 seeded with 0: the generator's published first outputs.
    want = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    got = examples.uniform(np.uint64(0), np.arange(3))
    assert got.tolist() == [(w >> 11) * 2.0**-53 for w in want]
    many = examples.uniform(np.arange(100_000, dtype=np.uint64), 3)
    counts = np.histogram(many, 10, (0, 1))[0]
    assert abs(counts - 10_000).max() < 400
