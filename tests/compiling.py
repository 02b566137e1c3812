"""How tests compile: fast, as most of the time of most tests goes into compiling."""

from importlib.metadata import version

# Machine code without LLVM's optimizations, in one piece, as the processes that test have a core each.
FLAGS = {
    "xla_backend_optimization_level": "0",
    "xla_llvm_disable_expensive_passes": "true",
    "xla_cpu_parallel_codegen_split_count": "1",
}
# Elementwise operations without MLIR take half of the time. XLA ends a process over a flag that it does not know.
EMITTERS = "xla_cpu_use_fusion_emitters"
if version("jaxlib").startswith("0.10."):
    FLAGS[EMITTERS] = "false"


def xla_flags(devices: int, given: str = "") -> str:
    """The environment's ``XLA_FLAGS``, read when JAX starts: what is given, so many CPU devices, compiled fast."""
    flags = {"xla_force_host_platform_device_count": str(devices)} | FLAGS
    return " ".join([given, *(f"--{name}={value}" for name, value in flags.items() if name not in given)]).strip()
