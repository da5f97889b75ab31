#!/usr/bin/env python3
"""Passes on a test runner's output line by line, counts it and collects what was skipped.

    COMMAND 2>&1 | count_tests.py COUNTS SKIPS

Reads `cargo test -- --show-output` and the closing line of scripts, "N passed, N failed, N skipped" or pytest's. What
passing tests print is left out, but for lines that start with SKIPPED:, which make the test count as skipped. COUNTS
becomes "PASSED FAILED"; to SKIPS one line "NAME: REASON" per skipped test is added.
"""

import re
import sys

RESULT = re.compile(r"test result: .* (\d+) passed; (\d+) failed;")
IGNORED = re.compile(r"test (.*) \.\.\. ignored(?:, (.*))?$")
BLOCK = re.compile(r"---- (.*) (?:stdout|stderr) ----$")
CLOSING = re.compile(r"(?:=+ )?(?=.*\d+ (?:passed|failed))[\d ,a-z]+(?:in [\d.]+s.*)?$")
NUMBER = re.compile(r"(\d+) (passed|failed)")


class Counter:
    """Follows the output of one suite."""

    def __init__(self):
        self.passed = self.failed = 0
        self.skips = {}
        # Where cargo shows what tests printed, nothing of that is counted.
        self.in_passing = self.in_failing = False
        self.test = ""

    def line(self, line):
        """Takes one line and gives what to show, or None."""
        if line == "successes:":
            self.in_passing, self.test = True, ""
            return None
        if line == "failures:":
            self.in_passing, self.in_failing = False, True
        elif result := RESULT.match(line):
            self.in_passing = self.in_failing = False
            self.passed += int(result[1])
            self.failed += int(result[2])
        elif ignored := IGNORED.match(line):
            self.skips.setdefault(ignored[1], "ignored" + (f": {ignored[2]}" if ignored[2] else ""))
        elif self.in_passing:
            return self.of_passing(line)
        elif self.in_failing:
            pass
        elif line.startswith("SKIPPED:"):
            # A script's own skip; it counts itself, so it is no passed test that must be taken back.
            self.skips.setdefault(line.removeprefix("SKIPPED:").strip(), "")
        elif CLOSING.match(line):
            for number, what in NUMBER.findall(line):
                setattr(self, what, getattr(self, what) + int(number))
        return line

    def of_passing(self, line):
        """Handles what a passing test printed."""
        if block := BLOCK.match(line):
            self.test = block[1]
        elif line.startswith("SKIPPED:") and self.test not in self.skips:
            reason = line.removeprefix("SKIPPED:").strip()
            self.skips[self.test] = reason
            self.passed -= 1
            return f"SKIPPED: {self.test}: {reason}"
        return None


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    counter = Counter()
    for line in sys.stdin.buffer:
        shown = counter.line(line.decode("utf-8", "replace").rstrip("\r\n"))
        if shown is not None:
            print(shown, flush=True)
    with open(sys.argv[1], "w", encoding="utf-8") as out:
        out.write(f"{counter.passed} {counter.failed}\n")
    with open(sys.argv[2], "a", encoding="utf-8") as out:
        out.writelines(f"{name}: {reason}\n" if reason else f"{name}\n" for name, reason in counter.skips.items())


if __name__ == "__main__":
    main()
