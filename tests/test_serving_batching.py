"""Tests of batching: which rows share a call."""

import asyncio
import threading
import time
import types

import numpy as np
import pytest

from electra_tf.serving.server import batching as batching_module
from electra_tf.serving.server.batching import Batcher, Work
from electra_tf.serving.server.limits import (
    NO_SETTINGS,
    Batching,
    Limits,
    ModelSettings,
    RequestError,
)
from electra_tf.serving.server.signatures import SignatureInfo, TensorInfo
from electra_tf.serving.server.steps import Steps

INFO = SignatureInfo(
    {"text": TensorInfo("DT_STRING", (None,), "text")},
    {"score": TensorInfo("DT_FLOAT", (None,), "score")},
    "predict",
)
LONG = 5.0  # seconds, more than any test waits


class Model:
    """Returns the texts' lengths once `go` is set; records its calls."""

    def __init__(self):
        self.calls = []
        self.go = threading.Event()
        self.go.set()

    def run(self, inputs, stop=None):
        self.calls.append(len(inputs["text"]))
        assert self.go.wait(LONG)
        lengths = [len(text) for text in inputs["text"]]
        return {"score": np.asarray(lengths, np.float32)}


def texts(*lengths):
    array = np.empty(len(lengths), object)
    array[:] = [b"x" * length for length in lengths]
    return {"text": array}


def batching(wait_seconds=LONG, rows=32, parallel=2, **others):
    return Batching(
        rows=rows, wait_seconds=wait_seconds, parallel=parallel, **others
    )


@pytest.fixture
def model():
    return Model()


def run(model, settings, scenario, own=NO_SETTINGS):
    """Runs `scenario(ask)` on an event loop; `ask(inputs)` is a request."""

    async def main():
        batcher = Batcher(settings, Limits())
        work = Work(model, "serving_default", INFO, model.run, own)
        try:
            return await scenario(lambda x: batcher.submit(work, x))
        finally:
            model.go.set()
            batcher.close()

    return asyncio.run(main())


def test_a_row_that_is_alone_does_not_wait(model):
    async def scenario(ask):
        return await asyncio.wait_for(ask(texts(3)), LONG / 2)

    found = run(model, batching(), scenario)
    assert found["score"].tolist() == [3]


def test_rows_that_keep_coming_are_shared_among_the_places(model):
    async def client(ask, length):
        for _ in range(20):
            assert (await ask(texts(length)))["score"].tolist() == [length]

    async def scenario(ask):
        await asyncio.gather(*(client(ask, 1 + i) for i in range(16)))

    run(model, batching(wait_seconds=0.5), scenario)
    assert sum(model.calls) == 16 * 20
    # The calls are neither one of all rows nor many of a few.
    steady = model.calls[8:-4]
    assert np.mean(steady) == pytest.approx(8, abs=1)
    assert max(steady) <= 9


def test_a_long_request_is_divided_among_the_places(model):
    async def scenario(ask):
        return await ask(texts(*range(32)))

    found = run(model, batching(), scenario)
    assert found["score"].tolist() == list(range(32))
    assert model.calls == [16, 16]


def test_no_call_takes_more_than_its_limit(model):
    async def scenario(ask):
        model.go.clear()
        requests = [asyncio.ensure_future(ask(texts(i))) for i in range(40)]
        await asyncio.sleep(0.05)
        model.go.set()
        return await asyncio.gather(*requests)

    found = run(model, batching(wait_seconds=0.01, rows=5), scenario)
    assert [x["score"].item() for x in found] == list(range(40))
    assert max(model.calls) == 5


def test_after_a_rush_a_lone_row_waits_no_more(model):
    async def scenario(ask):
        await asyncio.gather(*(ask(texts(i)) for i in range(16)))
        # At first the batcher waits for as many rows as in the rush.
        for _ in range(25):
            await ask(texts(1))
        began = time.monotonic()
        for _ in range(10):
            await ask(texts(1))
        return time.monotonic() - began

    assert run(model, batching(wait_seconds=0.1), scenario) < 10 * 0.1
    assert model.calls[-35:] == [1] * 35


