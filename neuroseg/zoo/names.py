"""Names of the zoo's networks, and the folders that they stand for."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from export.errors import UsageError

PREFIX = "zoo:"
NETWORKS = Path(__file__).parent / "networks"


def network_names() -> list[str]:
    """Names of the networks that come with the package."""
    return sorted(folder.name for folder in NETWORKS.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def network_folder(name: str) -> Path:
    """The RUN folder of a network, named with or without `zoo:`; UsageError for one that is not there."""
    plain = name.removeprefix(PREFIX)
    if plain in network_names():
        return NETWORKS / plain
    close = get_close_matches(plain, network_names(), n=3)
    hint = f"did you mean {' or '.join(PREFIX + other for other in close)}?" if close else f"it has {_all()}."
    raise UsageError(f"the zoo has no network '{plain}'; {hint} `neuroseg zoo list` shows them.")


def resolve_run(run: Path | str) -> Path:
    """The RUN folder that a user named: `zoo:NAME` is a network of the zoo, anything else a path.

    raises  UsageError for an unknown NAME
    """
    return network_folder(str(run)) if str(run).startswith(PREFIX) else Path(run)


def check_not_zoo(out: Path) -> None:
    """UsageError for an output that names a network of the zoo, or lies inside the zoo."""
    inside = out.resolve().is_relative_to(NETWORKS.resolve())
    if inside or any(part.startswith(PREFIX) for part in out.parts):
        raise UsageError(
            f"'{out}' belongs to the zoo, which is never written to. Choose another place, or take a copy of a network: "
            "neuroseg zoo get NAME --out FOLDER"
        )


def _all() -> str:
    return ", ".join(network_names()) or "none"
