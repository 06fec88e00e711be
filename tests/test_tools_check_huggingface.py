"""Tests models of a tiny size against transformers.

It needs other environments: ELECTRA_TF_TORCH_PYTHON lists their Pythons,
separated by colons, which have torch, transformers (4.57, 5) and
sentence-transformers. ELECTRA_TF_VOCABS lists vocabularies likewise.
"""

import os

import check_checkpoints
import check_huggingface
import pytest
from benchmarks.workers import Worker

PYTHONS = os.environ.get("ELECTRA_TF_TORCH_PYTHON", "").split(":")


@pytest.fixture(scope="module", params=PYTHONS)
def peer(request):
    python = request.param
    if not python:
        pytest.skip(
            "set ELECTRA_TF_TORCH_PYTHON to a Python with torch and "
            "transformers"
        )
    worker = Worker("hf_electra.py", {}, python)
    yield worker
    worker.close()


def test_models_compute_the_same_both_ways(peer, tmp_path):
    outcomes = list(check_huggingface.compare(peer, tmp_path, ["tiny"]))
    assert len(outcomes) == 24  # classes, projections, directions
    assert [o for o in outcomes if not o.good] == []


def test_unusual_settings_are_used(peer, tmp_path):
    outcomes = list(check_huggingface.compare_variants(peer, tmp_path))
    assert len(outcomes) == 18
    assert [o for o in outcomes if not o.good] == []


def test_tokenizers_give_the_same_ids(peer, tmp_path):
    vocabs = [
        v for v in os.environ.get("ELECTRA_TF_VOCABS", "").split(":") if v
    ]
    outcomes = list(
        check_huggingface.compare_tokenizers(peer, tmp_path, vocabs)
    )
    assert [o for o in outcomes if not o.good] == []


def test_heads_mean_the_same(peer, tmp_path):
    outcomes = list(check_huggingface.compare_meanings(peer, tmp_path))
    assert len(outcomes) == 9
    assert [o for o in outcomes if not o.good] == []


@pytest.mark.parametrize("python", PYTHONS)
def test_checkpoints_of_many_kinds(python, tmp_path):
    if not python:
        pytest.skip("set ELECTRA_TF_TORCH_PYTHON")
    peer = check_checkpoints.kinds_peer(tmp_path, python)
    try:
        outcomes = list(check_checkpoints.compare_kinds(peer, tmp_path))
    finally:
        peer.close()
    assert len(outcomes) > 180
    assert [o for o in outcomes if not o.good] == []
