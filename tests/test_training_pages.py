"""Tests requests of large pages for the memory of training."""

import numpy as np
import pytest
import tensorflow as tf
import training_toy as toy

from electra_tf.training import loop, pages

MAPPINGS = """\
00600000-00a00000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0001100000 rw-p 00000000 00:00 0
7f0010000000-7f0011000000 r--p 00000000 08:01 77 /usr/lib/libfoo.so
7f0020000000-7f0021000000 rw-s 00000000 00:01 78 /dev/shm/shared
7f0030000000-7f0030100000 rw-p 00000000 00:00 0
7f0040000000-7f0041000000 rw-p 00000000 00:00 0 [stack:12]
"""


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Returns a function that fakes the system and returns `madvise` calls."""
    calls = []

    class Library:
        def __init__(self, *_, **__):
            def madvise(start, size, advice):
                calls.append((start, size, advice))
                return 0

            self.madvise = madvise

    def says(choice):
        (tmp_path / "enabled").write_text(choice)
        (tmp_path / "maps").write_text(MAPPINGS)
        return calls

    monkeypatch.setattr(pages, "_SWITCH", tmp_path / "enabled")
    monkeypatch.setattr(pages, "_MAPPINGS", tmp_path / "maps")
    monkeypatch.setattr(pages.ctypes, "CDLL", Library)
    monkeypatch.setattr(pages.sys, "platform", "linux")
    return says


def test_large_mappings_of_no_file_are_asked_for_in_whole_pages(system):
    calls = system("always [madvise] never\n")
    # From the next boundary of 2 MiB to the last one: 14 of 16 MiB.
    assert pages.enlarge() == 14 << 20
    assert calls == [
        (0x7F0000200000, 14 << 20, 14),
        (0x7F0000200000, 14 << 20, 25),
    ]


@pytest.mark.parametrize(
    "choice", ["[always] madvise never\n", "always madvise [never]\n"]
)
def test_a_system_that_leaves_no_choice_is_left_alone(system, choice):
    calls = system(choice)
    assert pages.enlarge() == 0
    assert not calls


def test_a_system_without_the_switch(system):
    calls = system("")
    pages._SWITCH.unlink()
    assert pages.enlarge() == 0
    assert not calls


def test_numbers_in_memory_stay():
    numbers = np.arange(4 << 20)
    pages.enlarge()
    np.testing.assert_array_equal(numbers, np.arange(4 << 20))


@pytest.mark.parametrize("more", [0, 1])
def test_a_long_run_asks_once(tmp_path, monkeypatch, more):
    calls = []
    monkeypatch.setattr(loop, "_SETTLED", 1)
    monkeypatch.setattr(loop, "_LONG", 2)
    monkeypatch.setattr(loop.pages, "enlarge", lambda: calls.append(1))
    loop.train(
        toy.make_model(),
        toy.train_data(),
        config=toy.config(num_train_steps=2 + more, eval_every_steps=0),
        run_dir=str(tmp_path),
        strategy=tf.distribute.get_strategy(),
    )
    assert len(calls) == more
