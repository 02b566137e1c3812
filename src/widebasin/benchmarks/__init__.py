"""Benchmarks: the cost of steps, epochs, groups of networks, images and curvature, compared with other libraries."""

from widebasin.benchmarks.benchmark import Benchmark, Measured
from widebasin.benchmarks.machine import Machine, this_machine
from widebasin.benchmarks.registry import BENCHMARKS, NamedBenchmark
from widebasin.benchmarks.timing import Timing, interleave

__all__ = [
    "BENCHMARKS",
    "Benchmark",
    "Machine",
    "Measured",
    "NamedBenchmark",
    "Timing",
    "interleave",
    "this_machine",
]
