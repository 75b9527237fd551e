"""The same payment's id comes again with another amount. It is not the same payment."""

from tests.journeys.house import House, bank_of, tell


def test_another_amount_under_the_same_id_is_refused_and_changes_nothing(
    shared_house: House,
) -> None:
    async def story() -> None:
        async with bank_of(shared_house) as bank:
            await bank.introduce("lena", "web")
            payment = bank.payment("lena", amount="120.00")
            status, decision = await bank.send(payment)
            assert (status, decision["decision"]) == (200, "approve")

            status, problem = await bank.send({**payment, "amount": "9120.00"})
            assert status == 409
            assert problem["status"] == 409
            assert payment["id"] in str(problem)

            # The first one stands, and so does what it would be written as in another way.
            status, again = await bank.send({**payment, "amount": "120.0"})
            assert (status, again["decided"]) == (200, decision["decided"])
            features = await bank.features(payment["id"])
            assert features["customer.count.1h"] == 1

    tell(story())
