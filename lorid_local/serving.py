"""`--endpoint`: from flags to an engine that is a server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lorid_local.engine import Role
from lorid_local.errors import InputError
from lorid_local.loop import RoleTable

if TYPE_CHECKING:
    from lorid_local.endpoint.engine import EndpointEngine

IN_FLIGHT = 64
MOST_IN_FLIGHT = 1024
KEYS = ("LORID_API_KEY", "OPENAI_API_KEY")  # not a flag: every process may read those


@contextmanager
def connected(
    url: str, roles: RoleTable, models: str | None, in_flight: int | None
) -> Iterator["EndpointEngine"]:
    """Yield an engine on the server at `url` that serves these roles. Raises LoridError."""
    # after all flags were checked: httpx2 takes a tenth of a second to import
    from lorid_local.endpoint.engine import EndpointEngine, Options
    from lorid_local.endpoint.greeting import Wanted, named

    adapters = {role: roles.of(role).adapter for role in Role if roles.of(role).adapter}
    key = next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
    options = Options(in_flight=in_flight or IN_FLIGHT, key=key)
    with EndpointEngine(url, Wanted(adapters, named(models)), options) as engine:
        yield engine


def check(in_flight: int | None) -> None:
    """Raise InputError for a number of requests that cannot be in flight."""
    if in_flight is not None and not 1 <= in_flight <= MOST_IN_FLIGHT:
        raise InputError(
            f"--in-flight {in_flight}: expected 1 to {MOST_IN_FLIGHT}",
            hint=f"leave it out for {IN_FLIGHT}",
        )
