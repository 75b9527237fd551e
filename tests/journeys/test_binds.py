"""Nora sets up a second chat by herself, with her passkey; her first chat hears of it at once."""

import asyncio
from pathlib import Path

from audit import read
from risk import names
from tests.gateway.chromium import chromium
from tests.gateway.test_pages_in_a_browser import _shown, _text
from tests.gateway.test_signing_in_a_browser import Signer
from tests.journeys.house import Bank, House, bank_of, code, question, tell
from tests.journeys.test_signed import At, enrol
from tests.patience import PATIENCE, until


async def _bind(signer: Signer, address: str) -> None:
    page = signer.page
    await page.open(signer.origin + "/bind")
    await page.until(_shown("xmpp"))
    await page.run("document.getElementById('xmpp').click()")
    await page.run(f"document.getElementById('address').value = '{address}'")
    await page.run("document.getElementById('chat-on').click()")
    await page.until(_shown("sign"))
    assert await page.run(_text("where")) == address
    await page.run("document.getElementById('sign').click()")
    await page.until(f"{_text('title')} === 'It is set up'")


async def _on_record(bank: Bank) -> None:
    """In the ledger: what was signed, that it was bound, and the event that it made."""
    customer = bank.token("nora")

    async def there() -> list[str]:
        kinds = ("step", "binding.added")
        found = await asyncio.to_thread(lambda: list(read.of_kinds(bank.house.data, kinds)))
        mine = [one for one in found if one["subject"] == customer]
        by_her = [one for one in mine if one["actor"]["id"].startswith("passkey/")]
        return [str(one["kind"]) for one in by_her]

    async def both() -> bool:
        return await there() == ["step", "binding.added"]

    await until(both, "her signature and her binding in the ledger")

    async def changes() -> list[str]:
        found = [
            one["event"]["change"]
            for partition in range(4)
            for one in await bank.stream(names.events(partition), "e")
            if one["event"]["customer"] == customer and one["event"]["type"] == "account_change"
        ]
        return sorted(found) if len(found) >= 2 else []

    assert await until(changes, "the events that it made") == ["credential", "jid"]


def test_a_chat_bound_by_a_passkey_is_told_denies_at_once_and_confirms_nothing_yet(
    shared_house: House, tmp_path: Path
) -> None:
    async def story() -> None:
        async with (
            bank_of(shared_house) as bank,
            chromium(tmp_path / "browser") as page,
            shared_house.chat("nora") as nora,
            shared_house.chat("nora2") as second,
        ):
            signer = Signer(At(shared_house.run["http"]), page)  # type: ignore[arg-type]
            await page.open(signer.origin + "/c/none")
            await signer.authenticator()
            await enrol(bank, signer, "nora")  # first of all that is bound: it waits for nothing
            await bank.introduce("nora", "xmpp")
            await _bind(signer, "nora2@localhost")
            told = await nora.wait_for(lambda m: "a chat address was set up" in m.body, PATIENCE)
            assert "reply FREEZE" in told.body
            await _on_record(bank)

            decision = await bank.asked("nora")
            asked = await question(nora, decision)
            second.say(asked.sender, f"YES {code(asked)}")
            # Why is said to who answered, and where it was asked: it may be somebody else's yes.
            for client in (second, nora):
                await client.wait_for(lambda m: "short while ago" in m.body, PATIENCE)
            assert "outcome" not in await bank.decision(decision["event"])
            second.say(asked.sender, f"NO {code(asked)}")
            outcome = await bank.outcome(decision["event"])
            assert (outcome["state"], outcome["decision"]) == ("denied", "decline")

    tell(story())
