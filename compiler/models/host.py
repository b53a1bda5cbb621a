"""The CPU feature class: hosts of one class compute the same bits with one runtime version."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_DECIDING = ("fma", "avx", "avx2", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve")


@cache
def host_class() -> str:
    """Machine type and the vector instructions that choose a kernel, such as ``x86_64+avx2+fma``.

    Source: kernels are dispatched by these flags; ``Features`` is the name of the line on ARM.
    """
    flags: set[str] = set()
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(errors="replace").splitlines():
            if line.startswith(("flags", "Features")):
                flags = set(line.partition(":")[2].split())
                break
    return "+".join([platform.machine(), *sorted(flags.intersection(_DECIDING))])
