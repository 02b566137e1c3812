"""Trackers: one file for each kind of log that a sweep is kept in. All are listeners to its events."""

from widebasin.sweep.trackers.registry import ALWAYS, TRACKERS, listeners_of
from widebasin.sweep.trackers.tracker import Tracker

__all__ = ["ALWAYS", "TRACKERS", "Tracker", "listeners_of"]
