"""Trackers log a sweep; one file per kind. All are listeners to its events."""

from widebasin.sweep.trackers.registry import ALWAYS, TRACKERS, known_trackers, listeners_of
from widebasin.sweep.trackers.tracker import Tracker

__all__ = ["ALWAYS", "TRACKERS", "Tracker", "known_trackers", "listeners_of"]
