"""How is it going? Counts and durations in Prometheus' text form."""

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The gateway's own figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.decision_seconds = Histogram(
            "ringback_decision_seconds",
            "From an event's arrival to its decision's departure",
            buckets=_SECONDS,
            registry=registry,
        )
        self.accepted = Counter(
            "ringback_events_accepted", "Events accepted", ["type"], registry=registry
        )
        self.refused = Counter(
            "ringback_events_refused", "Bodies refused with 422", registry=registry
        )
        self.unknown_fields = Counter(
            "ringback_unknown_fields", "Unknown fields dropped", registry=registry
        )
        self.overdue = Counter(
            "ringback_decisions_overdue", "Decisions of the fail policy", registry=registry
        )
        self.dead = Counter(
            "ringback_dead_letters", "Entries of the inbox that were refused", registry=registry
        )
        self.decisions = Counter(
            "ringback_decisions", "Decisions seen, by outcome", ["decision"], registry=registry
        )
        self.late_decisions = Counter(
            "ringback_decisions_late", "Decisions of the flow after the deadline", registry=registry
        )
        self.challenges = Counter(
            "ringback_challenges",
            "Challenges seen, by step: asked and each final state",
            ["step"],
            registry=registry,
        )
        self.answers = Counter(
            "ringback_web_answers", "Answers given on the page", ["decision"], registry=registry
        )
        self.open_challenges = Gauge(
            "ringback_challenges_open", "Challenges open now", registry=registry
        )
        self.late_events = Gauge(
            "ringback_late_events", "Events that came after their window", registry=registry
        )
        self.ledger_lag = Gauge(
            "ringback_ledger_lag_seconds",
            "How far the ledger's durable mark is behind the newest record",
            registry=registry,
        )
        self.flow = Gauge(
            "ringback_flow", "Counts of the flow, as it keeps them", ["count"], registry=registry
        )

        self.model = Gauge(
            "ringback_model",
            "Each model that learns: lessons, bytes, seconds of its last dump",
            ["model", "role", "figure"],
            registry=registry,
        )
        self.drift = Gauge(
            "ringback_drift",
            "Each watched value: alarms, mean_rank (0.5 is usual), psi of the last week, watching",
            ["series", "figure"],
            registry=registry,
        )

    def models(self, standing: Mapping[str, Any]) -> None:
        """Take over how the flow's models stand, and what it watches."""
        self.model.clear()
        for name, row in standing.get("models", {}).items():
            figures = {**row, "dump_seconds": row["dump_us"] / 1e6}
            for figure in ("lessons", "bytes", "dump_seconds"):
                self.model.labels(name, row["role"], figure).set(figures[figure])
        for name, row in standing.get("drift", {}).items():
            for figure in ("alarms", "mean_rank", "psi", "watching"):
                if row.get(figure) is not None:
                    self.drift.labels(name, figure).set(float(row[figure]))

    def flow_counts(self, counts: Mapping[str, float]) -> None:
        """Take over the flow's own counters."""
        for name, count in counts.items():
            self.flow.labels(name).set(count)

    def text(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)
