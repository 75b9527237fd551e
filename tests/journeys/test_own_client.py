"""Emma has the bank's own app: what she is asked is read there, and nowhere on the way."""

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from slixmpp.xmlstream import tostring

from notifiers.client import CustomerClient
from notifiers.sealed import public_of
from tests.journeys.house import SELF_CONSISTENT, House, bank_of, closing, question, tell
from tests.journeys.search import by_itself, find
from tests.patience import PATIENCE

NAME, AMOUNT, ACCOUNT = "Zwölfmarker Handel", "8765.43", "6222020200019876"


def test_a_sealed_question_is_answered_in_the_app_and_stands_nowhere_on_the_way(
    house: House,
) -> None:
    device = X25519PrivateKey.generate()

    async def story() -> None:
        async with bank_of(house) as bank:
            house.register("emma")
            reached = {
                "kind": "xmpp",
                "address": "emma@localhost",
                "verified": True,
                "seal_to": public_of(device),
                "consent": {"id": "agreement-7"},
            }
            body = {"language": "zh-CN", "zone": "Asia/Shanghai", "channels": [reached]}
            async with bank.http.put(
                "/v1/customers/emma", json=body, headers=bank._as("bank")
            ) as answer:
                assert answer.status == 200, await answer.text()
            port = house.run["xmpp"]["client_port"]
            app = CustomerClient(
                "emma@localhost/app", "pw-emma", "127.0.0.1", port, device_key=device
            )
            await app.connect(PATIENCE)
            try:
                payee = {"account": ACCOUNT, "name": NAME, "country": "CN"}
                decision = await bank.asked("emma", amount=AMOUNT, payee=payee)
                asked = await question(app, decision)
                assert asked.content is not None
                assert asked.content["payee"] == NAME
                assert asked.content["words"]["amount"] == "人民币 8,765.43 元"
                assert "请自行打开手机银行" in asked.body

                right = asked.tied("confirm")
                app.answer(asked.sender, decision["challenge"]["id"], "confirm", right)
                outcome = await bank.outcome(decision["event"])
                assert (outcome["state"], outcome["decision"]) == ("confirmed", "approve")
                closed = await closing(app, decision)
                assert closed.content is not None
                assert "人民币 8,765.43 元" in closed.content["text"]
                for message in (asked, closed):
                    stanza = str(tostring(message.xml))
                    for word in (NAME, "8,765", ACCOUNT):
                        assert word not in stanza
                    assert not by_itself("8765", "9876").search(stanza)
                await bank.recorded(decision["event"], "outcome", "outreach.sent", "answer")
                strengths = {
                    one["strength"]
                    for one in house.records(decision["event"])
                    if one["kind"] == "answer" and "strength" in one
                }
                assert strengths == {"app"}
            finally:
                await app.disconnect()

    tell(story())
    house.end()
    assert find(house.data, NAME) == [], "neither with the chat server nor anywhere else"
    assert find(house.data / "prosody", AMOUNT, "8,765.43", ACCOUNT) == []
    assert house.verify() == SELF_CONSISTENT
