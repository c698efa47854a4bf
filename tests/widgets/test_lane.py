"""The background lane: newest wins, GUI-thread delivery, errors, clean end."""

from __future__ import annotations

import threading
import time

import pytest

from tiltwright.widgets.lane import Lane


@pytest.fixture
def lane(qapp):
    out = Lane()
    yield out
    out.close()


def test_the_response_arrives_on_the_gui_thread(qtbot, lane):
    got = []
    lane.request(
        "a", threading.get_ident, lambda result: got.append((result, threading.get_ident()))
    )
    qtbot.waitUntil(lambda: len(got) == 1)
    assert got[0][0] != threading.get_ident()
    assert got[0][1] == threading.get_ident()


def test_the_newest_waiting_request_of_a_key_wins(qtbot, lane):
    gate, got = threading.Event(), []
    lane.request("block", gate.wait, lambda _: got.append("block"))
    for k in range(20):
        lane.request("view", lambda k=k: k, got.append)
    lane.request("other", lambda: "other", got.append)
    gate.set()
    qtbot.waitUntil(lambda: lane.idle)
    assert got == ["block", 19, "other"]


def test_one_that_has_begun_is_delivered(qtbot, lane):
    begun, gate, got = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        gate.wait()
        return "old"

    lane.request("view", slow, got.append)
    assert begun.wait(2)
    lane.request("view", lambda: "new", got.append)
    gate.set()
    qtbot.waitUntil(lambda: lane.idle)
    assert got == ["old", "new"]


def test_what_is_on_its_way_back_can_still_be_cancelled(qtbot, lane):
    got = []
    served = threading.Event()
    lane.request("view", served.set, lambda _: got.append("view"))
    lane.request("next", lambda: None, lambda _: got.append("next"))
    assert served.wait(2)
    # The second has been served only after the first was sent; nothing is delivered meanwhile.
    end = time.monotonic() + 2
    while lane.waits("view") or lane.waits("next"):
        assert time.monotonic() < end
        time.sleep(0.005)
    lane.cancel(lambda key: key == "view")
    qtbot.waitUntil(lambda: lane.idle)
    assert got == ["next"]


def test_urgent_requests_pass_between_the_pieces_of_a_long_one(qtbot, lane):
    order, began, gate = [], threading.Event(), threading.Event()

    def long():
        began.set()
        gate.wait()
        for k in range(3):
            order.append(k)
            yield None
        yield "done"

    lane.request("long", long, order.append, later=True)
    assert began.wait(2)
    lane.request("short", lambda: order.append("short") or "x", lambda _: None)
    gate.set()
    qtbot.waitUntil(lambda: lane.idle)
    assert order == ["short", 0, 1, 2, "done"] or order == [0, "short", 1, 2, "done"]


def test_pieces_that_never_yield_a_result_end_with_none(qtbot, lane):
    got = []

    def nothing():
        yield None

    lane.request("a", nothing, got.append)
    qtbot.waitUntil(lambda: lane.idle)
    assert got == [None]


def test_a_newer_request_ends_one_in_pieces(qtbot, lane):
    got = []

    def endless():
        while True:
            time.sleep(0.001)
            yield None

    lane.request("a", endless, got.append)
    qtbot.wait(30)
    lane.request("a", lambda: "new", got.append)
    qtbot.waitUntil(lambda: lane.idle)
    assert got == ["new"]


def test_cancelled_requests_deliver_nothing(qtbot, lane):
    begun, gate, got = threading.Event(), threading.Event(), []

    def slow():
        begun.set()
        gate.wait()
        return 1

    lane.request(("v", 1), slow, got.append)
    lane.request(("v", 2), lambda: 2, got.append)
    lane.request(("w", 3), lambda: 3, got.append)
    assert begun.wait(2)
    lane.cancel(lambda key: key[0] == "v")
    gate.set()
    qtbot.waitUntil(lambda: lane.idle)
    assert got == [3]


def test_an_error_is_told_and_the_lane_goes_on(qtbot, lane):
    got = []

    def fails():
        raise ValueError("bad row")

    with qtbot.waitSignal(lane.failed) as told:
        lane.request("a", fails, got.append)
    assert told.args == ["a", "ValueError: bad row"]
    lane.request("b", lambda: 1, got.append)
    qtbot.waitUntil(lambda: got == [1])


def test_closing_ends_the_thread_and_drops_what_waits(qtbot, qapp):
    lane, got = Lane(), []
    for k in range(50):
        lane.request(k, lambda: time.sleep(0.005), got.append)
    lane.close()
    assert not [t for t in threading.enumerate() if t.name == "viewer lane"]
    qtbot.wait(20)
    assert got == []
    lane.request("late", lambda: 1, got.append)
    assert not [t for t in threading.enumerate() if t.name == "viewer lane"]


class _Told:
    """Says which thread it was destroyed in."""

    def __init__(self, where: list[int]) -> None:
        self.where = where

    def __del__(self) -> None:
        self.where.append(threading.get_ident())


@pytest.mark.parametrize("cancelled", [False, True])
def test_what_a_request_holds_goes_on_the_gui_thread(qtbot, lane, cancelled):
    """It may be the last of a closed window, which another thread must not destroy."""
    where, begun, gate = [], threading.Event(), threading.Event()
    held = _Told(where)

    def work():
        begun.set()
        return gate.wait(2)

    lane.request("a", work, lambda _, held=held: None)
    del held
    assert begun.wait(2)
    if cancelled:
        lane.cancel(lambda key: key == "a")
    gate.set()
    qtbot.waitUntil(lambda: lane.idle)
    lane.request("b", lambda: 1, lambda _: None)
    qtbot.waitUntil(lambda: lane.idle)
    assert where == [threading.get_ident()]


def test_a_lane_behind_another_waits_until_that_one_rests(qtbot, lane):
    order, begun, gate = [], threading.Event(), threading.Event()
    behind = Lane(behind=[lane])

    def pieces():
        for k in range(3):
            begun.set()
            order.append(k)
            yield None
            gate.wait(2)
        yield "done"

    try:
        behind.request("long", pieces, order.append, later=True)
        assert begun.wait(2)
        lane.request("edit", lambda: order.append("solved"), lambda _: order.append("shown"))
        gate.set()
        qtbot.waitUntil(lambda: behind.idle)
        # The piece in hand ended; the next one began when the answer had been shown.
        assert order.index("shown") < order.index(2)
        assert order[-1] == "done"
    finally:
        behind.close()


def test_what_is_urgent_waits_for_no_other_lane(qtbot, lane):
    got, gate = [], threading.Event()
    behind = Lane(behind=[lane])
    try:
        lane.request("edit", lambda: gate.wait(2), lambda _: None)
        behind.request("click", lambda: 1, got.append)
        behind.request("list", lambda: 2, got.append, later=True)
        qtbot.waitUntil(lambda: got == [1])
        qtbot.wait(30)
        assert got == [1]
        gate.set()
        qtbot.waitUntil(lambda: got == [1, 2])
    finally:
        behind.close()
