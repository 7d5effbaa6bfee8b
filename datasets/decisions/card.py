"""Write the checksums into the data card: python datasets/decisions/card.py"""

from __future__ import annotations

from pathlib import Path

from course_utils.formats import building

FOLDER = Path(__file__).resolve().parent
FILES = ("scenarios.yaml", "costs.yaml")


def main(card: Path = FOLDER / "README.md") -> None:
    building.refresh_card(card, building.checksums(FOLDER, FILES))


if __name__ == "__main__":
    main()
