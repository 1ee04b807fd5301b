"""The process that `latex` asks: a JSON pair of expressions a line, answered by true or false.

The only importer of math_verify. Runs until its standard input ends, or it is killed.
"""

import json
import sys

from math_verify import parse, verify


def main() -> None:
    """Answer every line."""
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        a, b = (parse(f"${text}$", parsing_timeout=None) for text in json.loads(line))
        # both ways: math-verify's comparison is not symmetric
        found = verify(a, b, timeout_seconds=None) and verify(b, a, timeout_seconds=None)
        print(json.dumps(bool(a and b and found)), flush=True)


if __name__ == "__main__":
    main()
