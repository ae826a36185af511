"""64-bit numbers on the processor, within a block alone."""

from __future__ import annotations

import os
import subprocess
import sys

from lmmformula.numerics.x64 import x64


def test_within_the_block_alone() -> None:
    import jax.numpy as jnp

    before = jnp.ones(2).dtype
    with x64():
        inside = jnp.ones(2)
    assert inside.dtype == "float64"
    assert {d.platform for d in inside.devices()} == {"cpu"}
    assert jnp.ones(2).dtype == before


def test_the_users_own_default_device_stays() -> None:
    code = (
        "import jax, jax.numpy as jnp\n"
        "from lmmformula.numerics.x64 import x64\n"
        "first, second = jax.devices('cpu')\n"
        "with jax.default_device(second):\n"
        "    with x64():\n"
        "        assert jnp.ones(2).devices() == {second}\n"
        "with x64():\n"
        "    assert jnp.ones(2).devices() == {first}\n"
    )
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | flags)
