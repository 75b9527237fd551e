"""Does the customer sign for it? The word of an own, older passkey, given on the bank's page."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.devices import Credential, Credentials, Signed, ready
from gateway.pages import Pages
from gateway.passkeys import TIMEOUT_MS, Passkeys, rp_of
from gateway.pending import Pending, json_answer
from gateway.problems import Problem
from gateway.turns import Turns
from risk.binding import Approval, binding_from, may_confirm
from risk.signed import Unsigned

ASKED_SECONDS = 600
ASKED_A_MINUTE = 240  # by anybody: what is asked for changes nothing, and is forgotten
REFUSED_ON_RECORD = 5  # of one wish


class OwnWord:
    """Takes a passkey's signature over a wish that is under way, once; refuses on record."""

    def __init__(
        self,
        *,
        turns: Turns,
        pages: Pages,
        pending: Pending,
        credentials: Credentials,
        passkeys: Passkeys,
        wait_us: int,
        institution: str,
    ) -> None:
        self._turns, self._pages, self._pending = turns, pages, pending
        self._credentials, self._passkeys = credentials, passkeys
        self._wait_us, self._institution = wait_us, institution

    async def asked(self, wish: dict[str, Any]) -> web.Response:
        """Keep a wish that a customer's page has asked for, and name it; so many a minute."""
        minute = f"rb:bindings:asked:{self._pending.clock() // 60_000_000}"
        number = await self._turns.ask("INCR", minute)
        await self._turns.ask("EXPIRE", minute, 120)
        if number > ASKED_A_MINUTE:
            raise Problem("away", "Too many ask at once; try again in a minute.")
        await self._pending.put(wish, ASKED_SECONDS)
        told = {"id": wish["id"], "kind": wish["kind"], "state": "asked"}
        return json_answer(told, 201, self._pages)

    async def shown(
        self, request: web.Request, wish: dict[str, Any], statement: bytes
    ) -> web.Response:
        """What a passkey is to sign, word for word as the page shows it.

        An empty list of credentials asks for any passkey of this page: it says who signs.
        """
        rp_id, keys = rp_of(self._pages.own_origin(request)), list[Credential]()
        if wish["customer"]:
            keys = ready(await self._credentials.of(wish["customer"]), "passkey", rp_id)
            if not keys:
                raise Problem("no_passkey", "No passkey of this customer is enrolled for this page")
        told = {
            "institution": self._institution,
            "statement": statement.decode(),
            "rp_id": rp_id,
            "timeout": TIMEOUT_MS,
            "credentials": [one.id for one in keys],
        }
        return json_answer(told, 200, self._pages)

    async def given(
        self,
        request: web.Request,
        assertion: dict[str, Any],
        wish: dict[str, Any],
        statement: bytes,
        now_us: int,
    ) -> tuple[dict[str, Any], Approval]:
        """The wish with whose it is, and the word for it; `Problem` for any other signature."""
        origin = self._pages.own_origin(request)
        try:
            found = await self._passkeys.check_statement(
                assertion, statement, wish["customer"], origin
            )
        except Unsigned as refused:
            raise await self.refuse(wish, refused, assertion, now_us) from refused
        key = found.credential
        if not wish["customer"]:
            if not key.own:
                raise Problem("forbidden", "A passkey as old as this binds nothing; ask the bank")
            wish = {**wish, "customer": key.customer, "own": key.own}
        if not self.old_enough(key.binding(), now_us):
            await self._pending.note(wish, "access.denied", "fresh", now_us)
            raise Problem("fresh_binding", "A passkey this young approves nothing yet.")
        try:
            await self._credentials.spend(found, wish["id"])
        except Unsigned as refused:
            raise await self.refuse(wish, refused, assertion, now_us) from refused
        approval = Approval("factor", f"passkey/{key.id}")
        await self._on_record(wish, approval, found, now_us)
        return wish, approval

    def old_enough(self, told: Mapping[str, Any], now_us: int) -> bool:
        """Whether a binding may speak for a change: as long as it may only deny, it may not."""
        return may_confirm(binding_from(told), now_us, self._wait_us)

    async def refuse(
        self, wish: dict[str, Any], refused: Unsigned, given: dict[str, Any], now_us: int
    ) -> Problem:
        """Put a refused signature on record where it is somebody's; gives the problem."""
        customer = wish["customer"]
        if not customer:
            known = await self._credentials.one(str(given.get("id"))[:512])
            customer = known.customer if known is not None else ""
        counted = f"rb:bindings:refused:{wish['id']}"
        number = await self._turns.ask("INCR", counted)
        await self._turns.ask("EXPIRE", counted, ASKED_SECONDS)
        if customer and number <= REFUSED_ON_RECORD:
            about = {**wish, "customer": customer}
            await self._pending.note(about, "access.denied", refused.why, now_us)
        return Problem("not_signed", f"Not taken: {refused}.", why=refused.why)

    async def _on_record(
        self, wish: dict[str, Any], approval: Approval, found: Signed, now_us: int
    ) -> None:
        """All that anybody needs to check the signature again, as with an answer."""
        spoken = {**wish, "by": [*wish["by"], [approval.kind, approval.id]]}
        personal = {
            path: self._pending.personal(path, value, wish["customer"])
            for path, value in found.personal.items()
        }
        await self._pending.note(
            spoken, "step", "signed", now_us,
            body=found.evidence, personal=personal, strength="signed", grade=2,
        )  # fmt: skip
