"""Are the figures of a replay's report what one would count by hand, and can the page be read?"""

import builtins
import json
import random
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.errors import BadSettings
from flows.files import Truth
from flows.replay import Tally
from flows.replay_command import replay_file
from flows.report import friction, report, scenarios, stopped
from flows.simulate import simulate, write
from risk.failing import FailLimits
from risk.policy import Policy, Step

DAY_US = 86_400_000_000
DECISIONS = ("approve", "approve", "challenge", "challenge", "review", "decline")
POLICY = Policy(
    steps=(Step(980, "decline"), Step(600, "challenge")),
    acts_after_lessons=10,
    asked_per_day=5,
    open_at_once=3,
    answer_within_us=120_000_000,
    unsigned_limit=None,
    fail=FailLimits(open_below=1, per_customer=1, per_payee=1, overall=1),
)


def made_up(seed: int, count: int = 120) -> Tally:
    """A replay of anything: decisions without sense, some truths unknown, some amounts too."""
    chance, tally = random.Random(seed), Tally()
    for number in range(count):
        event = f"e{number}"
        payment = chance.random() < 0.8
        tally.event.append(event)
        tally.time_us.append(chance.randrange(20 * DAY_US))
        tally.customer.append(f"c{chance.randrange(15)}")
        tally.payment.append(payment)
        tally.amount.append(chance.randrange(1, 10_000) if chance.random() < 0.9 else None)
        tally.probability.append(chance.random())
        tally.lessons.append(chance.randrange(20))
        decision = chance.choice(DECISIONS) if payment else chance.choice(("approve", "review"))
        tally.decision.append(decision)
        tally.outcomes[decision] += 1
        if chance.random() < 0.9:
            tally.truth[event] = Truth(chance.random() < 0.3, chance.choice("ab"))
    return tally


def rows_of(tally: Tally) -> list[dict[str, Any]]:
    return [
        {
            "customer": tally.customer[place],
            "time": tally.time_us[place],
            "payment": tally.payment[place],
            "amount": tally.amount[place],
            "score": round(tally.probability[place] * 1000),
            "probability": tally.probability[place],
            "acts": tally.lessons[place] >= 10,
            "decision": tally.decision[place],
            "truth": tally.truth.get(event) if tally.payment[place] else None,
        }
        for place, event in enumerate(tally.event)
    ]


@pytest.mark.parametrize("seed", range(25))
def test_friction_is_what_one_counts_by_hand(seed: int) -> None:
    tally = made_up(seed)
    rows = rows_of(tally)
    told = friction(tally)
    asked = [row for row in rows if row["decision"] == "challenge"]
    honest = [row for row in asked if row["truth"] and not row["truth"].fraud]
    found = [
        row
        for row in rows
        if row["truth"] and row["truth"].fraud and row["decision"] in ("challenge", "decline")
    ]
    by_customer = Counter(row["customer"] for row in asked)
    twice_a_day = {
        one["customer"]
        for place, one in enumerate(asked)
        for other in asked[:place]
        if one["customer"] == other["customer"] and abs(one["time"] - other["time"]) < DAY_US
    }
    payments = sum(row["payment"] for row in rows)
    assert told == {
        "questions": len(asked),
        "questions_per_1000_payments": pytest.approx(1000 * len(asked) / payments, abs=0.001),
        "customers": len({row["customer"] for row in rows}),
        "customers_asked": len(by_customer),
        "customers_asked_twice_or_more": len([n for n in by_customer.values() if n >= 2]),
        "customers_asked_twice_within_24h": len(twice_a_day),
        "most_questions_to_one_customer": max(by_customer.values()),
        "honest_questions": len(honest),
        "honest_customers_asked": len({row["customer"] for row in honest}),
        "frauds_found": len(found),
        "honest_customers_asked_per_fraud_found": pytest.approx(
            len({row["customer"] for row in honest}) / len(found), abs=0.001
        ),
    }


@pytest.mark.parametrize("seed", range(5))
def test_money_is_what_one_counts_by_hand(seed: int) -> None:
    tally = made_up(seed)
    told = stopped(tally, "CNY")

    def value(fraud: bool, *decisions: str) -> str:
        minor = sum(
            row["amount"]
            for row in rows_of(tally)
            if row["truth"] and row["truth"].fraud == fraud and row["amount"] is not None
            if row["decision"] in decisions
        )
        return f"{minor // 100}.{minor % 100:02d}"

    assert told["fraud_stopped"] == value(True, "challenge", "decline")
    assert told["fraud_held"] == value(True, "review")
    assert told["fraud_missed"] == value(True, "approve")
    assert told["honest_asked"] == value(False, "challenge")
    assert told["honest_declined"] == value(False, "decline")
    assert told["frauds_without_rate"] == sum(
        1 for row in rows_of(tally) if row["truth"] and row["truth"].fraud and row["amount"] is None
    )


