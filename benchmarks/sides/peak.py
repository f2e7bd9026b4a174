"""The memory of this process. Imports nothing that would add to it."""

import sys


def peak_mb() -> float:
    """The peak memory of this process so far, in MB."""
    try:
        # On Linux, ru_maxrss of a child starts at its parent's value.
        with open("/proc/self/status", encoding="ascii") as file:
            return int(file.read().split("VmHWM:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
