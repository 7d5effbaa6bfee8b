from pathlib import Path
p=Path('/tmp/wt7/course_utils/sweeps.py'); t=p.read_text()
t=t.replace('''from course_utils.corpus import (
    load_emails,
    load_handbook,
    load_tickets,
)
from course_utils.finetuning import Chat, Recipe, attached, loss_on, train
from course_utils.formats import emails
from course_utils.generation import count_tokens, generate, option_scores, rag_chat
''','''from course_utils.corpus import (
    CaseQuestion,
    load_case_questions,
    load_cases,
    load_emails,
    load_handbook,
    load_questions,
    load_tickets,
)
from course_utils.evaluation import gold_coverage
from course_utils.faults import Faults, workshop
from course_utils.finetuning import Chat, Recipe, attached, loss_on, train
from course_utils.formats import emails
from course_utils.generation import (
    Answer,
    CopyReader,
    count_tokens,
    generate,
    option_scores,
    rag_chat,
    read_with,
)
''')
t=t.replace('''from course_utils.retrieval import DenseRetriever
''','''from course_utils.retrieval import BM25Retriever, DenseRetriever, FusedRetriever
''')
t=t.replace('''import numpy as np
import torch
from llama_index.core.schema import MetadataMode
''','''import numpy as np
import torch
from llama_index.core.schema import MetadataMode, NodeWithScore
''')
new='''# Reading needs long examples, and a rank above that of a form.
LONG = Recipe(
    rank=16, alpha=32, epochs=1, tokens_per_step=1024, tokens_per_pass=1024, recompute=True
)
SHOWN = 5  # headnotes in a prompt


def law_sweep(lab: Lab) -> Arms:
    """The legal desk: base model and adapters, closed book and with cases; and an overruling."""
    cases = load_cases()
    learn, test = load_case_questions("train"), lab.some(load_case_questions("test"))
    ranked = {id(group): _ranked(group) for group in (learn, test)}
    found = [each[:SHOWN] for each in ranked[id(test)]]
    perfect = [
        tasks.with_controlling(*pair, SHOWN)
        for pair in zip(ranked[id(test)], test, strict=True)
    ]
    closed = [tasks.law_chat([q.question]) for q in test]

    def sourced(shown: Any) -> list[Chat]:
        return [tasks.law_chat([q.question], some) for q, some in zip(test, shown, strict=True)]

    def score(shown: Any = ()) -> Callable[[list[str]], Scores]:
        return lambda texts: tasks.score_law(texts, test, cases, shown)

    reading = _law_lessons(learn, ranked[id(learn)])
    reader = partial(lab.learn, reading, LONG)
    yield "LoRA, RAG", partial(reader, sourced(found), score(found), 150)
    yield "LoRA, RAG, gold shown", partial(reader, sourced(perfect), score(perfect), 150)
    asked = [tasks.instructed_law_chat(q.question, s) for q, s in zip(test, found, strict=True)]
    yield "base, RAG", partial(lab.write, asked, score(found), 150)
    asked = [tasks.instructed_law_chat(q.question) for q in test]
    yield "base, closed book", partial(lab.write, asked, score(), 150)
    shots = _law_shots(learn, ranked[id(learn)])
    asked = [tasks.few_shot(tasks.DESK, shots, chat) for chat in sourced(found)]
    yield "few-shot, RAG", partial(lab.write, asked, score(found), 150)
    knower = partial(lab.learn, [_closed(q) for q in learn], BY_HEART)
    yield "LoRA, closed book", partial(knower, closed, score(), 150)
    yield "LoRA, closed book, then RAG", partial(knower, sourced(found), score(found), 150)
    yield from _overruling(lab, learn)


# Questions with answers and nothing else are short.
BY_HEART = replace(LONG, epochs=3, tokens_per_pass=288, recompute=False)


def _ranked(questions: Sequence[CaseQuestion], overruled: bool = False) -> Any:
    return tasks.find_cases([q.question for q in questions], load_cases(), overruled)


def _law_lessons(questions: list[CaseQuestion], ranked: Any) -> list[Chat]:
    """Each question three times, each time with other neighbours and other cases."""
    return [
        chat
        for seed in range(3)
        for chat in tasks.law_lessons(questions, ranked, SHOWN, seed=seed)
    ]


def _closed(question: CaseQuestion) -> Chat:
    return tasks.law_chat([question.question], (), [question.answer])


def _law_shots(questions: list[CaseQuestion], ranked: Any) -> list[Chat]:
    """The first question of each outcome whose case is among those found."""
    shots = {}
    for question, found in zip(questions, ranked, strict=True):
        shown = found[:SHOWN]
        if not question.case or question.case in {case.id for case in shown}:
            chat = tasks.law_chat([question.question], shown, [question.answer])
            shots.setdefault(question.outcome, chat)
    return list(shots.values())


def _overruling(lab: Lab, learn: list[CaseQuestion]) -> Arms:
    """Adapters trained before some cases were overruled, asked before and after.

    Nothing was chosen on the dev questions, so they are asked too.
    """
    cases = load_cases()
    known = {case.id: case for case in cases}
    after = [q for split in ("dev", "test") for q in load_case_questions(split)]
    after = lab.some([q for q in after if q.case and known[q.case].overrules])
    before = [tasks.as_before(question, cases) for question in after]
    closed = [tasks.law_chat([q.question]) for q in after]
    indexes = {
        name: [found[:SHOWN] for found in _ranked(after, overruled)]
        for name, overruled in (("old index", True), ("new index", False))
    }
    rag = {
        name: [tasks.law_chat([q.question], s) for q, s in zip(after, found, strict=True)]
        for name, found in indexes.items()
    }

    def score(chats: list[Chat], found: Any, texts: list[str]) -> Scores:
        """Which of the two cases is cited, and which of the two is likelier to be."""
        likelier = []
        for chat, old, new in zip(chats, before, after, strict=True):
            two = ["\\n".join(q.answer.splitlines()[:2]) for q in (old, new)]
            likelier.append(float(option_scores(lab.llm, chat, two).argmax()))
        shown = [{case.id for case in each} for each in found] or [set() for _ in after]
        return {
            "cites old": [
                float(known[q.case].citation in text) for q, text in zip(before, texts, strict=True)
            ],
            "cites new": [
                float(known[q.case].citation in text) for q, text in zip(after, texts, strict=True)
            ],
            "likelier new": likelier,
            "found old": [float(q.case in ids) for q, ids in zip(before, shown, strict=True)],
            "found new": [float(q.case in ids) for q, ids in zip(after, shown, strict=True)],
        }

    was = [tasks.as_before(question, cases) for question in learn]
    knower = partial(lab.learn, [_closed(q) for q in was], BY_HEART)
    yield "LoRA before, closed book", partial(knower, closed, partial(score, closed, []), 150)
    reader = partial(lab.learn, _law_lessons(was, _ranked(was, overruled=True)), LONG)
    for name, chats in rag.items():
        grade = partial(score, chats, indexes[name])
        yield f"LoRA before, RAG, {name}", partial(reader, chats, grade, 150)


def reader_sweep(lab: Lab) -> Arms:
    """Reading the handbook: what notebook 05 retrieves, read by its reader and by adapters."""
    splitter = SpanSplitter(packed_blocks(lab.embedder.tokenizer, 96))
    nodes = splitter.get_nodes_from_documents(load_handbook())
    search = FusedRetriever([BM25Retriever(nodes), DenseRetriever(nodes, lab.embedder)], k=10)
    test = lab.some(load_questions("test"))
    found = [hits[:3] for hits in search.search([q.text for q in test], 50)]
    sure = lab.some([q for q in load_questions("test") if q.answerable])
    everything = [NodeWithScore(node=node, score=1.0) for node in nodes]
    gold = [[hit for hit in everything if gold_coverage([hit], q.gold) > 0] for q in sure]
    settings = {"retrieved": (test, found), "gold": (sure, gold)}

    def read(reader: Any, asked: Any, hits: Any) -> dict[str, Any]:
        began = time.perf_counter()
        answers = reader([q.text for q in asked], hits)
        seconds = round((time.perf_counter() - began) / len(asked), 3)
        return {"scores": tasks.score_reading(answers, asked, hits), "seconds": seconds}

    lessons = {"LoRA": reading_lessons(nodes, search), "LoRA, no rows": None}
    lessons["LoRA, no rows"] = reading_lessons(nodes, search, rows=0, seeds=3)
    for name in ("LoRA", "copy", "base", "LoRA, no rows"):
        for sources, (asked, hits) in settings.items():
            if name in lessons:
                arm = partial(read_by_adapter, lab, lessons[name], asked, hits)
            else:
                reader = CopyReader(lab.llm) if name == "copy" else partial(read_with, lab.llm)
                arm = partial(read, reader, asked, hits)
            yield f"{name}, {sources}", arm


def reading_lessons(nodes: Any, search: Any, rows: int = 40, seeds: int = 2) -> list[Chat]:
    """The train questions on what is found for them, and rows of tables on the other pages."""
    learn = load_questions("train")
    held = [q for split in ("dev", "test") for q in load_questions(split)]
    apart = {span.page for question in held for span in question.gold}
    found = search.search([question.text for question in learn], 50)
    lessons = tasks.row_lessons(nodes, apart, rows)
    for seed in range(seeds):
        lessons += tasks.reading_lessons(learn, found, nodes, seed=seed)
    return lessons


def read_by_adapter(lab: Lab, lessons: Any, asked: Any, found: Any) -> dict[str, Any]:
    """Train a reader, or load it, and let it answer."""
    chats = [
        tasks.reading_chat([q.text], [hit.node for hit in hits])
        for q, hits in zip(asked, found, strict=True)
    ]

    def score(texts: list[str]) -> Scores:
        answers = [tasks.read_answer(*pair) for pair in zip(texts, found, strict=True)]
        return tasks.score_reading(answers, asked, found)

    return lab.learn(lessons, LONG, chats, score, 24)


BROKEN = {
    "healthy": Faults(),
    "large chunks": Faults(large_chunks=True),
    "other embedder": Faults(other_embedder=True),
    "high threshold": Faults(high_threshold=True),
    "reversed scores": Faults(reversed_scores=True),
}


def mistake_sweep(lab: Lab) -> Arms:
    """What notebook 08 needs beside the others: how sure, more rules, and broken searches."""
    facts = lab.some(tasks.facts_with_paraphrases())
    options = [tasks.four_options(facts, place) for place in range(len(facts))]
    closed = [tasks.fact_chat(old.text) for old, _, _ in facts]

    def sure() -> Scores:
        """Of the likelihood of the four options, the share of week 1's and of week 2's."""
        shares = []
        for chat, four in zip(closed, options, strict=True):
            likelihood = np.exp(option_scores(lab.llm, chat, four))
            shares.append((likelihood / likelihood.sum()).round(4).tolist())
        return {f"sure of week {week}": [each[week - 1] for each in shares] for week in (1, 2)}

    def tuned(week: int) -> dict[str, Any]:
        examples = [
            tasks.fact_chat(text, (old, new)[week - 1].answer)
            for old, new, others in facts
            for text in others
        ]
        recipe = Recipe(epochs=1 if lab.small else 4, tokens_per_step=512)  # as in `knowledge`
        adapter = train(lab.llm, examples, recipe)
        with attached(lab.llm, adapter):
            return {"scores": sure(), "train_seconds": adapter.seconds}

    yield "sure, base", lambda: {"scores": sure()}
    for week in (1, 2):
        yield f"sure, LoRA of week {week}", partial(tuned, week)

    made = workshop(load_handbook(), lab.embedder)
    nodes = made(Faults()).nodes
    search = FusedRetriever([BM25Retriever(nodes), DenseRetriever(nodes, lab.embedder)], k=10)
    lessons = reading_lessons(nodes, search)
    test = lab.some(load_questions("test"))
    for name, faults in BROKEN.items():
        found = made(faults).search([question.text for question in test])
        yield f"reader, {name}", partial(read_by_adapter, lab, lessons, test, found)

    held = lab.some(load_emails(held_out=True))
    rules = lab.embedder.encode(tasks.RULES)
    near = np.argsort(-(lab.embedder.encode([brief.brief for brief in held]) @ rules.T))
    for most in (1, 2, 10):
        best = [[tasks.RULES[place] for place in sorted(row[:most])] for row in near]
        chats = [tasks.guided_chat(*pair) for pair in zip(held, best, strict=True)]
        score = partial(tasks.score_emails, briefs=held)
        yield f"guide, {most} rule{'s' * (most > 1)}", partial(lab.write, chats, score, 160)


'''
t=t.replace('''SWEEPS: dict[str, Callable[[Lab], Arms]] = {
''', new+'''SWEEPS: dict[str, Callable[[Lab], Arms]] = {
''')
t=t.replace('''    "ablations": ablation_sweep,
''','''    "ablations": ablation_sweep,
    "law": law_sweep,
    "reader": reader_sweep,
    "mistakes": mistake_sweep,
''')
p.write_text(t)
