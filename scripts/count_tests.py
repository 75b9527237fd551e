"""Did enough tests run? Fails when fewer ran than were promised.

    python scripts/count_tests.py JUNIT_XML MINIMUM_FILE

A test that was skipped did not run. A suite that finds nothing to test is no green suite.
"""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def tests_run(junit_xml: Path) -> int:
    """How many tests ran to an end, by pytest's own report."""
    root = ET.parse(junit_xml).getroot()  # noqa: S314  # written by our own pytest, a moment ago
    suites = [root] if root.tag == "testsuite" else root.findall("testsuite")
    return sum(int(s.get("tests", 0)) - int(s.get("skipped", 0)) for s in suites)


def main(junit_xml: Path, minimum_file: Path) -> int:
    """0 if as many tests ran as `minimum_file` promises, else 1 and why."""
    ran, minimum = tests_run(junit_xml), int(minimum_file.read_text(encoding="utf-8"))
    if ran < minimum:
        sys.stderr.write(
            f"{ran} tests ran; {minimum_file} promises {minimum}. Either tests were lost, or the "
            "promise is to be lowered on purpose, in a commit that says why.\n"
        )
        return 1
    sys.stderr.write(f"{ran} tests ran, {minimum} were promised\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
