"""Has the caller had the outcome yet? Until then a deny after a confirm can still turn it.

Whoever hands an outcome to a caller marks it in the same script that reads it, so that a caller
never holds a confirm that was turned into a deny behind its back.
"""

from typing import Any

from gateway.turns import Turns
from risk import names

SCRIPT = """
-- ARGV: 1 outcome key, 2 key of the mark, 3 seconds kept. Gives the outcome as it stands.
local outcome = redis.call('GET', ARGV[1])
if outcome then
  redis.call('SET', ARGV[2], 1, 'EX', ARGV[3])
end
return outcome
"""
CALLERS = ("ingest", "bank")
KEPT_SECONDS = 7 * 86_400


async def outcome_for_caller(turns: Turns, event: str) -> bytes | None:
    """The outcome of an event, marked as handed out; None where there is none."""
    keys = names.outcome(event), names.fetched(event)
    found: Any = await turns.run("fetched", *keys, KEPT_SECONDS)
    return None if found is None else bytes(found)
