"""Which models may this house make and load? Those of the catalogue that have a card.

A card that has expired stops nothing that decides already; it is told at the start, by `doctor`,
and nothing is promoted by it.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from config.cards import Card, read_cards
from flows.errors import Unregistered

if TYPE_CHECKING:
    from features.model import Model
    from features.models import Recipe


class Registry:
    """The catalogue's recipes, as far as their cards allow."""

    def __init__(self, cards: Mapping[str, Card], recipes: "Iterable[Recipe]") -> None:
        self._cards = cards
        self.recipes = {recipe.id: recipe for recipe in recipes}

    def card(self, name: str) -> Card:
        """The card of a model whose recipe is the card's; raises `Unregistered`."""
        from features.model import recipe_sha256

        card, recipe = self._cards.get(name), self.recipes.get(name)
        if card is None or recipe is None:
            where = "config/models.yaml" if card is None else "features/models.py"
            raise Unregistered(
                f"models: {name}: needed a card in models.yaml and a line in features/models.py, "
                f"got none in {where}: an unregistered model is not loaded"
            )
        found = recipe_sha256(recipe.make())
        if found != card.recipe:
            raise Unregistered(
                f"models.yaml: {name}: recipe: needed {found}, got {card.recipe}: it is another "
                "model than the approved one; give it a new id, a new card and a new approval"
            )
        return card

    def make(self, name: str) -> "Model":
        """A registered model before its first lesson."""
        self.card(name)
        return self.recipes[name].make()

    def load(self, stored: bytes) -> "Model":
        """A registered model from its bytes; `features.model.ModelError` where they are none."""
        from features.model import opened
        from features.models import load

        self.card(opened(stored)[0])
        return load(stored)

    def expired(self, name: str, today: date) -> bool:
        """Whether a model's card has run out."""
        return self.card(name).expires <= today

    def challengers(
        self, wanted: Iterable[str], *, off_path: bool
    ) -> "dict[str, Callable[[], Model]]":
        """Of these models, those that are scored in the pass (or, ``off_path``, beside it)."""
        found: dict[str, Callable[[], Model]] = {}
        for name in wanted:
            self.card(name)
            recipe = self.recipes[name]
            if recipe.off_path == off_path:
                found[name] = recipe.make
        return found


def read_registry(path: Path) -> Registry:
    """The registry of a file of cards."""
    from features.models import MODELS

    return Registry(read_cards(path), MODELS)
