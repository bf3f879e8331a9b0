"""What the sections of all networks share."""

from __future__ import annotations

from typing import get_args

from neuroseg.config.section import Count, Section


class ModelSection(Section):
    """A network. Subclasses are told apart by `family`.

    steps   T, time steps per image
    """

    steps: Count = 5

    @property
    def multiple(self) -> int:
        """What height and width of an image must be multiples of."""
        return 1

    @property
    def why_multiple(self) -> str:
        """The keys that ask for it, for the error."""
        return f"model.family = {model_family(type(self))}"


def model_family(kind: type[ModelSection]) -> str:
    """The value of `model.family` that means this section."""
    name: str = get_args(kind.model_fields["family"].annotation)[0]
    return name
