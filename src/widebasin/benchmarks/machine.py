"""The machine and the versions of a measurement."""

import dataclasses
import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax

from widebasin.report.tables import Table

PACKAGES = ("widebasin", "jax", "jaxlib", "optax", "equinox", "numpy", "torch")


@dataclass(frozen=True)
class Machine:
    """The machine of a measurement.

    Attributes:
        system: operating system and architecture.
        processor: name of the CPU, if the system reports it.
        cores: logical cores that this process may use.
        devices: JAX's default platform, kind and number of devices.
        versions: package -> version, for installed packages.
    """

    system: str
    processor: str
    cores: int
    devices: str
    versions: dict[str, str]

    def table(self) -> Table:
        """The machine as a table."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        rows = (
            ("system", self.system),
            ("processor", f"{self.processor}, {self.cores} logical cores"),
            ("devices", self.devices),
            ("versions", versions),
        )
        return Table("Machine", ("", "what"), rows)

    def record(self) -> dict[str, object]:
        """The machine for JSON."""
        return dataclasses.asdict(self)


def this_machine() -> Machine:
    """The machine that this process runs on."""
    device = jax.devices()[0]
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        devices=f"{device.platform}: {device.device_kind} x {jax.device_count()}",
        versions={"python": platform.python_version()} | {name: v for name in PACKAGES if (v := _version(name))},
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
