"""Peak memory of each part of the stack, sampled, and its total.

Proportional set size where the kernel tells it (shared pages are counted once over all processes), resident set size
elsewhere. Peaks between two samples are missed, except for the largest single process, whose own high-water mark
(VmHWM) the kernel keeps.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from flywheel.embedded.state import write_json

EVERY_SECONDS = 1.0
MIB = 2**20


@dataclass
class Peak:
    peak_mib: float = 0.0  # highest sum over the part's processes at one moment
    largest_process_mib: float = 0.0  # highest high-water mark of any one of them


class MemorySampler(threading.Thread):
    """Only reads /proc: a thread that started processes would take them along when it ends."""

    def __init__(self, roots: Callable[[], Mapping[str, int]], *, data: Path, output: Path) -> None:
        """`roots` names the parts' first processes; engines of `data` are a part of their own, whoever started them."""
        super().__init__(name="memory", daemon=True)
        self.roots, self.data, self.output = roots, data, output
        self.peaks: dict[str, Peak] = {}
        self.total_mib = 0.0
        self._stopped = threading.Event()

    def run(self) -> None:
        while not self._stopped.wait(EVERY_SECONDS):
            with suppress(OSError, psutil.Error):
                self.sample()

    def stop(self) -> None:
        self._stopped.set()
        if self.is_alive():
            self.join()

    def sample(self) -> None:
        total = 0.0
        for part, processes in self._processes_by_part().items():
            peak = self.peaks.setdefault(part, Peak())
            used = sum(_used_mib(process) for process in processes)
            total += used
            peak.peak_mib = max(peak.peak_mib, round(used, 1))
            peak.largest_process_mib = max([peak.largest_process_mib, *(_high_water_mib(p) for p in processes)])
        self.total_mib = max(self.total_mib, round(total, 1))
        write_json(self.output, self.as_json())

    def as_json(self) -> dict[str, object]:
        return {"total_peak_mib": self.total_mib, "parts": {name: asdict(peak) for name, peak in self.peaks.items()}}

    def _processes_by_part(self) -> dict[str, list[psutil.Process]]:
        """Each process belongs to the nearest part above it, so an engine does not count for the worker."""
        part_of = {pid: part for part, pid in self.roots().items()}
        processes = {process.pid: process for process in psutil.process_iter()}
        part_of |= {engine.pid: "engine" for engine in engines(self.data)}
        found: dict[str, list[psutil.Process]] = {}
        for process in processes.values():
            part = _nearest_part(process, processes, part_of)
            if part is not None:
                found.setdefault(part, []).append(process)
        return found


def engines(data: Path) -> list[psutil.Process]:
    """Live engine processes of this DATA_DIR: their last argument is a run directory. Not the launcher's minders."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            words = process.cmdline()
            if words and words[-1].startswith(f"{data}/runs/") and not any("minder" in word for word in words):
                found.append(process)
    return found


def _nearest_part(
    process: psutil.Process, processes: Mapping[int, psutil.Process], part_of: Mapping[int, str]
) -> str | None:
    seen: psutil.Process | None = process
    for _ in range(20):
        if seen is None:
            return None
        if seen.pid in part_of:
            return part_of[seen.pid]
        try:
            seen = processes.get(seen.ppid())
        except psutil.Error:
            return None
    return None


def _used_mib(process: psutil.Process) -> float:
    pss = _field(Path(f"/proc/{process.pid}/smaps_rollup"), "Pss:")
    if pss is not None:
        return pss
    try:
        return float(process.memory_info().rss) / MIB
    except psutil.Error:
        return 0.0


def _high_water_mib(process: psutil.Process) -> float:
    return round(_field(Path(f"/proc/{process.pid}/status"), "VmHWM:") or 0.0, 1)


def _field(path: Path, name: str) -> float | None:
    """A "Name:  123 kB" line of /proc, in MiB."""
    try:
        for line in path.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    return None
