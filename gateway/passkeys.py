"""Is this the customer's passkey, over these very facts? WebAuthn on the customer's pages.

::

    statement = canonical {question, decision, reason}      one for confirm, one for each deny
         |  SHA-256("ringback-challenge-v1\\0" + statement)
    the WebAuthn challenge --authenticator--> signature over it, this origin, this RP, a counter

So an assertion that was captured can't be turned round, moved to another payment, or used twice.
What is refused is refused by name (`risk.signed.Unsigned.why`) and goes on record.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from webauthn import (
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import decode_credential_public_key, decoded_public_key_to_cryptography
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from gateway.devices import Credential, Credentials, Signed
from gateway.turns import Turns
from risk import signed
from risk.privacy import NONCE_BYTES, SealBroken, open_sealed, seal
from risk.signed import Unsigned

TIMEOUT_MS = 60_000
_LONGEST = 4_096
_DAY_SECONDS = 86_400
_STATEMENT = b"statement"


def rp_of(origin: str) -> str:
    """The RP id of an origin: its host. An IP address is none (WebAuthn Level 2, 5.1.2)."""
    return urlsplit(origin).hostname or ""


class Passkeys:
    """Prepares what passkeys sign, and checks what they signed."""

    def __init__(
        self, turns: Turns, credentials: Credentials, edge_key: bytes, institution: str
    ) -> None:
        self._turns = turns
        self._credentials = credentials
        self._edge_key = edge_key
        self._institution = institution

    # -- enrolment -------------------------------------------------------------------------

    def new(self, origin: str, customer: str, challenge: bytes, known: Sequence[Credential]) -> Any:
        """The options of a registration, as the page hands them to the authenticator."""
        options = generate_registration_options(
            rp_id=rp_of(origin),
            rp_name=self._institution,
            user_name=customer[:10],
            user_display_name=self._institution,
            user_id=hashlib.sha256(b"user\0" + customer.encode()).digest(),
            challenge=challenge,
            timeout=TIMEOUT_MS,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.PREFERRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[
                PublicKeyCredentialDescriptor(id=signed.unb64(one.id)) for one in known
            ],
        )
        return orjson.loads(options_to_json(options))

    def registered(
        self, given: Any, origin: str, customer: str, challenge: bytes
    ) -> tuple[Credential, int]:
        """The new passkey, not yet bound; raises `Unsigned` for anything but one of this page."""
        if not isinstance(given, dict) or len(orjson.dumps(given)) > 8 * _LONGEST:
            raise Unsigned("edited", "needed a WebAuthn registration")
        try:
            made = verify_registration_response(
                credential=given,
                expected_challenge=challenge,
                expected_rp_id=rp_of(origin),
                expected_origin=origin,
                require_user_verification=True,
            )
            key = decoded_public_key_to_cryptography(
                decode_credential_public_key(made.credential_public_key)
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as wrong:
            raise Unsigned("edited", f"the registration does not hold: {wrong}") from wrong
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        credential = Credential(
            id=signed.b64(made.credential_id),
            kind="passkey",
            customer=customer,
            der=der,
            bound="",
            waits=True,
            cose=made.credential_public_key,
            rp_id=rp_of(origin),
        )
        return credential, made.sign_count

    # -- signing ---------------------------------------------------------------------------

    async def prepare(
        self, asked: dict[str, Any], credentials: Sequence[Credential], seconds: int
    ) -> dict[str, Any]:
        """The statements that may be signed about a question, and who may sign them.

        Each is kept under its digest, so that an assertion over another one can be told by name.
        """
        statements, keeping = {}, []
        for name, (decision, reason) in zip(signed.names_of(), signed.DECISIONS, strict=True):
            said = signed.statement(asked, decision, reason)
            digest = signed.b64(signed.challenge(said))
            statements[name] = {"statement": said.decode(), "challenge": digest}
            kept = seal(self._edge_key, said, _STATEMENT, os.urandom(NONCE_BYTES))
            keeping.append(
                self._turns.ask("SET", _prepared_key(digest), kept, "EX", seconds + _DAY_SECONDS)
            )
        await asyncio.gather(*keeping)
        return {
            "timeout": TIMEOUT_MS,
            "credentials": [one.id for one in credentials],
            "statements": statements,
        }

    async def check(
        self, given: Any, asked: dict[str, Any], decision: str, reason: str | None, origin: str
    ) -> Signed:
        """The signature of an assertion about the question ``asked``; else `Unsigned`.

        What it must be over is this question, this decision and this reason.
        """
        said = signed.statement(asked, decision, reason)

        async def other(challenge: str) -> Unsigned:
            return await self._named(challenge, asked, decision)

        return await self._check(given, said, asked["customer"], origin, other)

    async def check_statement(self, given: Any, said: bytes, customer: str, origin: str) -> Signed:
        """The signature of an assertion over ``said``; else `Unsigned`.

        Without a ``customer`` any passkey of this page will do: it says who signs.
        """

        async def other(_: str) -> Unsigned:
            return Unsigned("edited", "what was signed is not what is asked for")

        return await self._check(given, said, customer, origin, other)

    async def _check(
        self,
        given: Any,
        said: bytes,
        customer: str,
        origin: str,
        other: Callable[[str], Awaitable[Unsigned]],
    ) -> Signed:
        """Check an assertion over the statement ``said``; ``other`` names what else was signed.

        1. the assertion is whole, and of a passkey of the customer that is asked
        2. these very bytes were not used before
        3. it is over this statement
        4. its counter is greater than the last (compared again where it is spent)
        5. it was made on this page, for this RP, with the user verified, and its signature holds
        """
        client, auth, signature, ident = _parts(given)
        credential = await self._credentials.one(ident)
        if (
            credential is None
            or credential.kind != "passkey"
            or (customer and credential.customer != customer)
        ):
            raise Unsigned("credential", "needed a passkey of the customer that is asked")
        mark = hashlib.sha256(b"\0".join((auth, client, signature))).hexdigest()
        if await self._credentials.used(mark):
            raise Unsigned("replayed", "this assertion was used before")
        expected = signed.challenge(said)
        told = _client_data(client)
        if told["challenge"] != signed.b64(expected):
            raise await other(told["challenge"])
        count = int.from_bytes(auth[33:37], "big")
        if (count or credential.count) and count <= credential.count:
            raise Unsigned("counter", "the counter is not greater than the last: a copied key?")
        try:
            verify_authentication_response(
                credential=given,
                expected_challenge=expected,
                expected_rp_id=credential.rp_id,
                expected_origin=origin,
                credential_public_key=credential.cose,
                credential_current_sign_count=credential.count,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as wrong:
            raise Unsigned("edited", f"the assertion does not hold: {wrong}") from wrong
        evidence = {
            "credential": ident,
            "client_data": signed.b64(client),
            "authenticator_data": signed.b64(auth),
            "signature": signed.b64(signature),
            "origin": origin,
            "rp_id": credential.rp_id,
        }
        return Signed(credential, said, mark, count, evidence, {"statement": said.decode()})

    async def _named(self, challenge: str, asked: dict[str, Any], decision: str) -> Unsigned:
        """Which other thing was signed? One that was prepared once can be told by name."""
        kept = await self._turns.ask("GET", _prepared_key(challenge))
        if kept is None:
            return Unsigned("edited", "what was signed was never put to this customer")
        try:
            facts = orjson.loads(open_sealed(self._edge_key, kept.decode(), _STATEMENT))
        except SealBroken:
            return Unsigned("edited", "what was prepared does not open")
        why = signed.differs(facts, asked, decision) or "reason"
        return Unsigned(why, f"what was signed differs in: {why}")


def _parts(given: Any) -> tuple[bytes, bytes, bytes, str]:
    """Client data, authenticator data, signature and credential id of an assertion's JSON."""
    try:
        response = given["response"]
        texts = [response[name] for name in ("clientDataJSON", "authenticatorData", "signature")]
        ident = given["id"]
        if not all(isinstance(text, str) and len(text) <= _LONGEST for text in (*texts, ident)):
            raise Unsigned("edited", "needed an assertion of bounded texts")
        client, auth, signature = (signed.unb64(text) for text in texts)
    except (TypeError, KeyError, ValueError) as wrong:
        if isinstance(wrong, Unsigned):
            raise
        raise Unsigned("edited", "needed a WebAuthn assertion") from wrong
    if len(auth) < 37:
        raise Unsigned("edited", "needed authenticator data")
    return client, auth, signature, ident


def _client_data(raw: bytes) -> dict[str, str]:
    try:
        told = orjson.loads(raw)
    except orjson.JSONDecodeError as wrong:
        raise Unsigned("edited", "needed client data in JSON") from wrong
    if not isinstance(told, dict) or not isinstance(told.get("challenge"), str):
        raise Unsigned("edited", "needed client data with a challenge")
    if told.get("crossOrigin"):
        raise Unsigned("origin", "the page was framed by another")
    return {"challenge": told["challenge"]}


def _prepared_key(digest: str) -> str:
    return f"rb:prepared:{digest[:64]}"
