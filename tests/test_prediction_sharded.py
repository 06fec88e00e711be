"""Tests of predicting large collections in shards."""

import dataclasses
import hashlib
import json
import threading

import pytest

from electra_tf.errors import UserError
from electra_tf.prediction import files as prediction_files
from electra_tf.prediction import held, resumable, row_answers, sharded


class Lengths:
    """A predictor that returns the length of a text, an error for bad rows."""

    def __init__(self):
        self._done = resumable.Done()

    def answer(self, rows, number):
        """Returns rows of the output."""
        found = []
        for i, (row, place) in enumerate(rows):
            self._done.rows += 1
            if isinstance(row, row_answers.BadRow):
                self._done.errors += 1
                self._done.first_error = self._done.first_error or row.message
                found.append({**row.record, "error": f"{place}: {row.message}"})
                self._done.outputs["error"] = None
            else:
                found.append({**row, "size": len(row["text"])})
                self._done.outputs["size"] = None
            assert place.endswith(f":{number + i}"), "names another row"
            self._done.inputs |= dict.fromkeys(["text"])
        return found

    def head(self):
        """Returns the counts and columns since the last call."""
        done, self._done = self._done, resumable.Done()
        return vars(done) | {
            "inputs": list(done.inputs), "outputs": list(done.outputs),
        }  # fmt: skip


def a_job(tmp_path, name="out.jsonl", texts=((0, 11), (11, 14)), **more):
    paths = []
    for number, (start, end) in enumerate(texts):
        path = tmp_path / f"in{number}.jsonl"
        rows = [json.dumps({"text": "x" * i}) for i in range(start, end)]
        if number == 0:
            rows[5] = "not JSON"
        path.write_text("".join(f"{row}\n" for row in rows))
        paths.append(str(path))
    target = str(tmp_path / name)
    job = sharded.Job(
        key=target, inputs=tuple(paths), target=target,
        load=held.Loader(f"{__name__}:Lengths", {}),
        read=held.Loader("electra_tf.prediction.row_answers:read_rows", {}),
        write=held.Loader(
            "electra_tf.prediction.files:write_rows",
            {"format": prediction_files.check_name(target, "--output")},
        ),
        group=2, rows_per_shard=4, **more,
    )  # fmt: skip
    resumable.begin(job.partial, {"inputs": paths})
    return job


def all_groups(job, skip=()):
    """Maps a shard to its groups, the last first; -1 has counts of rows."""
    found = {}
    for number in range(len(job.inputs)):
        for shard, group in sharded.groups(job, number, skip):
            found.setdefault(shard, []).insert(0, group)
    return found


def done_alone(job):
    """Runs a job in this process; returns the manifest and new shards."""
    before = sharded.done(job)
    heads = [sharded.head_of(job, shard) for shard in before]
    found = all_groups(job, before)
    heads += [sharded.answer(job, *one) for one in found.items()]
    plan = sharded.plan(heads, job)
    made = [sharded.finish(job, shard, plan) for shard in plan.shards[::-1]]
    return sharded.close(job, made), [s for s in found if s[1] >= 0]


def test_what_failed_is_not_counted_when_it_is_tried_again(tmp_path):
    job = a_job(tmp_path)
    parts = all_groups(job)[0, 1]
    wrong = [(4, [({"text": "a"}, "in0.jsonl:5"), (None, "in0.jsonl:6")])]
    with pytest.raises(TypeError):
        sharded.answer(job, (0, 1), wrong)
    assert sharded.answer(job, (0, 1), parts)["errors"] == 1
    wrong[0][1][0] = (row_answers.BadRow("bad", {}), "in0.jsonl:5")
    with pytest.raises(TypeError):
        sharded.answer(job, (0, 1), wrong)
    head = sharded.answer(job, (0, 1), parts)
    assert head["errors"] == 1 and head["first_error"] != "bad"


