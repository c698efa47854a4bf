"""Cycles are collected on the GUI thread, never elsewhere."""

from __future__ import annotations

import gc
import threading
import weakref

from tiltwright.widgets.garbage import GuiGarbage, SetAside


class _Knot:
    def __init__(self, where: list[int]) -> None:
        self.me, self.where = self, where

    def __del__(self) -> None:
        self.where.append(threading.get_ident())


def test_a_busy_thread_collects_nothing_and_the_gui_thread_does(qtbot):
    where: list[int] = []
    garbage = GuiGarbage()
    try:
        gc.collect()
        knot = _Knot(where)
        alive = weakref.ref(knot)
        del knot

        def allocate() -> None:
            keep = [[k] for k in range(200_000)]
            assert keep

        thread = threading.Thread(target=allocate)
        thread.start()
        thread.join()
        assert alive() is not None
        more = [[k] for k in range(5000)]  # enough for a collection to be due
        qtbot.waitUntil(lambda: alive() is None, timeout=5000)
        assert where == [threading.get_ident()]
        assert more
    finally:
        garbage.stop()
    assert gc.isenabled()


def test_what_is_set_aside_can_be_collected_again_when_the_last_ends():
    where: list[int] = []
    first, second = SetAside(), SetAside()
    knot = _Knot(where)
    first.again()
    del knot
    first.end()
    first.end()
    gc.collect()
    assert not where
    second.end()
    gc.collect()
    assert where == [threading.get_ident()]
    assert gc.get_freeze_count() == 0
