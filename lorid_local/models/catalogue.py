"""The models that lorid offers by name. A small list in catalogue.toml; knows no network."""

from dataclasses import dataclass
from pathlib import Path

from lorid_local import settings
from lorid_local.errors import InputError, did_you_mean

FILE = Path(__file__).with_name("catalogue.toml")
LAPTOPS = (4, 8, 16)  # GB of memory


@dataclass(frozen=True)
class Offer:
    """A GGUF file on the hub; sizes in MB (10^6 bytes) and GB of a laptop's memory."""

    name: str
    repo: str
    file: str
    licence: str
    size_mb: int
    laptop_gb: int
    note: str = ""

    def __post_init__(self) -> None:
        if self.laptop_gb not in LAPTOPS:
            raise ValueError(f"laptop_gb must be one of {LAPTOPS}, got {self.laptop_gb}")


@dataclass(frozen=True)
class Catalogue:
    """All offers."""

    offers: tuple[Offer, ...]


def offers() -> dict[str, Offer]:
    """Return the offers by name."""
    return {offer.name: offer for offer in settings.load(FILE, Catalogue).offers}


@dataclass(frozen=True)
class Source:
    """What is to be pulled: a repository of the hub, and one of its files, or '' to find it."""

    repo: str
    file: str = ""
    name: str = ""
    licence: str = ""


def source(text: str) -> Source:
    """Read a name of the catalogue, `owner/repo` or `owner/repo:file`; raises InputError."""
    there = offers()
    if text in there:
        offer = there[text]
        return Source(offer.repo, offer.file, offer.name, offer.licence)
    repo, _, file = text.partition(":")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise InputError(
            f"{text}: no model of the catalogue{did_you_mean(text, there)}, "
            "and no OWNER/REPO[:FILE] of the hub",
            hint=f"lorid models list; it offers {', '.join(there)}",
        )
    return Source(repo, file)