def test_groups_are_those_of_one_process(tmp_path):
    job = a_job(tmp_path)
    found = all_groups(job)
    assert found[0, -1] == [(11, [])] and found[1, -1] == [(3, [])]
    sizes = {
        shard: [(first, len(rows)) for first, rows in parts]
        for shard, parts in found.items()
        if shard[1] >= 0
    }
    assert sizes == {
        (0, 0): [(2, 2), (0, 2)],
        (0, 1): [(6, 2), (4, 2)],
        (0, 2): [(10, 1), (8, 2)],
        (1, 0): [(2, 1), (0, 2)],
    }
    assert set(all_groups(job, [(0, 0), (1, 0)])) == {
        (0, 1), (0, 2), (0, -1), (1, -1),
    }  # fmt: skip
    assert sharded.whole_groups(1, 64) == 64
    assert sharded.whole_groups(128, 64) == 128


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".tsv", ".csv"])
def test_files_and_manifest(tmp_path, ending):
    job = a_job(tmp_path, f"o/my.out{ending}")
    made, _ = done_alone(job)
    folder = tmp_path / "o"
    names = [f"my.out-{i:05d}-of-00004{ending}" for i in range(4)]
    listed = sorted([*names, "my.out.manifest.json"])
    assert sorted(p.name for p in folder.iterdir()) == listed
    assert made == json.loads((folder / "my.out.manifest.json").read_text())
    assert made["rows"] == 14 and made["errors"] == 1
    assert [
        (s["file"], s["input"], s["first_row"], s["rows"], s["errors"])
        for s in made["shards"]
    ] == [
        (names[0], job.inputs[0], 0, 4, 0),
        (names[1], job.inputs[0], 4, 4, 1),
        (names[2], job.inputs[0], 8, 3, 0),
        (names[3], job.inputs[1], 0, 3, 0),
    ]
    for shard in made["shards"]:
        content = (folder / shard["file"]).read_bytes()
        assert shard["sha256"] == hashlib.sha256(content).hexdigest()
        assert shard["bytes"] == len(content)
    rows = [
        row
        for name in names
        for row, _ in row_answers.read_rows(str(folder / name))
    ]
    sizes = [str(row.get("size") or "") for row in rows]
    expected = [*map(str, range(14))]
    expected[0] = expected[0] if ending.startswith(".json") else "0"
    expected[5] = ""
    assert [s or "0" for s in sizes[:1]] + sizes[1:] == expected
    assert "not JSON" in rows[5]["error"]
    if ending in (".tsv", ".csv"):  # all tables have the same columns
        assert {tuple(row) for row in rows} == {("text", "size", "error")}


def test_finished_shards_are_not_computed_again(tmp_path):
    whole, _ = done_alone(a_job(tmp_path, "whole.jsonl"))
    job = a_job(tmp_path)
    found = all_groups(job)
    for shard in ((0, 1), (1, 0)):
        sharded.answer(job, shard, found[shard])
    # A process that was killed while it wrote left this file.
    (tmp_path / "out.jsonl.partial" / "00000-00000.jsonl.tmp-ab").write_text("")
    assert sharded.done(job) == [(0, 1), (1, 0)]
    again, answered = done_alone(job)
    assert answered == [(0, 0), (0, 2)]
    assert [s["sha256"] for s in again["shards"]] == [
        s["sha256"] for s in whole["shards"]
    ]
    assert not (tmp_path / "out.jsonl.partial").exists()
    with pytest.raises(UserError, match="is there already; name another"):
        sharded.check_output(job, overwrite=False)
    sharded.check_output(job, overwrite=True)


def test_files_of_a_replaced_output_are_removed(tmp_path):
    done_alone(a_job(tmp_path))
    (tmp_path / "out-other.jsonl").write_text("ours")
    done_alone(a_job(tmp_path, texts=((0, 6),)))
    assert sorted(p.name for p in tmp_path.glob("out*")) == [
        "out-00000-of-00002.jsonl", "out-00001-of-00002.jsonl",
        "out-other.jsonl", "out.manifest.json",
    ]  # fmt: skip


@pytest.mark.parametrize("wrong", ["lost", "twice", "a group"])
def test_a_runner_that_loses_rows_is_reported(tmp_path, wrong):
    job = a_job(tmp_path)
    found = all_groups(job)
    if wrong == "a group":
        found[0, 1].pop()
    heads = [sharded.answer(job, *one) for one in found.items()]
    if wrong == "lost":
        heads = [h for h in heads if h["shard"] != [1, 0]]
    elif wrong == "twice":
        heads += heads[:1]
    with pytest.raises(UserError, match="the runner lost or repeated rows: 14"):
        sharded.plan(heads, job)


def test_names():
    assert sharded.split_name("x/a.b.jsonl.gz") == ("x/a.b", ".jsonl.gz")
    assert sharded.split_name("gs://b.c/d/a.npy") == ("gs://b.c/d/a", ".npy")
    assert sharded.split_name("gs://b.c/d/a") == ("gs://b.c/d/a", "")


def counted(loads):
    loads.append(1)
    return Lengths()


def test_a_model_is_loaded_once_and_lent_to_one_thread_at_a_time():
    loads, inside, most = [], [], []
    load = held.Loader(f"{__name__}:counted", {"loads": loads})

    def work():
        with held.using("once", load) as (value, cost):
            assert isinstance(value, Lengths) and cost.seconds >= 0
            inside.append(1)
            most.append(len(inside))
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loads == [1] and most == [1] * 8
    held.drop("once")
    work()
    assert loads == [1, 1]
    held.drop("once")


def test_a_failed_load_is_tried_again():
    load = held.Loader(f"{__name__}:no_such_name", {})
    for _ in range(2):
        with pytest.raises(AttributeError), held.using("wrong", load):
            pass
    held.drop("wrong")


def test_no_input_is_replaced(tmp_path):
    job = a_job(tmp_path)
    name = str(tmp_path / "o" / ".." / "out-00000-of-00002.jsonl")
    taken = dataclasses.replace(job, inputs=(*job.inputs, name))
    for overwrite in (False, True):
        sharded.check_output(job, overwrite)
        with pytest.raises(UserError, match=r"named as the input .*out-00000"):
            sharded.check_output(taken, overwrite)
