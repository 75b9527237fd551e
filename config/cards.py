"""Which models may be loaded, for what, on whose word and until when? The registry of models.

``models.yaml`` holds a card for each (SR 26-2 and OCC 2026-13: inventory, owner, purpose, limits,
validation). A model without a card, or whose recipe is not the card's, is not loaded.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from config.settings import BadConfig, read_yaml

_Text = Annotated[str, Field(min_length=3, max_length=500)]


class Card(BaseModel):
    """One model: what it is for, what it was seen to do, who answers for it.

    ``recipe`` is the SHA-256 of what it is before its first lesson (`ringback models show ID`).
    ``metrics`` are figures as text, with the data they were measured on in ``data``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: _Text
    purpose: _Text
    limits: _Text
    data: _Text
    recipe: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    metrics: dict[str, str] = {}
    approver: _Text
    approved: date
    expires: date

    @model_validator(mode="after")
    def _two_people(self) -> "Card":
        if same_person(self.owner, self.approver):
            raise ValueError(f"approver: needed another than the owner, got {self.approver!r}")
        if self.expires <= self.approved:
            raise ValueError(f"expires: needed a day after {self.approved}, got {self.expires}")
        return self


class _Cards(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1]
    models: dict[str, Card]


def same_person(one: str, other: str) -> bool:
    """Whether two names are of one person, as far as names can tell."""
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()


def read_cards(path: Path) -> Mapping[str, Card]:
    """The cards by model; raises `BadConfig` with where, what was needed and what was got."""
    try:
        return _Cards.model_validate(read_yaml(path)).models
    except ValidationError as wrong:
        first = wrong.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise BadConfig(f"{path.name}: {where}: {first['msg']}") from wrong
