"""Does a backtest count what anybody would count by hand, and does it write anything?"""

import json
import os
from collections import Counter, defaultdict, deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from config.settings import HERE, read_rates
from flows.assemble import known_names, read_rule_set
from flows.backtest import ListsThen, matrix, run
from flows.backtest_command import backtest_file
from flows.backtest_page import page
from flows.changes import changed_document
from flows.cli import app
from flows.errors import BadSettings
from flows.files import Truth
from flows.judgement import of_document
from flows.parts import edge_of, open_house
from flows.replay import Tally, facts_of
from flows.simulate_command import simulate_file
from risk import money
from risk.lists import Entry

HANDBOOK = "RINGBACK_HANDBOOK"  # the path of the Handbook's payments, where there is one
LIMIT = int(os.environ.get("RINGBACK_HANDBOOK_LIMIT", "60000"))
DAY_S = 86_400
RATES = read_rates(HERE / "rates.yaml", "CNY")
RULE = """\
version: 2
id: many_small
title: Many payments of some size
reason: {en: Many payments of some size.}
when: customer.count.24h >= 4 && customer.sum.amount.24h >= money("300.00")
action: challenge
state: draft
"""


def _rule(tmp_path: Path, text: str = RULE) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Three weeks of a small bank, and its truth."""
    folder = tmp_path_factory.mktemp("bank")
    events, truth = folder / "events.ndjson", folder / "truth.ndjson"
    simulate_file(
        events, customers=60, days=21, seed=4, start="2026-01-05", scenarios=None, truth=truth,
        label_delay="",
    )  # fmt: skip
    return events, truth


def _brute_force(
    payments: list[tuple[float, str, int, bool]], window_s: float = DAY_S
) -> Counter[tuple[bool, bool]]:
    """Hit or not, fraud or not: by the definition of a window, ``(t - W, t]``, and nothing else."""
    cells: Counter[tuple[bool, bool]] = Counter()
    held: dict[str, deque[tuple[float, int]]] = defaultdict(deque)
    for at, customer, amount, fraud in payments:
        mine = held[customer]
        mine.append((at, amount))
        while mine[0][0] <= at - window_s:
            mine.popleft()
        hit = len(mine) >= 4 and sum(one for _, one in mine) >= 30_000
        cells[hit, fraud] += 1
    return cells


def test_a_backtest_of_the_handbook_is_the_matrix_counted_by_hand(
    tmp_path: Path, bank: tuple[Path, Path]
) -> None:
    """Over the Handbook's payments where their path is told, else over a simulated bank's."""
    told = os.environ.get(HANDBOOK)
    rule = _rule(tmp_path)
    if told:
        import polars

        rows = polars.read_parquet(told).sort("seconds", "tx_id", maintain_order=True)
        payments = [
            (float(at), str(customer), int(amount), bool(fraud))
            for at, customer, amount, fraud in rows.select(
                "seconds", "customer", "amount_cents", "fraud"
            )
            .head(LIMIT)
            .iter_rows()
        ]
        # Labels come in between: a day's delay beyond the end leaves payments alone.
        found = backtest_file(
            rule, events=Path(told), past=False, data=None, label_delay="9999d", limit=LIMIT
        )
    else:
        events, truth = bank
        frauds = {
            row["event"]: row["fraud"] for row in map(json.loads, truth.read_text().splitlines())
        }
        sent = [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]
        payments = [
            (_seconds(one["time"]), one["customer"], _minor(one), frauds.get(one["id"], False))
            for one in sent
            if one["type"] == "transaction"
        ]
        found = backtest_file(
            rule, events=events, past=False, data=None, truth=truth, label_delay="9999d"
        )
    cells = _brute_force(payments)
    mine = found["rules"]["many_small"]
    assert mine["true_positive"] == cells[True, True]
    assert mine["false_positive"] == cells[True, False]
    assert mine["false_negative"] == cells[False, True]
    assert mine["true_negative"] == cells[False, False]
    assert sum(cells.values()) == found["payments"] > 1_000
    assert mine["hits"] == cells[True, True] + cells[True, False] > 0
    assert mine["funnel"][-1]["events"] == mine["hits"]
    assert mine["funnel"][0]["events"] == found["payments"]


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _minor(event: dict[str, Any]) -> int:
    minor = money.minor_units(event["amount"], event["currency"])
    day = datetime.fromisoformat(event["time"]).astimezone(UTC).date()
    return RATES.to_base(minor, event["currency"], day) or 0


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, bank: tuple[Path, Path]) -> dict[str, Any]:
    """A backtest of the rule over the simulated bank."""
    events, truth = bank
    rule = _rule(tmp_path_factory.mktemp("rule"))
    return backtest_file(rule, events=events, past=False, data=None, truth=truth)


def test_both_sides_are_told_beside_each_other(told: dict[str, Any]) -> None:
    today, proposed = told["sides"]["today"], told["sides"]["proposed"]
    assert proposed["questions"] > today["questions"]
    assert proposed["outcomes"] != today["outcomes"]
    assert sum(proposed["outcomes"].values()) == sum(today["outcomes"].values()) == told["events"]
    for parts in ("by_day", "by_segment", "by_channel"):
        rows = proposed[parts].values()
        assert sum(row["questions"] for row in rows) == proposed["questions"], parts
        minutes = sum(row["officer_minutes"] for row in rows)
        assert minutes == pytest.approx(proposed["officer_minutes"]), parts
    assert set(proposed["by_segment"]) == {"none"}, "there are no lists in this bank"
    assert len(proposed["by_day"]) > 7
    assert proposed["customers_asked_twice_in_a_day"] <= proposed["customers_asked"]
    frauds = proposed["true_positive"] + proposed["false_negative"]
    assert proposed["true_positive"] == proposed["frauds_stopped"] <= frauds
    assert proposed["false_positive"] == proposed["honest_payments_stopped"]
    assert proposed["recall"] == round(proposed["frauds_stopped"] / frauds, 6)
    assert proposed["hits"]["many_small"] >= proposed["questions"] - today["questions"]
    assert "many_small" not in today["hits"]
    assert proposed["officer_minutes"] == 6.0 * proposed["reviews"]
    changed = {row.partition(" -> ")[2] for row in told["changed"]}
    assert changed <= {"challenge", "review"}, "a further rule never makes it milder"


def _sent(ident: str, customer: str, minute: int, **over: Any) -> dict[str, Any]:
    at = datetime(2026, 1, 5, 10, minute, tzinfo=UTC) + timedelta(days=over.pop("day", 0))
    known = {
        "id": ident, "type": "transaction", "time": at.isoformat(), "customer": customer,
        "amount": "100.00", "currency": "CNY", "payee": {"account": f"acc-{ident}"},
        "channel": "app", "kind": "bill",
    }  # fmt: skip
    return {**known, **over}


def test_friction_is_told_for_each_day_and_segment_and_money_by_what_the_bank_did(
    tmp_path: Path,
) -> None:
    """Two customers of a segment, one of none; counted by hand."""
    events = [
        _sent("p1", "anna", 0),
        _sent("p2", "anna", 5),
        _sent("p3", "berta", 10, channel="web"),
        _sent("p4", "carl", 20),
        {"id": "s1", "type": "status", "time": "2026-01-05T11:00:00+00:00", "customer": "anna",
         "event": "p1", "state": "reversed"},
        {"id": "s2", "type": "status", "time": "2026-01-05T11:01:00+00:00", "customer": "carl",
         "event": "p4", "state": "executed"},
        _sent("p5", "berta", 0, day=1),
    ]  # fmt: skip
    file = tmp_path / "few.ndjson"
    file.write_text("".join(json.dumps(one) + "\n" for one in events), encoding="utf-8")
    house = open_house(tmp_path / "data")
    token = edge_of(house).tokens.token
    settings, nonce = house.settings, house.secrets.nonce_key
    today = read_rule_set(settings)
    row = {
        "version": 2, "id": "bills", "title": "Bills", "reason": {"en": "A bill."},
        "when": 'event.kind == "bill"', "action": "challenge", "state": "draft",
    }  # fmt: skip
    known = known_names(settings)
    raw = orjson.dumps(changed_document(orjson.loads(today.document), {"bills": row}, None))
    proposed = of_document(raw, known)
    added_us = int(datetime(2026, 1, 5, 10, 7, tzinfo=UTC).timestamp()) * 1_000
    told = run(
        lambda tally: facts_of(file, settings, 0, edge_of(house), today.rates, tally),
        settings, today=today, proposed=proposed, nonce_key=nonce,
        rules=[rule for rule in proposed.rules if rule.id == "bills"],
        lists=[
            {
                "op": "add", "list": "elderly", "kind": "customer", "by": "ann", "reason": "told",
                "value": token("customer", customer), "version": f"{at_ms}-0",
            }
            for customer, at_ms in (("anna", added_us), ("berta", 1_000))
        ],
    )  # fmt: skip
    side = told["sides"]["proposed"]
    asked = {part: row["questions"] for part, row in side["by_segment"].items()}
    # anna came on the list after both of her payments, berta long before
    assert asked == {"elderly": 2, "none": 3}
    assert side["by_segment"]["none"]["customers_asked"] == 2
    assert side["by_segment"]["none"]["customers_asked_twice_in_a_day"] == 1
    assert side["by_segment"]["elderly"]["customers_asked_twice_in_a_day"] == 1
    days = {day: row["questions"] for day, row in side["by_day"].items()}
    assert days == {"2026-01-05": 4, "2026-01-06": 1}
    assert {name: row["questions"] for name, row in side["by_channel"].items()} == {
        "app": 4, "web": 1,
    }  # fmt: skip
    assert side["stopped_by_status"] == {
        "reversed": "100.00", "executed": "100.00", "unknown": "300.00",
    }  # fmt: skip
    assert told["money"]["hit_by_status"] == side["stopped_by_status"]
    assert told["sides"]["today"]["stopped_by_status"] == {}
    html = page(told, "few")
    assert "Friction a customer segment" in html
    assert "elderly, proposed" in html


def test_each_cell_has_examples_that_say_why(told: dict[str, Any]) -> None:
    rules = told["rules"]["many_small"]
    for cell, rows in told["examples"].items():
        assert len(rows) == min(3, rules[cell]), cell
        for row in rows:
            assert row["hit"] is cell.endswith("positive")
            assert row["why"], row
    hit = told["examples"]["false_positive"][0]["why"]
    assert hit[0].startswith("customer.count.24h is ")
    assert hit[0].endswith(">= 4")
    miss = told["examples"]["true_negative"][0]["why"]
    assert ", < " in miss[0]


def test_the_page_needs_nothing_but_itself(told: dict[str, Any]) -> None:
    html = page(told, "Backtest of <mine>")
    assert "<script" not in html
    assert "http" not in html
    assert "&lt;mine&gt;" in html
    assert "many_small" in html
    assert "<svg" in html


def test_a_draft_acts_in_a_backtest_and_nothing_is_written(
    tmp_path: Path, bank: tuple[Path, Path]
) -> None:
    data = tmp_path / "data"
    args = ["rules", "backtest", str(_rule(tmp_path)), "--events", str(bank[0])]
    args += ["--truth", str(bank[1]), "--limit", "400", "--data", str(data)]
    shown = CliRunner().invoke(app, [*args, "--json", "--html", str(tmp_path / "out.html")])
    assert shown.exit_code == 0, shown.output
    assert json.loads(shown.stdout)["events"] <= 400
    assert "many_small" in (tmp_path / "out.html").read_text(encoding="utf-8")
    assert {path.name for path in data.iterdir()} == {"secrets"}
    shown = CliRunner().invoke(app, args)
    assert "many_small" in shown.stdout


def test_a_rule_on_a_factor_has_it_worked_out_even_where_decisions_carry_none(
    tmp_path: Path, bank: tuple[Path, Path]
) -> None:
    events, truth = bank
    when = "factor.event.amount != null"
    rule = _rule(
        tmp_path,
        RULE.replace('customer.count.24h >= 4 && customer.sum.amount.24h >= money("300.00")', when),
    )
    told = []
    for place, wanted in enumerate(("true", "false")):
        data = tmp_path / str(place)
        data.mkdir()
        (data / "ringback.yaml").write_text(f"models: {{factors: {wanted}}}\n", encoding="utf-8")
        found = backtest_file(
            rule, events=events, past=False, data=data, truth=truth, label_delay="1d", limit=1_500
        )
        told.append(found["rules"]["many_small"])
    assert told[0] == told[1]
    assert 0 < told[0]["hits"] < told[0]["funnel"][0]["events"]
    assert told[0]["funnel"][1]["step"] == "factor.event.amount != null"


REFUSED = [
    ({"events": None, "past": False}, "needed either --events FILE or --past"),
    ({"events": Path("gone.csv"), "past": False}, "needed a file of payments, got gone.csv"),
    ({"events": None, "past": True}, "rules backtest --past: needed --data DIR"),
]


@pytest.mark.parametrize(("over", "said"), REFUSED)
def test_what_is_missing_is_said(tmp_path: Path, over: dict[str, Any], said: str) -> None:
    with pytest.raises(BadSettings, match=said):
        backtest_file(_rule(tmp_path), data=None, **over)


def test_a_wrong_rule_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    wrong = _rule(tmp_path, RULE.replace("count.24h", "cuont.24h"))
    with pytest.raises(BadSettings, match=r"got customer\.cuont"):
        backtest_file(wrong, events=tmp_path / "mine.yaml", past=False, data=None)


def test_figures_follow_from_the_matrix() -> None:
    tally = Tally(truth={f"e{n}": Truth(n < 4, "") for n in range(10)})
    tally.event = [f"e{n}" for n in range(10)]
    found = matrix(tally, range(10), dict.fromkeys([0, 1, 2, 8], True))
    assert (found["true_positive"], found["false_positive"]) == (3, 1)
    assert (found["false_negative"], found["true_negative"]) == (1, 5)
    assert found["precision"] == found["recall"] == found["f1"] == 0.75
    nothing = matrix(tally, range(4, 10), {})
    assert (nothing["precision"], nothing["recall"], nothing["f1"]) == (None, None, None)


def test_a_list_is_taken_as_it_was_at_the_time() -> None:
    one = {"list": "mules", "kind": "payee", "value": "acc_1", "reason": "r", "by": "ann"}
    lists = ListsThen(
        [
            {**one, "op": "remove", "version": "3000-0"},
            {**one, "op": "add", "version": "1000-1"},
            {**one, "op": "add", "version": "5000-0", "until_us": 6_000_000},
            {"set": "x"},
        ]
    )
    on = [lists.on_list("mules", "payee", "acc_1", at * 1_000) for at in (999, 1000, 2999, 3000)]
    assert on == [False, True, True, False]
    assert lists.find("mules", "payee", "acc_1", 5_500_000) == Entry("r", "ann", 6_000_000)
    assert not lists.on_list("mules", "payee", "acc_1", 6_000_000)
    assert not lists.on_list("mules", "payee", "acc_2", 2_000_000)
