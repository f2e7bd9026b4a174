"""The memory of this process; imports nothing that would add to it."""

import sys


def peak_mb() -> float:
    """The most memory this process has held so far, in MB."""
    try:
        # On Linux a child's ru_maxrss starts at what its parent held.
        with open("/proc/self/status", encoding="ascii") as file:
            return int(file.read().split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
