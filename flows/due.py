"""What must a shard of customers do by a time, and what does it keep beside their conversations?"""

from typing import Any

import orjson

from risk.brakes import Brakes
from risk.budget import AskingBudget
from risk.challenge import Conversation

#: The entity under which a shard keeps its deadlines, and what those of cases begin with.
DUE = "~due"
CASE = "case:"
CASE_REST_US = 5_000_000


class Due:
    """What a shard must do by a time: end questions, close cases; kept as one more entity.

    Beside it lies the shard's asking budget, where the policy has one.
    """

    def __init__(
        self,
        rows: dict[str, tuple[int, str]] | None = None,
        budget: AskingBudget | None = None,
        brakes: Brakes | None = None,
    ) -> None:
        self.rows = rows if rows is not None else {}
        self.budget = budget
        self.brakes = brakes

    def dump(self) -> bytes:
        kept: dict[str, Any] = {"v": 1, "due": self.rows}
        if self.budget is not None:
            kept["budget"] = self.budget.state()
        if self.brakes is not None:
            kept["brakes"] = self.brakes.state()
        return orjson.dumps(kept)


def load_kept(raw: bytes) -> "Conversation | Due":
    """Read a conversation, or the shard's list of deadlines."""
    kept = orjson.loads(raw)
    if "due" in kept:
        budget = kept.get("budget")
        return Due(
            {key: (row[0], row[1]) for key, row in kept["due"].items()},
            None if budget is None else AskingBudget.restored(budget),
            Brakes.restored(kept["brakes"]) if "brakes" in kept else None,
        )
    return Conversation.load(raw)
