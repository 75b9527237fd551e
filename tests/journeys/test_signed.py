"""Sara moves a large sum: only her passkey confirms it, and years later anybody can check that."""

import asyncio
from pathlib import Path
from typing import Any

import orjson

from risk import signed
from risk.privacy import web_token
from tests.gateway.chromium import chromium
from tests.gateway.test_pages_in_a_browser import _shown, _text
from tests.gateway.test_signing_in_a_browser import Signer
from tests.journeys.house import House, bank_of, tell


class At:
    """What `Signer` needs of a bank: where it is."""

    def __init__(self, url: str) -> None:
        self.url = url


async def enrol(bank: Any, signer: Signer, name: str) -> None:
    """Make a passkey by a link of the bank's."""
    wanted = {"kind": "passkey", "factor": "app_login"}
    headers = {"Authorization": f"Bearer {bank.bearers['bank']}"}
    where = f"/v1/customers/{name}/bindings"
    async with bank.http.post(where, json=wanted, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
        link = (await answer.json())["link"]
    await signer.page.open(signer.origin + link)
    await signer.page.until(_shown("make"))
    await signer.page.run("document.getElementById('make').click()")
    await signer.page.until(f"{_text('title')} === 'Your passkey is ready'")


def test_a_large_confirm_is_signed_and_checked_again_from_the_ledger(
    shared_house: House, tmp_path: Path
) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank, chromium(tmp_path / "browser") as page:
            signer = Signer(At(shared_house.run["http"]), page)  # type: ignore[arg-type]
            await page.open(signer.origin + "/c/none")
            await signer.authenticator()
            await enrol(
                bank, signer, "sara"
            )  # the first that is ever bound to her: it waits for nothing
            await bank.introduce("sara", "web")
            payment = bank.payment("sara", amount="60000.00")
            _, decision = await bank.send(payment)
            challenge, event = decision["challenge"]["id"], decision["event"]
            token = web_token(shared_house.opened.secrets.web_key, challenge)
            await page.open(f"{signer.origin}/c/{challenge}#{token}")
            await page.until(_shown("confirm"))
            assert "passkey" in await page.run(_text("hint"))

            # Unsigned it is not taken, and the question stands; a young page denies at most.
            status, problem = await signer.send(challenge, decision="confirm")
            assert status == 403
            assert problem["type"].endswith(("signature_needed", "fresh_binding"))
            assert "outcome" not in await bank.decision(event)

            await page.run("document.getElementById('confirm').click()")
            await page.until(f"{_text('message-title')} === 'Confirmed'")
            outcome = await bank.outcome(event)
            assert (outcome["state"], outcome["decision"]) == ("confirmed", "approve")

            await bank.recorded(event, "challenge.created", "outcome")
            records = await asyncio.to_thread(shared_house.records, event)
            taken = [r for r in records if r["kind"] == "answer" and "signature" in r["body"]]
            assert [r["strength"] for r in taken] == ["signed"]
            asked = next(r for r in records if r["kind"] == "challenge.created")["body"]
            facts = signed.question(
                {**asked, "customer": bank.token("sara")},
                {"name": payment["payee"]["name"], "account": payment["payee"]["account"]},
            )
            said = signed.statement(facts, "confirm", None)
            key = f"rb:credential:{taken[0]['body']['credential']}"
            kept = orjson.loads(await bank.redis.hget(key, "data"))
            checked = signed.check_assertion(
                taken[0]["body"],
                said,
                signed.unb64(kept["der"]),
                origin=signer.origin,
                rp_id="localhost",
            )
            assert checked["amount"] == "60000.00"

    tell(story())
