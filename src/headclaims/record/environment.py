"""What an audit ran on and with, as records and benchmarks state it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def environment(device: str) -> dict[str, Any]:
    """Return versions, platform, processor, the number of threads, the device and, if it is one of CUDA's, its name.

    Loads torch to ask it.
    """
    import torch

    there = {"accelerator": torch.cuda.get_device_name()} if device == "cuda" and torch.cuda.is_available() else {}
    return {
        "python": platform.python_version(),
        "torch": version("torch"),
        "transformer_lens": version("transformer_lens"),
        "numpy": version("numpy"),
        # platform.platform() would start a process.
        "platform": f"{platform.system()}-{platform.release()}-{platform.machine()}",
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "device": device,
        **there,
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
