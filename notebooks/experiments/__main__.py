"""Run an experiment and store its result: ``course experiment NAME``, or, in the repository,
``python -m notebooks.experiments NAME [--small]``.
"""

from __future__ import annotations

import argparse
import sys

from course_utils.files import CourseError
from notebooks.experiments.running import EXPERIMENTS, run_experiment


def main() -> None:
    parser = argparse.ArgumentParser(prog="course experiment", description=__doc__)
    parser.add_argument("name", choices=sorted(EXPERIMENTS), help="which experiment")
    small = "two items and a few tokens each, to see that it works"
    parser.add_argument("--small", action="store_true", help=small)
    arguments = parser.parse_args()
    try:
        print(run_experiment(arguments.name, arguments.small))
    except CourseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
