"""Solutions and checks of notebook 02."""

import operator
import re
from functools import lru_cache

import numpy as np

BUDGET = 2000


def names():
    """What the exercises read: the wiki and its questions."""
    from course_utils.lab import splitters
    from course_utils.search import chunking
    from course_utils.tasks import handbook

    return {
        "pages": {page.node_id: page for page in handbook.load_handbook(week=1)},
        "test": [q for q in handbook.load_questions("test", "stress") if q.answerable],
        "chunking": chunking,
        "splitters": splitters,
        "np": np,
        "re": re,
    }


@lru_cache
def _wiki():
    """The pages by id, and the train and dev questions: test chooses nothing."""
    from course_utils.tasks import handbook

    questions = [q for split in ("train", "dev") for q in handbook.load_questions(split, "stress")]
    return handbook.load_handbook(week=1), [q for q in questions if q.answerable]


@lru_cache(maxsize=8)
def recalls(cut):
    """Of each question's gold characters, the share that BM25 finds in 2,000 characters."""
    from course_utils.evaluate import metrics
    from course_utils.search import chunking, retrieval

    pages, questions = _wiki()
    nodes = chunking.SpanSplitter(cut).get_nodes_from_documents(pages)
    found = retrieval.BM25Retriever(nodes).search([q.text for q in questions], 100)
    values = []
    for question, hits in zip(questions, found, strict=True):
        lengths = np.cumsum([len(hit.node.get_content()) for hit in hits])
        fitting = hits[: np.searchsorted(lengths, BUDGET, side="right")]
        values.append(metrics.gold_coverage(fitting, question.gold))
    return values


@lru_cache
def windows(size):
    """A splitter that cuts every ``size`` words."""

    def cut(text):
        words = [match.span() for match in re.finditer(r"\S+", text)]
        groups = [words[n : n + size] for n in range(0, len(words), size)]
        return [(group[0][0], group[-1][1]) for group in groups]

    return cut


# --- 02-words -------------------------------------------------------------------------------------


def words_solution(ns):
    from course_utils.evaluate.intervals import paired_difference

    small, large = (recalls(windows(size)) for size in (20, 120))
    gain = paired_difference(small, large)
    key = "more" if gain.value > 0.03 else "less" if gain.value < -0.03 else "same"
    found = f"{np.mean(small):.2f} in windows of 20 words, {np.mean(large):.2f} in those of 120"
    return key, f"Measured now: {found}; the small ones gain {gain}."


# --- 02-ceiling -----------------------------------------------------------------------------------


def _gold_lengths(ns):
    return np.array([sum(span.end - span.start for span in q.gold) for q in ns.test])


def ceiling_solution(ns):
    gold = _gold_lengths(ns)
    return np.mean(np.minimum(gold, 600) / np.maximum(gold, 600))


def ceiling_wrong(ns):
    gold = _gold_lengths(ns)
    return {
        "That counts the gold characters twice: they are among the 600 already.": (
            np.mean(gold / (600 + gold))
        ),
        "That is the recall. IoU also charges for the other characters of the 600.": 1,
        "That is what the search reached. What could it reach at most?": 0.028,
    }


# --- 02-limit -------------------------------------------------------------------------------------


def _read(size, overlap=0, limit=254, place=400, length=500):
    """Whether a token of a page stands in the part of some window that the embedder reads."""
    starts = range(0, max(length - overlap, 1), size - overlap)
    return any(start <= place < start + min(size, limit) for start in starts)


def limit_solution(ns):
    changes = {
        "windows": _read(128),
        "overlap": _read(512, overlap=128),
        "parts": _read(125),
        "more": _read(512),
        "int8": _read(512),
        "bm25": _read(512, limit=10**9),
    }
    return {change for change, read in changes.items() if read}


# --- 02-whole -------------------------------------------------------------------------------------


def whole_solution(sentences, size):
    chunks = []
    for start, end in sentences:
        if chunks and end - chunks[-1][0] <= size:
            chunks[-1] = (chunks[-1][0], end)
        else:
            chunks.append((start, end))
    return chunks


def whole_check(pack, ns):
    """Sentences without space between them."""
    got = _packed(pack, [(0, 10), (10, 20), (20, 26)], 20)
    assert got == [(0, 20), (20, 26)], (
        "Of sentences of 10, 10 and 6 characters two fit into 20 exactly, and the last is a chunk "
        f"of its own: expected (0, 20) and (20, 26), got `{got}`."
    )


def whole_check_space(pack, ns):
    got = _packed(pack, [(3, 12), (14, 22), (23, 30)], 18)
    assert got == [(3, 12), (14, 30)], (
        "The sentences (3, 12) and (14, 22) hold 17 characters, but from 3 to 22 it is 19, more "
        f"than 18: expected (3, 12) and (14, 30), got `{got}`. The blank space counts."
    )


