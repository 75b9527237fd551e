"""Who may promote which model, and what is on record of it?"""

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
import yaml

from config.cards import read_cards, same_person
from config.settings import HERE, BadConfig
from features import models as catalogue
from features.model import recipe_sha256
from flows import models, staff
from flows.assemble import registry_of
from flows.errors import Unregistered
from flows.models import NotPromoted
from flows.parts import House, open_house
from flows.registry import Registry
from flows.staff import NotAllowed, Person
from risk import names
from tests import servers


class Office:
    """A data directory whose flow has just said how it stands, and two people."""

    def __init__(self, folder: Path, client: "redis.Redis") -> None:
        self.folder, self.client = folder, client
        self.house: House = open_house(folder)
        for name in ("ana", "bo", "cy"):
            staff.add(folder, name, staff.USUAL if name != "cy" else ("lists",))
        self.stands(binned="champion", binned_crossed="challenger")

    def person(self, name: str) -> Person:
        return staff.person(self.folder, name)

    def stands(self, **roles: str) -> None:
        row = {"sha256": "ab" * 32, "lessons": 5_000, "bytes": 90_000, "dump_us": 900}
        told = {
            name: {**row, "role": role, "version": "abababababab+7"} for name, role in roles.items()
        }
        self.client.set(names.MODEL_BOARD, orjson.dumps({"v": 1, "models": told, "drift": {}}))

    def change(self, name: str, **over: Any) -> None:
        board = models.standing(self.client)
        board["models"][name] |= over
        self.client.set(names.MODEL_BOARD, orjson.dumps(board))

    def propose(self, model: str = "binned_crossed", who: str = "ana") -> dict[str, Any]:
        return models.propose(self.house, self.client, self.person(who), model, "ranks better")

    def approve(self, ident: str, who: str = "bo") -> dict[str, Any]:
        return models.approve(self.house, self.client, self.person(who), ident)

    def orders(self) -> list[dict[str, Any]]:
        rows: Any = self.client.xrange(names.MODELS)
        return [orjson.loads(fields[b"order"]) for _, fields in rows]

    def records(self) -> list[dict[str, Any]]:
        rows: Any = self.client.xrange(names.AUDIT)
        return [one for _, fields in rows for one in orjson.loads(fields[b"records"])]


@pytest.fixture
def office(tmp_path: Path, client: "redis.Redis", way_redis: servers.RedisServer) -> Office:
    (tmp_path / "ringback.yaml").write_text(f"redis_url: {way_redis.url}\n", encoding="utf-8")
    return Office(tmp_path, client)


def test_two_persons_promote_and_both_are_on_record(office: Office) -> None:
    """The proposal with its card and figures, the approval, and one order in the stream."""
    proposal = office.propose()
    assert office.orders() == []
    approved = office.approve(proposal["id"])
    (order,) = office.orders()
    assert order == {
        "v": 1, "proposal": proposal["id"], "model": "binned_crossed", "back": False,
        "proposed_by": "ana", "approved_by": "bo", "approved": approved["approved"],
    }  # fmt: skip
    registered, approved_by = office.records()
    assert (registered["kind"], registered["actor"]["id"]) == ("model.registered", "ana")
    assert registered["body"]["card"]["owner"] == "fraud analytics"
    assert registered["body"]["snapshot"] == "ab" * 32
    assert (approved_by["kind"], approved_by["actor"]["id"]) == ("model.approved", "bo")
    public = {str(row["name"]): str(row["public"]) for row in staff.listed(office.folder)}
    for record, who in ((registered, "ana"), (approved_by, "bo")):
        assert staff.signed(public[who], proposal["signed"], record["body"]["signature"])


def test_who_proposed_may_not_approve(office: Office) -> None:
    """Nor twice, nor another's approval after that of the second person."""
    proposal = office.propose()
    with pytest.raises(NotPromoted, match="another person than ana"):
        office.approve(proposal["id"], "ana")
    assert office.orders() == []
    office.approve(proposal["id"])
    with pytest.raises(NotPromoted, match="needed an open proposal, got approved"):
        office.approve(proposal["id"])
    assert len(office.orders()) == 1
    assert same_person(" Ana  Wu ", "ana wu")


def test_who_has_no_right_or_no_key_does_neither(office: Office) -> None:
    """A name alone promotes nothing."""
    with pytest.raises(NotAllowed, match="needed the right 'propose'"):
        office.propose(who="cy")
    with pytest.raises(NotAllowed, match="somebody known"):
        office.propose(who="dee")
    proposal = office.propose()
    with pytest.raises(NotAllowed, match="needed the right 'approve'"):
        office.approve(proposal["id"], "cy")
    with pytest.raises(NotAllowed, match="another's"):
        staff.person(office.folder, "bo", office.folder / "secrets" / "staff" / "ana.key")


@pytest.mark.parametrize(
    ("prepare", "model", "why"),
    [
        (lambda o: None, "handbook_logistic", "a challenger that learns beside the champion"),
        (lambda o: None, "binned", "is the champion already"),
        (lambda o: o.stands(forest="challenger"), "forest", "too large for the path"),
        (lambda o: o.change("binned_crossed", lessons=7), "binned_crossed", "got 7"),
        (lambda o: o.change("binned_crossed", bytes=2_000_000), "binned_crossed", "got 2000000"),
        (lambda o: o.change("binned_crossed", dump_us=90_000), "binned_crossed", "and 90000"),
        (lambda o: o.client.delete(names.MODEL_BOARD), "binned_crossed", "got none"),
    ],
)
def test_what_can_not_be_champion_is_not_proposed(
    office: Office, prepare: Callable[[Office], Any], model: str, why: str
) -> None:
    """The refusal says what was needed and what was got; nothing is on record."""
    prepare(office)
    with pytest.raises(NotPromoted, match=why):
        office.propose(model)
    assert (office.records(), models.proposals(office.client)) == ([], [])