class Reader:
    """Takes time for each byte, like a network; records bytes per call."""

    def __init__(self, pace):
        self.pace = pace
        self.calls = []

    def run(self, inputs, stop=None):
        lengths = [len(text) for text in inputs["text"]]
        self.calls.append(len(lengths) * max(lengths))
        time.sleep(self.pace * self.calls[-1])
        return {"score": np.asarray(lengths, np.float32)}


def serve(reader, settings, scenario):
    async def main():
        batcher = Batcher(settings, Limits())
        work = Work(reader, "serving_default", INFO, reader.run)
        try:
            return await scenario(lambda x: batcher.submit(work, x), batcher)
        finally:
            batcher.close()

    return asyncio.run(main())


def test_a_call_takes_what_the_model_reads_in_its_time():
    reader = Reader(2e-5)  # 5,000 bytes in 0.1 s

    async def scenario(ask, batcher):
        await ask(texts(4000))  # measured
        return await ask(texts(*[1000] * 24))

    settings = batching(wait_seconds=0, call_seconds=0.1)
    found = serve(reader, settings, scenario)
    assert found["score"].tolist() == [1000] * 24
    assert max(reader.calls[1:]) <= 5000
    assert len(reader.calls) < 12  # nor many small calls


def test_short_requests_keep_their_share_beside_long_ones():
    reader = Reader(1e-4)
    waits = []

    async def scenario(ask, batcher):
        await ask(texts(1024))  # measured
        long = [asyncio.ensure_future(ask(texts(*[2000] * 40))) for _ in "abc"]
        for _ in range(15):
            began = time.monotonic()
            await ask(texts(10))
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
        for each in long:
            each.cancel()
        await asyncio.gather(*long, return_exceptions=True)
        assert batcher.pending_rows == 0

    settings = batching(wait_seconds=0, call_seconds=0.2, long_seconds=0.5)
    serve(reader, settings, scenario)
    # Calls of the long requests take 0.2 s each, in the other place.
    assert sorted(waits)[-2] < 0.1
    # Cancelled requests are not computed.
    assert len(reader.calls) < 40


def test_long_requests_alone_have_all_places():
    reader = Reader(1e-4)

    async def scenario(ask, batcher):
        await ask(texts(1024))
        await asyncio.sleep(0.06)
        began = time.monotonic()
        await asyncio.gather(*(ask(texts(*[1000] * 8)) for _ in "ab"))
        return time.monotonic() - began

    settings = batching(
        wait_seconds=0, call_seconds=0.1, long_seconds=0.2, reserve_seconds=0.05
    )
    # 1.6 s of reading, in two places.
    assert serve(reader, settings, scenario) < 1.3


def test_overload_is_seen():
    reader = Reader(5e-4)

    async def scenario(ask, batcher):
        assert not batcher.overloaded
        requests = [
            asyncio.ensure_future(ask(texts(*[500] * 2))) for _ in range(8)
        ]
        await asyncio.sleep(0.4)
        assert batcher.overloaded
        await asyncio.gather(*requests)
        assert not batcher.overloaded

    settings = batching(
        wait_seconds=0, parallel=1, rows=2, long_seconds=LONG,
        overloaded_seconds=0.2,
    )  # fmt: skip
    serve(reader, settings, scenario)


class Endless:
    """Runs until a stop is requested; records calls as they begin and end."""

    def __init__(self):
        self.began, self.ended = [], []

    def run(self, inputs, stop):
        self.began.append(len(inputs["text"]))
        deadline = time.monotonic() + LONG
        while not stop.requested and time.monotonic() < deadline:
            time.sleep(0.001)
        self.ended.append(len(inputs["text"]))
        raise RuntimeError("ended")


