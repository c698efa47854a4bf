"""The mouse as a state machine, without a window."""

from __future__ import annotations

import pytest

from tiltwright.widgets.editor.hand import DRAG_MS, DRAG_PX, Act, Button, Does, Hand, Mode

LEFT, MIDDLE, RIGHT = Button.LEFT, Button.MIDDLE, Button.RIGHT


@pytest.mark.parametrize(
    ("mode", "button", "keys", "does"),
    [
        (Mode.MODEL, LEFT, {}, Does.ATTACH),
        (Mode.MODEL, MIDDLE, {}, Does.ADD),
        (Mode.MODEL, RIGHT, {}, Does.MOVE),
        (Mode.MODEL, RIGHT, {"ctrl": True}, Does.DELETE_NEAR),
        (Mode.MODEL, RIGHT, {"shift": True}, Does.RECENTRE),
        (Mode.MOVIE, LEFT, {}, Does.LOOK),
        (Mode.MOVIE, MIDDLE, {}, Does.PLAY_FORWARD),
        (Mode.MOVIE, RIGHT, {}, Does.PLAY_BACKWARD),
    ],
)
def test_a_click(mode, button, keys, does):
    hand = Hand(mode)
    hand.press(button, 10, 20, 0, **keys)
    assert hand.release(button, 10, 20) == Act(does, 10, 20)
    assert not hand.busy


@pytest.mark.parametrize("mode", list(Mode))
def test_left_drag_pans_from_six_pixels_on(mode):
    hand = Hand(mode)
    hand.press(LEFT, 100, 100, 0)
    assert hand.move(100 + DRAG_PX - 1, 100, 10) is None
    # The way so far counts.
    assert hand.move(100 + DRAG_PX, 100, 20) == Act(Does.PAN, DRAG_PX, 0)
    assert hand.move(100 + DRAG_PX, 97, 30) == Act(Does.PAN, 0, -3)
    assert hand.release(LEFT, 100 + DRAG_PX, 97) is None


def test_left_drag_pans_after_a_quarter_of_a_second():
    hand = Hand()
    hand.press(LEFT, 0, 0, 1000)
    assert hand.move(1, 0, 1000 + DRAG_MS) is None
    assert hand.move(2, 0, 1001 + DRAG_MS) == Act(Does.PAN, 2, 0)
    assert hand.release(LEFT, 2, 0) is None


def test_a_trembling_hand_still_clicks():
    hand = Hand()
    hand.press(MIDDLE, 50, 50, 0)
    hand.move(52, 51, 40)
    assert hand.release(MIDDLE, 52, 51) == Act(Does.ADD, 50, 50)


def test_a_middle_drag_adds_nothing():
    hand = Hand()
    hand.press(MIDDLE, 50, 50, 0)
    hand.move(90, 50, 40)
    assert hand.release(MIDDLE, 90, 50) is None


def test_right_holds_the_point_until_it_is_let_go():
    hand = Hand()
    assert hand.press(RIGHT, 5, 5, 0) == Act(Does.HOLD, 5, 5)
    assert hand.move(30, 6, 10) == Act(Does.HOLD, 30, 6)
    assert hand.release(RIGHT, 31, 7) == Act(Does.MOVE, 31, 7)


def test_another_button_meanwhile_is_ignored():
    hand = Hand()
    hand.press(LEFT, 0, 0, 0)
    assert hand.press(RIGHT, 0, 0, 1) is None
    assert hand.release(RIGHT, 0, 0) is None
    assert hand.release(LEFT, 0, 0) == Act(Does.ATTACH, 0, 0)


def test_a_cancelled_gesture_does_nothing():
    hand = Hand()
    hand.press(LEFT, 0, 0, 0)
    hand.cancel()
    assert hand.release(LEFT, 0, 0) is None
