"""Accelerators by name, with peak rates from the makers' data sheets, for the cost of a sweep.

This module imports little, because the command line lists the accelerators in its help.
"""

from dataclasses import dataclass

from widebasin.sweep.errors import UsageError, nearest_name

# Share of its peak rate that an accelerator is taken to reach, where nothing else is said.
EFFICIENCY = 0.3


@dataclass(frozen=True)
class Accelerator:
    """One device, from its maker's data sheet.

    Attributes:
        single: peak operations per second of matrix products of float32, as JAX computes them by default.
        half: the same for bfloat16.
        double: the same for float64; ``None`` if the device has no float64 units.
        memory: bytes.
    """

    single: float
    half: float
    double: float | None
    memory: float

    def peak(self, precision: str) -> float | None:
        """Its peak rate in a precision; ``None`` if it does not support the precision."""
        return {"float32": self.single, "bfloat16": self.half, "float64": self.double}[precision]


ACCELERATORS = {
    "v100": Accelerator(15.7e12, 15.7e12, 7.8e12, 32e9),
    "a100": Accelerator(156e12, 312e12, 19.5e12, 80e9),
    "h100": Accelerator(494.5e12, 989e12, 67e12, 80e9),
    "h200": Accelerator(494.5e12, 989e12, 67e12, 141e9),
    "tpu-v4": Accelerator(275e12, 275e12, None, 32e9),
    "tpu-v5e": Accelerator(197e12, 197e12, None, 16e9),
    "tpu-v5p": Accelerator(459e12, 459e12, None, 95e9),
}
"""Name -> peak rates without sparsity. JAX multiplies float32 in TF32 on an A100 and later, in bfloat16 on a TPU."""


@dataclass(frozen=True)
class Accelerators:
    """Accelerators of one kind that share the networks of a sweep.

    Attributes:
        name: a key of ``ACCELERATORS``.
        count: number of accelerators, on one or more hosts.
        efficiency: fraction of the peak rate that each reaches; an assumption, not measured by widebasin.
    """

    name: str
    count: int = 1
    efficiency: float = EFFICIENCY

    def check(self, precision: str) -> None:
        """Raises ``UsageError`` for an unknown name, an invalid number or an unsupported precision."""
        if self.name not in ACCELERATORS:
            raise nearest_name("accelerator", self.name, ACCELERATORS)
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise UsageError("accelerators", self.count, "must be a whole number of at least 1")
        if not 0 < self.efficiency <= 1:
            raise UsageError("efficiency", self.efficiency, "must be a fraction in (0, 1], such as 0.3")
        if ACCELERATORS[self.name].peak(precision) is None:
            raise UsageError("precision", precision, "is not supported by this accelerator; choose another")

    @property
    def memory(self) -> float:
        """Memory of one accelerator in bytes."""
        return ACCELERATORS[self.name].memory

    def peak(self, precision: str) -> float:
        """Peak operations per second of one accelerator, in a precision that it supports."""
        rate = ACCELERATORS[self.name].peak(precision)
        assert rate is not None
        return rate

    def seconds(self, operations: float, precision: str) -> float:
        """The time for a number of operations: ``operations / (count x efficiency x peak)``."""
        return operations / (self.count * self.efficiency * self.peak(precision))