def test_an_abandoned_call_is_ended():
    endless = Endless()

    async def scenario(ask, batcher):
        first, second, third = (
            asyncio.ensure_future(ask(texts(5))) for _ in range(3)
        )
        await asyncio.sleep(0.1)
        assert endless.began == [1]
        first.cancel()
        await asyncio.sleep(0.1)
        # The others share a call.
        assert (endless.began, endless.ended) == ([1, 2], [1])
        second.cancel()
        await asyncio.sleep(0.1)
        assert endless.ended == [1]
        third.cancel()
        await asyncio.sleep(0.1)
        assert endless.ended == [1, 2]
        await asyncio.gather(first, second, third, return_exceptions=True)

    serve(endless, batching(wait_seconds=0, parallel=1), scenario)


def test_one_place_alone_is_not_kept_by_a_long_call():
    reader = Reader(1e-4)

    async def scenario(ask, batcher):
        await ask(texts(1024))  # measured
        long = asyncio.ensure_future(ask(texts(20_000)))  # one call of 2 s
        await asyncio.sleep(0.05)
        began = time.monotonic()
        for _ in range(5):
            await ask(texts(10))
        assert time.monotonic() - began < 1
        # Another long one waits.
        other = asyncio.ensure_future(ask(texts(20_000)))
        await ask(texts(10))
        assert not long.done() and len(reader.calls) == 8
        for each in (long, other):
            each.cancel()
        await asyncio.gather(long, other, return_exceptions=True)

    serve(reader, batching(wait_seconds=0, parallel=1), scenario)


def test_a_models_own_settings(model):
    own = ModelSettings(
        rows=3, wait_seconds=0.01, parallel=1, pending_rows=9, text_bytes=10
    )

    async def scenario(ask):
        model.go.clear()
        first = asyncio.ensure_future(ask(texts(1, 2, 3, 4)))
        await asyncio.sleep(0.1)
        assert model.calls == [3]  # in one of the two places
        with pytest.raises(RequestError, match="model is busy: 4 rows"):
            await ask(texts(*range(6)))
        with pytest.raises(RequestError, match="at most 10 are read"):
            await ask(texts(11))
        second = asyncio.ensure_future(ask(texts(5)))
        await asyncio.sleep(0.05)
        model.go.set()
        return await asyncio.gather(first, second)

    first, second = run(model, batching(), scenario, own)
    assert first["score"].tolist() == [1, 2, 3, 4]
    assert second["score"].tolist() == [5]
    assert model.calls == [3, 2]


