"""``course grade``: the learner's files and the instructor's gradebook."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from course_utils.files import write_text
from course_utils.grade import store

grade_app = typer.Typer(
    no_args_is_help=True, help="The exercises' answers: export, import, collect."
)


@grade_app.command("export")
def export_command(
    file: Annotated[Path, typer.Argument(help="where to write, such as me.jsonl")],
) -> None:
    """Write all your answers to one file."""
    events = store.read_events()[0]
    write_text(file, store.export_text(events))
    typer.echo(f"{len(events)} entries written to {file}")


@grade_app.command("import")
def import_command(file: Annotated[Path, typer.Argument(help="an exported file")]) -> None:
    """Add the answers of an exported file to yours."""
    typer.echo(f"{store.import_events(file)} new entries imported")


@grade_app.command("collect")
def collect_command(
    folder: Annotated[Path, typer.Argument(help="exported files, in folders of any depth")],
    hidden: Annotated[Path | None, typer.Option(help="a folder with more checks")] = None,
    out: Annotated[Path, typer.Option(help="where the gradebook goes")] = Path("grades"),
) -> None:
    """Grade exported files again and write gradebook.csv, exercises.csv and report.json."""
    from course_utils.grade import collect as collecting

    graded = collecting.collect(folder, out, hidden, say=typer.echo)
    students = len({each.student for each in graded})
    typer.echo(f"{students} submissions graded; the gradebook is {out / 'gradebook.csv'}")
