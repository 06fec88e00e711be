"""Tests of which versions are loaded as directories change."""

import contextlib
import json
import os
import shutil

import pytest
import serving_toy

from electra_tf.errors import UserError
from electra_tf.serving.server.limits import RequestError
from electra_tf.serving.server.metrics import Metrics
from electra_tf.serving.server.model_versions import ModelVersions
from electra_tf.serving.server.served import Served


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("versions") / "1"
    serving_toy.save(path)
    return path


@pytest.fixture
def model(saved, tmp_path):
    """A directory, and a function that adds a version to it."""
    path = tmp_path / "toy"
    path.mkdir()

    def add(number):
        serving_toy.add_version(saved, path / str(number))

    return path, add


@pytest.fixture
def events():
    return []


def versions_of(path, events, newest=1):
    def changed(*event):
        events.append(event[1:])

    return ModelVersions({"toy": Served(str(path), newest)}, changed)


def available(versions):
    return [
        int(state["version"])
        for state in versions.status("toy")
        if state["state"] == "AVAILABLE"
    ]


@pytest.mark.parametrize("newest", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_deleting_the_newest_rolls_back_once(model, events, newest):
    path, add = model
    for number in (8, 9, 10):
        add(number)
    versions = versions_of(path, events, newest)
    versions.load_all()
    assert available(versions) == [10, 9, 8][:newest]
    events.clear()
    shutil.rmtree(path / "10")
    versions.update()
    assert available(versions) == [9, 8][:newest]
    assert versions.get("toy").version == 9
    assert events == [(9 if newest == 1 else 8, "loaded"), (10, "unloaded")]
    for _ in range(3):
        versions.update()
    assert len(events) == 2
    add(11)
    versions.update()
    assert available(versions) == [11, 9][:newest]


def test_what_is_loaded_goes_on_where_no_version_is_left(model, events):
    path, add = model
    add(1)
    versions = versions_of(path, events)
    versions.load_all()
    shutil.rmtree(path / "1")
    versions.update()
    assert versions.get("toy").version == 1


def test_a_version_completed_at_the_same_size_is_tried_again(model, events):
    path, add = model
    for number in (1, 2):
        add(number)
    graph = path / "2" / "saved_model.pb"
    whole = graph.read_bytes()
    graph.write_bytes(b"\x07" * len(whole))
    os.utime(graph, ns=(1, 1))
    versions = versions_of(path, events)
    versions.load_all()
    assert versions.get("toy").version == 1
    versions.update()
    assert events == [(2, "failed"), (1, "loaded")]
    graph.write_bytes(whole)
    versions.update()
    assert versions.get("toy").version == 2
    assert available(versions) == [2]


def test_a_number_that_no_message_can_hold_is_no_version(model, events):
    path, add = model
    for number in (1, 2**63):
        add(number)
    versions = versions_of(path, events)
    versions.load_all()
    assert versions.get("toy").version == 1


@pytest.mark.parametrize("name", ["serve.yaml", "1/batching_params.pbtxt"])
def test_a_version_whose_settings_are_mended_is_tried_again(
    model, events, name
):
    path, add = model
    for number in (1, 2):
        add(number)
    settings = path / name.replace("1/", "2/")
    versions = versions_of(path, events)
    settings.write_text("nonsense")
    with contextlib.suppress(UserError):  # `serve.yaml` is for all versions
        versions.load_all()
    assert (2, "failed") in events
    events.clear()
    versions.update()
    assert events == []
    settings.write_text("")
    versions.update()
    assert versions.get("toy").version == 2


def test_status_tells_clients_no_path(model, events):
    path, add = model
    for number in (1, 2, 3):
        add(number)
    (path / "2" / "saved_model.pb").write_bytes(b"\x07")
    shutil.rmtree(path / "3" / "variables")
    versions = versions_of(path, events)
    versions.load_all()
    text = json.dumps(versions.status("toy"))
    assert str(path) not in text
    errors = [s["status"]["error_message"] for s in versions.status("toy")]
    assert "version" in errors[0] and "cannot load" in errors[1]


def test_the_operator_is_reported_the_path(model, events):
    path, add = model
    add(1)
    (path / "1" / "saved_model.pb").write_bytes(b"\x07")
    with pytest.raises(UserError, match=str(path / "1")):
        versions_of(path, events).load_all()


def test_a_wrong_path_among_several_is_reported_before_any_is_loaded(
    model, tmp_path, events
):
    path, add = model
    add(1)
    versions = ModelVersions(
        {
            "toy": Served(str(path)),
            "other": Served(str(tmp_path / "none")),
        },
        changed=lambda *event: events.append(event),
    )
    with pytest.raises(UserError, match="none: no such directory"):
        versions.load_all()
    assert events == []
    with pytest.raises(RequestError):
        versions.get("toy")


def test_the_metric_follows_a_roll_back():
    metrics = Metrics()
    for event in ((9, "loaded"), (10, "loaded"), (10, "unloaded")):
        metrics.version_changed("toy", *event)
    assert b'electra_tf_model_version{model="toy"} 9.0' in metrics.page()
    metrics.version_changed("toy", 9, "unloaded")  # the model is not served
    assert b"electra_tf_model_version{" not in metrics.page()