class InSteps:
    """Processes a text in steps of ten bytes; records the steps by text."""

    def __init__(self, pace):
        self.pace = pace
        self.calls = []
        self.stopped = False

    def run(self, inputs, stop=None):
        text = inputs["text"][0]
        self.calls.append((text[:1], "whole"))
        time.sleep(self.pace * len(text))
        return {"score": np.asarray([len(text)], np.float32)}

    def begin(self, inputs, stop):
        text = inputs["text"][0]
        self.calls.append((text[:1], "begin"))
        return {"text": text}, len(text) // 10

    def part(self, state, first, last, stop):
        self.calls.append((state["text"][:1], (first, last)))
        end = time.monotonic() + 10 * (last - first) * self.pace
        while time.monotonic() < end and not self.stopped:
            self.stopped |= stop.requested
            time.sleep(0.001)
        return {"found": list(range(first, last))}

    def end(self, state, parts, stop, check):
        found = [number for part in parts for number in part["found"]]
        assert found == list(range(len(state["text"]) // 10))
        return {"score": np.asarray([len(state["text"])], np.float32)}

    def work(self):
        steps = Steps(self.begin, self.part, self.end)
        return Work(self, "serving_default", INFO, self.run, steps=steps)


def lone(letter, length):
    array = np.empty(1, object)
    array[0] = letter * length
    return {"text": array}


def in_steps(model, scenario, **settings):
    async def main():
        batcher = Batcher(batching(0.0, **settings), Limits())
        work = model.work()
        try:
            return await scenario(lambda x: batcher.submit(work, x))
        finally:
            batcher.close()

    return asyncio.run(main())


def test_a_long_text_is_answered_in_calls_of_a_bounded_length():
    model = InSteps(pace=5e-5)  # the pace assumed of an unknown model

    async def scenario(ask):
        return await ask(lone(b"a", 4000)), await ask(lone(b"s", 30))

    found, short = in_steps(model, scenario, call_seconds=0.03)
    assert short["score"].tolist() == [30] and found["score"].tolist() == [4000]
    assert model.calls[0] == (b"a", "begin")
    assert model.calls[-1] == (b"s", "whole")
    sizes = [last - first for _, (first, last) in model.calls[1:-1]]
    assert sum(sizes) == 400
    assert sizes[:3] == [1, 2, 4]  # until their time is measured
    # 30 ms are 60 parts; no part is quicker, but on a busy machine slower.
    assert max(sizes) <= 60 and len(sizes) >= 400 / 60


def test_long_texts_take_turns():
    model = InSteps(pace=5e-5)

    async def scenario(ask):
        first = asyncio.ensure_future(ask(lone(b"a", 6000)))
        await asyncio.sleep(0.02)
        await ask(lone(b"b", 2000))
        assert not first.done()
        await first

    in_steps(model, scenario, call_seconds=0.01, parallel=1, long_seconds=0.0)
    letters = [letter for letter, _ in model.calls]
    places = [i for i, letter in enumerate(letters) if letter == b"b"]
    between = letters[places[0] : places[-1]]
    # The steps of the two texts alternate.
    assert between.count(b"a") == pytest.approx(len(places) - 1, abs=2)


def test_an_abandoned_long_text_ends_after_its_step():
    model = InSteps(pace=5e-4)

    async def scenario(ask):
        request = asyncio.ensure_future(ask(lone(b"a", 4000)))
        await asyncio.sleep(0.1)
        request.cancel()
        await asyncio.sleep(0.1)
        count = len(model.calls)
        await asyncio.sleep(0.1)
        assert model.calls[count:] == []

    in_steps(model, scenario, call_seconds=0.05)
    assert model.stopped


def test_too_large_an_answer_in_steps_is_refused_before_it_is_arrays():
    class Large(InSteps):
        ended = False

        def end(self, state, parts, stop, check):
            # A tensor knows its shape before it is an array.
            check({"score": types.SimpleNamespace(shape=(2**22 + 1,))})
            self.ended = True

    model = Large(pace=5e-5)

    async def scenario(ask):
        await ask(lone(b"a", 4000))

    with pytest.raises(RequestError, match="more than 4194304 values") as error:
        in_steps(model, scenario)
    assert error.value.status == 413 and not model.ended


def test_the_pace_of_steps_counts_all_rows_that_share_them(monkeypatch):
    clock = types.SimpleNamespace(now=0.0, pace=2e-7)
    watch = types.SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr(batching_module, "time", watch)
    together = []

    def reads(inputs):
        clock.now += clock.pace * sum(map(len, inputs["text"]))
        return {"score": np.ones(len(inputs["text"]), np.float32)}

    def begin(inputs, stop):
        together.append(len(inputs["text"]))
        return inputs, 1

    steps = Steps(
        begin, lambda state, *_: reads(state), lambda state, parts, *_: parts[0]
    )
    work = Work(
        Model(), "serving_default", INFO, lambda x, _: reads(x), steps=steps
    )

    async def main():
        batcher = Batcher(
            batching(0.0, parallel=1, call_seconds=0.05), Limits()
        )
        await batcher.submit(work, texts(5000))  # measures the pace
        for _ in range(3):
            found = await batcher.submit(work, texts(*[20_000] * 8))
            assert found["score"].tolist() == [1] * 8
        batcher.close()

    asyncio.run(main())
    # 250,000 bytes are read in a call's time.
    assert together == [1, 8, 8, 8]
