"""Hostile adapters and bases without end: `python -m tests.fuzz_convert --count 200000`.

Stops at the first case that does what it must not, and prints its seed: `--seed N --count 1`
runs it again. Address space is limited, so that a huge allocation is a MemoryError.
"""

import resource
import tempfile
from collections import Counter
from pathlib import Path

import click

from tests.hostile import Prey, outcomes

ROOM = 256 << 20  # bytes of address space beyond what is in use at the start


@click.command()
@click.option("--count", default=200_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Run the cases and print how often each came to what."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir=_memory()) as home:
        prey = Prey(Path(home))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        try:
            for outcome in outcomes(prey, seed, count):
                found[outcome] += 1
        except BaseException:
            click.echo(f"case {seed + found.total()}:", err=True)
            raise
        finally:
            for outcome, number in sorted(found.items()):
                click.echo(f"{number:9d}  {outcome}")
            click.echo(f"{found.total():9d}  cases")


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # fsync costs nothing there


if __name__ == "__main__":
    main()
