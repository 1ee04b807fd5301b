"""`lorid paths`: where lorid keeps and finds its files."""

import json
from pathlib import Path

from lorid_local import bundle as bundles
from lorid_local import verified
from lorid_local.base_type import cache_folder
from lorid_local.engine import Role
from lorid_local.errors import InputError, did_you_mean
from lorid_local.evaluate import places
from lorid_local.models import shelf
from lorid_local.tutor.store import FILE, folder


def _bundle(chosen: bundles.Bundle) -> list[Path]:
    return [chosen.folder]


def _adapters(chosen: bundles.Bundle) -> list[Path]:
    roles = (chosen.contents.roles.of(role) for role in Role)
    return [chosen.folder / role.adapter for role in roles if role.adapter]


def _base(chosen: bundles.Bundle) -> list[Path]:
    return [chosen.contents.base.locate()]


def _cache(_: bundles.Bundle) -> list[Path]:
    return [cache_folder()]


def _verified(_: bundles.Bundle) -> list[Path]:
    return [verified.folder()]


def _models(_: bundles.Bundle) -> list[Path]:
    return [shelf.folder()]


def _samples(_: bundles.Bundle) -> list[Path]:
    return [places.folder()]


def _progress(_: bundles.Bundle) -> list[Path]:
    return [folder() / FILE]


PLACES = {
    "bundle": _bundle,
    "adapters": _adapters,
    "base": _base,
    "cache": _cache,
    "verified": _verified,
    "models": _models,
    "samples": _samples,
    "progress": _progress,
}


def run(name: str | None, bundle: str | None, *, as_json: bool) -> int:
    """Print all places, or those of one name alone, for `rm -r "$(lorid paths cache)"`."""
    if name not in (None, *PLACES):
        near = did_you_mean(str(name), PLACES)
        raise InputError(f"no place {name!r}{near}: expected {', '.join(PLACES)}",
                         hint="lorid paths")  # fmt: skip
    chosen = bundles.find(bundle or bundles.DEFAULT)
    found = {key: place(chosen) for key, place in PLACES.items() if name in (None, key)}
    if as_json:
        print(json.dumps({key: [str(path) for path in paths] for key, paths in found.items()}))
        return 0
    for key, paths in found.items():
        for path in paths:
            print(path if name else f"{key:<9} {path}{'' if path.exists() else ' (not there)'}")
    return 0
