"""The typed errors of Tiltwright; nothing else may reach a user."""

from __future__ import annotations


class TiltwrightError(Exception):
    """An error that a person can act on: one line that names the file or the value."""

    exit_status = 1


class InputError(TiltwrightError):
    """Bad input or parameters: the message names the file or the option and what is wrong."""

    exit_status = 2


class DataError(TiltwrightError):
    """The data defeated a step: the message says which step, why, and what to try."""

    exit_status = 3


class Cancelled(TiltwrightError):
    """The person cancelled the work; nothing partial is left under a final name."""

    exit_status = 130
