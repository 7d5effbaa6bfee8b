"""Write the checksums into the data card: python datasets/decisions/card.py"""

from __future__ import annotations

import sys
from pathlib import Path

# Beside the data sets' folders, whose scripts are run one by one.
sys.path.append(str(Path(__file__).resolve().parents[1]))
import building

FOLDER = Path(__file__).resolve().parent
FILES = ("datasets/decisions/scenarios.yaml", "course_utils/decision/costs.yaml")


def main(card: Path = FOLDER / "README.md") -> None:
    building.refresh_card(card, building.checksums(FOLDER.parents[1], FILES))


if __name__ == "__main__":
    main()
