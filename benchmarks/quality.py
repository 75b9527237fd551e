"""`make bench-quality`: how well the model ranks, in the flow that runs live.

    python -m benchmarks.quality [FILE] [--only NAME …] [--customers N] [--seeds 501,502,503]

FILE are the Handbook's payments (parquet or CSV); without it the scenarios that replay it are left
out. The others replay simulated banks. Each scenario has a permanent name, fixed seeds and bars;
its result goes into ``results/quality-<name>.json`` with the machine's description. Figures of
quality are the same on every machine with the same packages. Bars are strict; ``TOLERANCE`` says
when a figure has moved against the result that was kept before.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks import machine, simulated
from config.settings import HERE

RESULTS = Path(__file__).parent / "results"

#: A mean over the four weeks that moved by less says nothing of the code: with other draws of who
#: answers and errs it moves by 0.001 to 0.002, and where customers are sought out by up to 0.005.
TOLERANCE: Final = {"average_precision": 0.005, "card_precision_at_100": 0.004}

#: The budget is held if the share asked over all days lies this near to it, as a part of it.
BUDGET_HELD: Final = 0.1


#: What costs time and changes no score: the unlabelled opinion, the reasons, the look for drift.
LEFT_OUT: Final = {
    "version": 1,
    "engine": {"anomaly": False},
    "models": {"factors": False, "drift": False},
}


@dataclass(frozen=True)
class Replay:
    """A replay of the Handbook's payments, labels 7 days late; bars are means of four weeks."""

    name: str
    options: tuple[str, ...]
    bars: Mapping[str, float]
    goals: Mapping[str, float]
    why: str
    share: float | None = None  # customers who may be asked a day, in the score step's place


HANDBOOK: Final = (
    Replay(
        "handbook-labels-7d",
        (),
        {"average_precision": 0.725, "card_precision_at_100": 0.295},
        {"average_precision": 0.75},
        "batch XGBoost on the same features had 0.750 and 0.299, online logistic regression on the "
        "Handbook's own 0.576 and 0.277",
    ),
    Replay(
        "handbook-answers-100",
        ("--answers", "0.6,0.03,100"),
        {"average_precision": 0.740, "card_precision_at_100": 0.295},
        {"average_precision": 0.78, "card_precision_at_100": 0.32},
        "the day's top 100 cards are asked about one payment each; 60 % answer, 3 % are wrong",
    ),
    Replay(
        "handbook-seek-100",
        ("--answers", "0.6,0.03,100", "--seek", "30,100,20"),
        {"average_precision": 0.755, "card_precision_at_100": 0.301},
        {"average_precision": 0.78, "card_precision_at_100": 0.32},
        "the same 100 customers look through their payments of a week instead, or follow a denial; "
        "0.301 is the most that labels 7 days late can tell",
        share=0.05,
    ),
)

#: Of the simulated banks: what must be found at 0.5 % of events, as a mean over the seeds.
FOUND: Final = {
    "account_takeover": ("found", 0.90),
    "card_testing": ("stopped_by_4th_small", 0.95),
    "stolen_card": ("found", 0.80),
}
#: A scenario counts only where the amount alone finds less, and offline trees less, than this.
AMOUNT_FINDS: Final = 0.30
TREES_FIND: Final = 0.99
SEEDS: Final = (501, 502, 503)


def _ringback(*args: str) -> Any:
    line = [sys.executable, "-m", "flows.cli", *args, "--json"]
    return json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)


