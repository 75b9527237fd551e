"""A stranger starts the demo and touches nothing; a minute later they have seen it all."""

import psutil

from flows.parts import LedgerReading
from tests.journeys.conftest import StartHouse
from tests.journeys.house import SELF_CONSISTENT, bank_of, tell
from tests.patience import PATIENCE, until


def test_the_demo_asks_is_answered_and_asks_you_with_nobody_touching_anything(
    start_house: StartHouse,
) -> None:
    house = start_house("--demo", answer_within=120)

    # The command tells where to look, and how you are asked.
    said = house.hear("silence is never taken as a yes")
    for word in ("Watch:", "Your page:", "you@localhost, password "):
        assert word in said, said
    player = house.pid("demo")

    async def story() -> None:
        async with bank_of(house) as bank:

            async def ended() -> bool:
                told = await bank.stream("rb:decisions", "decision")
                states = {one["outcome"]["state"] for one in told if "outcome" in one}
                return bool(states & {"confirmed", "denied"})

            await until(ended, "a challenge that was raised and answered", 2 * PATIENCE)
            you = bank.token("you")

            async def asked() -> list[str]:
                told = await bank.stream("rb:challenges", "challenge")
                yours = [one for one in told if one["op"] == "ask" and one["customer"] == you]
                open_now = await bank.redis.zrange("rb:open", 0, -1)
                return [one["id"] for one in yours if one["id"].encode() in open_now]

            assert len(await until(asked, "your own challenge", 2 * PATIENCE)) == 1
            word = said.partition("you@localhost, password ")[2].split()[0]
            async with house.chat("you", password=word) as client:
                assert client.jid.startswith("you@localhost/")

    tell(story())
    house.end()
    assert not psutil.pid_exists(player) or not _plays(player)
    assert house.verify() == SELF_CONSISTENT
    head = LedgerReading(house.data, "bank.example").head()
    assert head is not None
    assert head["witnesses"] == [{"name": "bank.example/witness", "own": True}], "binds nobody"


def _plays(pid: int) -> bool:
    try:
        return "flows.demo" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
