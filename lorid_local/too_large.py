"""A base that cannot stay in this machine's memory: told before it is loaded."""

from pathlib import Path

from lorid_local.kv_cache import MIB
from lorid_local.memory_plan import machine
from lorid_local.models import parts


def warning(base: Path) -> str:
    """Return what to tell of a base larger than the machine's memory; '' if it is not."""
    total = machine().total
    size = sum(path.stat().st_size for path in parts.files(base)) / MIB
    if total is None or size <= total:
        return ""
    return (
        f"Note: {base} takes {size:.0f} MiB and this machine has {total:.0f} MiB of memory: it "
        "will be read from the disk again and again. A smaller one: lorid models list"
    )