def handbook(file: Path, scenario: Replay, folder: Path) -> dict[str, Any]:
    """Replay, and hold what came of it against the scenario's bars."""
    command = ["replay", str(file), "--no-ledger", *scenario.options, "--data", str(folder)]
    (folder / "ringback.yaml").write_text(yaml.safe_dump(LEFT_OUT), encoding="utf-8")
    if scenario.share is not None:
        policy = yaml.safe_load((HERE / "policy.yaml").read_text(encoding="utf-8"))
        policy["score"] = [row for row in policy["score"] if row["outcome"] != "challenge"]
        policy["asking"]["customers_per_day_share"] = scenario.share
        (folder / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    report = _ringback(*command)
    return {
        "why": scenario.why,
        "bars": dict(scenario.bars),
        "goals": dict(scenario.goals),
        "tolerance": TOLERANCE,
        **held(report, scenario),
        "command": f"ringback replay {file.name} --no-ledger {' '.join(scenario.options)}".strip(),
        "settings": LEFT_OUT,
        "report": report,
    }


def held(report: Mapping[str, Any], scenario: Replay) -> dict[str, Any]:
    """Which bars and goals hold."""
    mean = report["mean"]
    met = {name: (mean[name] or 0.0) >= bar for name, bar in scenario.bars.items()}
    if scenario.share is not None:
        share = report["asked_a_day"]["share"] or 0.0
        met["budget_held"] = abs(share - scenario.share) <= BUDGET_HELD * scenario.share
    goals = {name: (mean[name] or 0.0) >= goal for name, goal in scenario.goals.items()}
    return {"met": met, "goals_met": goals, "mean": dict(mean)}


def simulated_banks(seeds: tuple[int, ...], customers: int) -> dict[str, Any]:
    """Replay a bank a seed; recalls by scenario, beside the amount alone and offline trees.

    Each seed's own result is kept as it is there: a replay takes minutes.
    """
    runs = []
    for seed in seeds:
        began = machine.describe(datetime.now(UTC))
        with tempfile.TemporaryDirectory(prefix="ringback-quality-") as scratch:
            run, _ = simulated.replayed(Path(scratch), seed, customers)
        runs.append(simulated.measured(run, seed))
        keep(f"simulated-{seed}", judged(runs[-1:], customers), began)
    return judged(runs, customers)


def judged(runs: list[dict[str, Any]], customers: int) -> dict[str, Any]:
    """Means over the seeds, and which bars count and hold."""
    met, counts, means = {}, {}, {}
    for name, (figure, bar) in FOUND.items():
        of: dict[str, float | None] = {
            who: _mean([run[who].get(name, {}).get(figure) for run in runs])
            for who in ("scenarios", "asked_each", "amount_alone", "trees_offline")
        }
        means[f"{name}.{figure}"] = of
        met[name] = (of["scenarios"] or 0.0) >= bar
        by_amount, by_trees = of["amount_alone"], of["trees_offline"]
        counts[name] = (
            by_amount is not None
            and by_trees is not None
            and by_amount < AMOUNT_FINDS
            and by_trees < TREES_FIND
        )
    flagged = _mean([run["far_logins_flagged"] for run in runs])
    met["far_login_flagged_at_the_login"] = flagged == 1.0
    return {
        "bars": {f"{name}.{figure}": bar for name, (figure, bar) in FOUND.items()},
        "counts_only_where": {"amount_alone": AMOUNT_FINDS, "trees_offline": TREES_FIND},
        "share_of_events": simulated.SHARE,
        "customers": customers,
        "means": means,
        "far_logins_flagged": flagged,
        "value_stopped": _mean([run["value_stopped"] for run in runs]),
        "stories_found": _mean([run["stories_found"] for run in runs]),
        "stories_with_nothing_lost": _mean([run["stories_with_nothing_lost"] for run in runs]),
        "claimed": "80 % fewer successful frauds",
        "met": met,
        "counts": counts,
        "runs": runs,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(statistics.mean(known), 4) if known else None


def keep(name: str, result: Mapping[str, Any], began: Mapping[str, object]) -> None:
    """Write a scenario's result with the machine's description."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"quality-{name}.json"
    for figure, before, now in moved(path, result):
        sys.stdout.write(f"{name}: {figure} moved from {before:.4f} to {now:.4f}\n")
    whole = {"name": name, "machine": began, **result}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path.name}: met {json.dumps(result['met'])}\n")


def moved(path: Path, result: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """What differs by more than its tolerance from the result that is kept there."""
    if not path.exists():
        return []
    before = json.loads(path.read_text(encoding="utf-8")).get("mean", {})
    rows = [(name, before.get(name), result.get("mean", {}).get(name)) for name in TOLERANCE]
    return [
        (name, was, now)
        for name, was, now in rows
        if was is not None and now is not None and abs(now - was) > TOLERANCE[name]
    ]


def main() -> int:
    """Run the scenarios and keep what came of them; status 1 where a bar doesn't hold."""
    parser = argparse.ArgumentParser(prog="benchmarks.quality", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--customers", type=int, default=1000)
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)))
    asked = parser.parse_args()
    seeds = tuple(int(seed) for seed in asked.seeds.split(","))
    todo: dict[str, Callable[[Path], dict[str, Any]]] = {
        "simulated-bank": lambda folder: simulated_banks(seeds, asked.customers)
    }
    if asked.file is not None:
        for scenario in HANDBOOK:
            todo[scenario.name] = lambda folder, one=scenario: handbook(asked.file, one, folder)  # type: ignore[misc]
    unknown = sorted(set(asked.only) - set(todo))
    if unknown:
        parser.error(f"--only: needed some of {', '.join(todo)}, got {', '.join(unknown)}")
    good = True
    for name in asked.only or todo:
        began = machine.describe(datetime.now(UTC))
        with tempfile.TemporaryDirectory(prefix="ringback-quality-") as folder:
            result = todo[name](Path(folder))
        keep(name, result, began)
        good &= all(result["met"].values())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
