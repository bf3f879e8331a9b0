"""What sections of a config share: frozen, no unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Side = Annotated[int, Field(ge=16)]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of a config; it cannot be changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