def test_what_can_not_be_champion_any_more_is_not_approved(office: Office) -> None:
    """Between proposal and approval the challenger was taken out, or a week went by."""
    proposal = office.propose()
    office.stands(binned="champion")
    with pytest.raises(NotPromoted, match="needed a challenger"):
        office.approve(proposal["id"])
    office.stands(binned="champion", binned_crossed="challenger")
    proposal["proposed"] = "2026-01-01T00:00:00.000000Z"
    office.client.hset(names.MODEL_PROPOSALS, proposal["id"], orjson.dumps(proposal))
    with pytest.raises(NotPromoted, match="of the last 7 days"):
        office.approve(proposal["id"])
    with pytest.raises(NotPromoted, match="needed a proposal's id"):
        office.approve("mp-none")
    assert office.orders() == []


def test_a_rollback_is_the_former_champion_and_takes_two_persons_too(office: Office) -> None:
    """Before the first promotion there is none."""
    ana = office.person("ana")
    with pytest.raises(NotPromoted, match="needed a champion before this one"):
        models.rollback(office.house, office.client, ana, "worse")
    office.stands(binned_crossed="champion", binned="former")
    proposal = models.rollback(office.house, office.client, ana, "worse in production")
    with pytest.raises(NotPromoted, match="another person"):
        office.approve(proposal["id"], "ana")
    office.approve(proposal["id"])
    assert [(one["model"], one["back"]) for one in office.orders()] == [("binned", True)]


def test_an_expired_card_promotes_nothing(office: Office) -> None:
    """And a reason is needed that goes on record."""
    _own_cards(office.folder, lambda cards: cards["binned_crossed"].update(
        approved=date(2020, 1, 1), expires=date(2020, 12, 31)))  # fmt: skip
    with pytest.raises(NotPromoted, match="valid card, got one until 2020-12-31"):
        office.propose()
    with pytest.raises(NotPromoted, match="a reason"):
        models.propose(office.house, office.client, office.person("ana"), "binned_crossed", " ")


def _own_cards(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    whole = yaml.safe_load((HERE / "models.yaml").read_text(encoding="utf-8"))
    change(whole["models"])
    (folder / "models.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")


# ------------------------------------------------------------------------------- the registry


def test_every_model_of_the_catalogue_has_a_card_that_is_its_own() -> None:
    """Owner, purpose, limits, data, recipe, approver, expiry; and no card without a model."""
    cards = read_cards(HERE / "models.yaml")
    assert list(cards) == [recipe.id for recipe in catalogue.MODELS]
    for recipe in catalogue.MODELS:
        assert cards[recipe.id].recipe == recipe_sha256(recipe.make())
        assert cards[recipe.id].expires - cards[recipe.id].approved <= timedelta(days=1461)


def test_an_unregistered_model_can_not_be_made_or_loaded(tmp_path: Path) -> None:
    """Whatever its bytes say of themselves."""
    stored = catalogue.BY_ID["handbook_logistic"].make().dump()
    assert registry_of().load(stored).id == "handbook_logistic"
    _own_cards(tmp_path, lambda cards: cards.pop("handbook_logistic"))
    registry = registry_of(tmp_path)
    with pytest.raises(Unregistered, match=r"needed a card in models\.yaml"):
        registry.load(stored)
    with pytest.raises(Unregistered, match=r"needed a card in models\.yaml"):
        registry.make("handbook_logistic")
    with pytest.raises(Unregistered, match="handbook_logistic"):
        registry.challengers(["handbook_logistic"], off_path=False)
    with pytest.raises(Unregistered, match=r"in features/models\.py"):
        Registry(read_cards(HERE / "models.yaml"), catalogue.MODELS[:2]).make("forest")


def test_another_recipe_under_an_approved_name_is_another_model(tmp_path: Path) -> None:
    """One changed constant: the card doesn't hold for it."""
    _own_cards(tmp_path, lambda cards: cards["binned"].update(recipe="0" * 64))
    with pytest.raises(Unregistered, match="it is another model than the approved one"):
        registry_of(tmp_path).load(catalogue.champion().dump())


@pytest.mark.parametrize(
    ("over", "why"),
    [
        ({"approver": " Fraud  ANALYTICS "}, "another than the owner"),
        ({"expires": date(2026, 3, 2)}, "needed a day after"),
        ({"recipe": "12"}, "recipe"),
        ({"owner": ""}, "owner"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_card_that_says_too_little_is_refused_by_name(
    tmp_path: Path, over: dict[str, Any], why: str
) -> None:
    """Where, what was needed, what was got."""
    _own_cards(tmp_path, lambda cards: cards["binned"].update(over))
    with pytest.raises(BadConfig, match=rf"models.yaml: models.binned.*{why}"):
        registry_of(tmp_path)


def test_models_off_the_path_are_not_scored_in_the_pass() -> None:
    """They are asked for by the process of their own."""
    registry = registry_of()
    everything = [recipe.id for recipe in catalogue.MODELS]
    assert "forest" not in registry.challengers(everything, off_path=False)
    assert list(registry.challengers(everything, off_path=True)) == ["forest"]
