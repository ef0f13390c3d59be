"""What the engine ran in, as far as it decides the bits of a result: versions, processor, threads.

The same inputs give the same weights on the same of all this. Where one of them differs the weights may, so result.json
carries it and `manage.py reproduce` shows it then and now.
"""

import hashlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

LEARNING = ("torch", "transformers", "trl", "peft", "accelerate", "tokenizers", "datasets", "numpy")
DRAWING = ("llguidance", "vllm")
SOURCES = Path(__file__).parents[1]  # of the package trainer


def describe() -> dict[str, str]:
    """Names and versions; torch is asked where the work has loaded it, and is not loaded for this."""
    return {
        "engine": sources_digest()[:12],
        "python": platform.python_version(),
        **{name: version for name in (*LEARNING, *DRAWING) if (version := _version(name))},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        **_torch(sys.modules.get("torch")),
    }


def sources_digest() -> str:
    """Of the code that decides what is learned: the engine, with the rewards and the formats beside it."""
    files = [*(SOURCES / "engine").glob("*.py"), SOURCES / "rewards.py", SOURCES / "constraint.py"]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def processor() -> str:
    """The model's name as Linux has it; elsewhere what the platform says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or "unknown"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _torch(torch: Any) -> dict[str, str]:
    """Threads and kernels in use: sums are split by the number of threads, and rounded by the width of the vectors."""
    if torch is None:
        return {"threads": os.environ.get("ENGINE_THREADS", "")} if "ENGINE_THREADS" in os.environ else {}
    found = {"threads": str(torch.get_num_threads()), "vectors": str(torch.backends.cpu.get_cpu_capability())}
    if torch.cuda.is_available():
        names = sorted({torch.cuda.get_device_name(at) for at in range(torch.cuda.device_count())})
        found |= {"accelerators": f"{torch.cuda.device_count()} × {', '.join(names)}", "cuda": str(torch.version.cuda)}
    return found