def whole_check_long(pack, ns):
    got = _packed(pack, [(0, 5), (6, 50), (51, 55)], 20)
    assert got == [(0, 5), (6, 50), (51, 55)], (
        f"A sentence of 44 characters is longer than 20 and stays whole, alone; got `{got}`."
    )
    got = _packed(pack, [(0, 50), (51, 55)], 20)
    assert got == [(0, 50), (51, 55)], f"Nothing comes before a long first sentence; got `{got}`."


def whole_check_pages(pack, ns):
    from course_utils.search.chunking import sentence_spans

    for page in list(ns.pages.values())[:40]:
        sentences = sentence_spans(page.text)
        got = _packed(pack, sentences, 300)
        for start, end in sentences:
            assert any(a <= start and end <= b for a, b in got), (
                f"On the page {page.node_id} the sentence from {start} to {end} is cut or lost."
            )
        assert got == whole_solution(sentences, 300), (
            f"On the page {page.node_id} the chunks are not as full as they can be."
        )
    assert _packed(pack, [], 20) == [], "A page without sentences has no chunks."


def _packed(pack, sentences, size):
    got = pack(list(sentences), size)
    assert isinstance(got, list | tuple), f"It must return a list of spans; got `{got}`."
    return [tuple(span) for span in got]


def whole_wrong(ns):
    def too_careful(sentences, size):
        chunks = []
        for start, end in sentences:
            if chunks and end - chunks[-1][0] < size:
                chunks[-1] = (chunks[-1][0], end)
            else:
                chunks.append((start, end))
        return chunks

    def without_space(sentences, size):
        chunks, held = [], 0
        for start, end in sentences:
            if chunks and held + end - start <= size:
                chunks[-1] = (chunks[-1][0], end)
                held += end - start
            else:
                chunks.append((start, end))
                held = end - start
        return chunks

    def cut_in_two(sentences, size):
        chunks = []
        for start, end in sentences:
            if chunks and end - chunks[-1][0] <= size:
                chunks[-1] = (chunks[-1][0], end)
            else:
                chunks += [(n, min(n + size, end)) for n in range(start, end, size)]
        return chunks

    def loses_the_first(sentences, size):
        chunks = []
        begin = sentences[0][0]
        last = sentences[0]
        for start, end in sentences[1:]:
            if end - begin > size:
                chunks.append((begin, last[1]))
                begin = start
            last = (start, end)
        return [*chunks, (begin, last[1])]

    def constant(sentences, size):
        return [(0, size)]

    return {
        "two fit into 20 exactly": too_careful,
        "The blank space counts": without_space,
        "stays whole, alone": cut_in_two,
        "list index out of range": loses_the_first,
        "the last is a chunk of its own": constant,
    }


# --- 02-budget ------------------------------------------------------------------------------------


def budget_baseline(text):
    import re

    words = [match.span() for match in re.finditer(r"\S+", text)]
    groups = [words[n : n + 40] for n in range(0, len(words), 40)]
    return [(group[0][0], group[-1][1]) for group in groups]


def budget_solution(text):
    import re

    from course_utils.search import chunking

    headings = {match.start() for match in re.finditer(r"^#{1,6} ", text, re.MULTILINE)}
    chunks = []
    for start, end in chunking.sentence_spans(text):
        if chunks and start not in headings and end - chunks[-1][0] <= 600:
            chunks[-1] = (chunks[-1][0], end)
        else:
            chunks.append((start, end))
    return chunks


def budget_score(cut, ns):
    """Mean recall over dev and train."""
    assert callable(cut), "`cut(text)` must be a function."
    for page in _wiki()[0]:
        spans = cut(page.text)
        assert isinstance(spans, list | tuple) and all(_is_span(span) for span in spans), (
            f"`cut(text)` must return spans (start, end), not `{repr(spans)[:80]}`."
        )
        assert all(0 <= start < end <= len(page.text) for start, end in spans), (
            f"On the page {page.node_id} a span does not lie on the page, or is empty."
        )
        assert len(set(spans)) == len(spans), f"On the page {page.node_id} a span comes twice."
        assert spans, f"Of the page {page.node_id} no chunk is made."
    return np.mean(recalls(cut))


def _is_span(span):
    try:
        start, end = span
        return isinstance(span, tuple) and operator.index(start) + operator.index(end) >= 0
    except (TypeError, ValueError):
        return False


def budget_wrong(ns):
    def texts(text):
        return text.split("\n\n")

    def beyond(text):
        return [(start, start + 300) for start in range(0, len(text), 300)]

    def tiny(text):
        import re

        return [match.span() for match in re.finditer(r"\S+(\s+\S+){0,9}", text)]

    def first_only(text):
        return [(0, min(len(text), 300))]

    return {
        "must return spans": texts,
        "does not lie on the page": beyond,
        "the baseline": tiny,
        "Yours scores": first_only,
    }