def test_recall_by_scenario_is_what_one_counts_by_hand() -> None:
    tally = made_up(3, 2_000)
    places = [
        place
        for place, event in enumerate(tally.event)
        if tally.payment[place] and event in tally.truth
    ]
    told = scenarios(tally, places, POLICY)
    rows = [row for row in rows_of(tally) if row["truth"]]
    acted = sorted((row for row in rows if row["acts"]), key=lambda row: -row["probability"])
    top = acted[: round(len(acted) / 200)]
    assert set(told) == {"a", "b"}
    for name, figures in told.items():
        mine = [row for row in rows if row["truth"].fraud and row["truth"].scenario == name]
        scored = [row for row in mine if row["acts"]]
        assert figures["frauds"] == len(mine)
        assert figures["scored"] == len(scored)
        high = [row for row in scored if row["score"] >= 600]
        assert figures["recall_at_challenge"] == pytest.approx(len(high) / len(scored), abs=1e-4)
        in_top = [row for row in top if row in mine]
        assert figures["recall_at_top"] == pytest.approx(len(in_top) / len(scored), abs=1e-4)
        ended = [row for row in mine if row["decision"] in ("challenge", "decline")]
        assert figures["stopped"] == pytest.approx(len(ended) / len(mine), abs=1e-4)


def test_a_replay_of_nothing_has_a_report() -> None:
    whole = report(Tally(), 0.1, 0, base="CNY", policy=POLICY)
    assert whole["events"] == 0
    assert whole["weeks"] == whole["days"] == []
    assert whole["friction"]["honest_customers_asked_per_fraud_found"] is None
    json.dumps(whole, allow_nan=False)


def replayed(
    file: Path, out: Path | None = None, over: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    return replay_file(
        file,
        data=None,
        over=over or {},
        label_delay="2d",
        out=out,
        with_ledger=False,
        limit=None,
        quiet=True,
        **more,
    )


def test_a_customer_who_stays_silent_can_be_asked_again_the_next_day(tmp_path: Path) -> None:
    """Their questions end at the deadline: three of them don't stay open for ever."""
    file = tmp_path / "large.ndjson"
    start = datetime(2026, 1, 5, 12, tzinfo=UTC)
    rows = [
        {
            "type": "transaction",
            "id": f"p{number}",
            "time": (start + timedelta(days=number)).isoformat(),
            "customer": "anna",
            "amount": "9000.00",
            "currency": "CNY",
            "payee": {"account": f"never-seen-{number}"},
        }
        for number in range(8)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for batch in (1, 200):
        whole = replayed(file, over={"engine": {"batch": batch}})
        assert whole["outcomes"] == {"challenge": 8}, batch


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replayed")
    events, truth = folder / "a & <b>.ndjson", folder / "truth.ndjson"
    write(events, simulate(5, 30, 10, datetime(2026, 1, 5, tzinfo=UTC), fraud=3.0), truth)
    replayed(events, folder / "out", truth=truth, answers="0.6,0.03,5")
    return folder / "out"


def test_a_report_holds_figures_decisions_pictures_and_a_page(out: Path) -> None:
    whole = json.loads((out / "report.json").read_text(encoding="utf-8"))
    lines = (out / "decisions.ndjson").read_text(encoding="utf-8").splitlines()
    assert len(lines) == whole["events"] == sum(whole["outcomes"].values())
    assert sum(day.get("approve", 0) for day in whole["days"]) == whole["outcomes"]["approve"]
    assert whole["answers"]["answered"] > 0
    assert whole["scenarios"]
    for name in ("quality", "recall", "scores", "outcomes", "stages"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_needs_nothing_but_itself(out: Path) -> None:
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "a &amp; &lt;b&gt;.ndjson" in page
    assert "<script" not in page
    for address in re.findall(r"(?:src|srcset|href)=[\"']?([^\"'>]{0,40})", page):
        assert address.startswith("data:image/png;base64,"), address
    assert not re.search(r"https?://|url\(", page)
    assert page.count("<picture>") == page.count('prefers-color-scheme: dark)" srcset=') == 5


def test_plots_without_matplotlib_say_which_extra_to_install(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.plots import LIGHT, drawn

    real = builtins.__import__

    def without(name: str, *more: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *more, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(BadSettings, match=re.escape("pip install 'ringback[replay]'")):
        drawn(json.loads((out / "report.json").read_text(encoding="utf-8")), LIGHT)
