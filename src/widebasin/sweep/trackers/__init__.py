"""Trackers log a sweep; one file per kind. All are listeners to its events."""

from widebasin.sweep.trackers.registry import ALWAYS, TRACKERS, check_trackers, listeners_of
from widebasin.sweep.trackers.tracker import Tracker

__all__ = ["ALWAYS", "TRACKERS", "Tracker", "check_trackers", "listeners_of"]
