"""`make campaign`: the kill test at length, one seed after the other.

python -m benchmarks.campaign [--seed N] [--seeds COUNT] [--kills N]
"""

import argparse
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine


def main() -> int:
    """Run the kill test for each seed; status 1 where any failed."""
    parser = argparse.ArgumentParser(prog="benchmarks.campaign", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--kills", type=int, default=60)
    asked = parser.parse_args()
    runs = []
    for seed in range(asked.seed, asked.seed + asked.seeds):
        environment = {
            **os.environ,
            "RINGBACK_KILL_SEED": str(seed),
            "RINGBACK_KILLS": str(asked.kills),
        }
        began = datetime.now(UTC)
        line = [sys.executable, "-m", "pytest", "-q", "-s", "tests/kill"]
        done = subprocess.run(line, env=environment, check=False)
        seconds = (datetime.now(UTC) - began).total_seconds()
        runs.append(
            {"seed": seed, "kills": asked.kills, "seconds": seconds, "ok": not done.returncode}
        )
    result = {"machine": machine.describe(datetime.now(UTC)), "command": sys.argv, "runs": runs}
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    (folder / "campaign.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if all(run["ok"] for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
