import os

import hypothesis

# Read when JAX starts its first backend: two CPU devices, so that sharding is tested on any machine.
if "--xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2".strip()

# The same examples in every run; the first example of a shape compiles, so there is no deadline.
hypothesis.settings.register_profile("reproducible", deadline=None, derandomize=True)
hypothesis.settings.load_profile("reproducible")
