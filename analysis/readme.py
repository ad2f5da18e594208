"""Tables in the documentation, taken from the kept result files.

A block such as

    <!-- from results/reference/mini/tables/accuracy.md -->
    <!-- end -->

is filled with the file it names; `python -m analysis.readme README.md docs/*.md`
fills them anew, and a test fails while one is stale.
"""

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"(<!-- from (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
ROOT = Path(__file__).parents[1]


def filled(text: str) -> str:
    """`text` with every block filled.  Raises FileNotFoundError naming a file that is not there."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{(ROOT / block[2]).read_text().strip()}\n\n{block[3]}", text)


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        text = path.read_text()
        if (new := filled(text)) != text:
            path.write_text(new)
            print(f"{path}: filled")


if __name__ == "__main__":
    main()
