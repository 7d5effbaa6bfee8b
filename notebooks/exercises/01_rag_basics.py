"""Solutions and checks of notebook 01."""

import re

import numpy as np


def names():
    """What the exercises read: the wiki, and the counts that the last stored run measured."""
    from course_utils.lab import ledger
    from course_utils.search import retrieval
    from course_utils.tasks import handbook

    measured = {c["id"]: c for c in ledger.load_ledger()["01_rag_basics"]["claims"]}

    def split(id):
        right = round(measured[id]["value"] * measured[id]["n"])
        return {"right": right, "wrong": measured[id]["n"] - right}

    return {
        "pages": {page.node_id: page for page in handbook.load_handbook(week=1)},
        "asked": [q for q in handbook.load_questions("test", "everyday") if q.answerable],
        "counts": {
            "in the prompt": split("S24.in_prompt"),
            "not in the prompt": split("S24.not_in_prompt"),
        },
        "retrieval": retrieval,
        "np": np,
        "re": re,
    }


# --- 01-vocabulary --------------------------------------------------------------------------------


def vocabulary_solution(ns):
    from course_utils.tasks import handbook

    stress = [q for q in handbook.load_questions("test", "stress") if q.answerable]
    span, page = shared_words(ns.asked, ns.pages)
    _, hard = shared_words(stress, ns.pages)
    key = "tenth" if span < 0.2 else "third" if span < 0.45 else "most"
    told = f"the median is {span:.0%} in the gold span and {page:.0%} on the whole page"
    return key, f"Counted on {len(ns.asked)} questions: {told} (stress test: {hard:.0%})."


def shared_words(questions, pages):
    """The median share of a question's words in its gold span, and on its page."""
    from course_utils.search.retrieval import content_words

    texts = [question.text for question in questions]
    spans = [" ".join(pages[s.page].text[s.start : s.end] for s in q.gold) for q in questions]
    whole = [" ".join(pages[s.page].text for s in q.gold) for q in questions]
    asked, *places = (content_words(some) for some in (texts, spans, whole))

    def median(held):
        pairs = zip(asked, held, strict=True)
        return float(np.median([np.mean([word in has for word in set(a)]) for a, has in pairs]))

    return map(median, places)


# --- 01-reader-share ------------------------------------------------------------------------------


def reader_share_solution(ns):
    had = ns.counts["in the prompt"]
    return had["right"] / sum(had.values())


def reader_share_wrong(ns):
    had, lacking = ns.counts["in the prompt"], ns.counts["not in the prompt"]
    everything = sum(had.values()) + sum(lacking.values())
    return {
        "That is the share right today, with the search as it is.": (
            (had["right"] + lacking["right"]) / everything
        ),
        "You counted the questions without the answer in the prompt as all right then.": (
            (had["right"] + sum(lacking.values())) / everything
        ),
        "That divides by all questions. With a perfect search, those not found are read, too.": (
            had["right"] / everything
        ),
        "That is how often the answer is in the prompt today, whatever the reader does with it.": (
            sum(had.values()) / everything
        ),
    }


# --- 01-guessing ----------------------------------------------------------------------------------


def guessing_solution(ns):
    return "chance"


# --- 01-embedder-swap -----------------------------------------------------------------------------


def embedder_swap_solution(ns):
    return {"vectors", "question", "chunks", "scores"}


# --- 01-citations ---------------------------------------------------------------------------------


def citations_solution(text, n):
    found = []
    for inside in re.findall(r"\[([\d,\s]+)\]", text):
        for number in re.findall(r"\d+", inside):
            if 1 <= int(number) <= n and int(number) not in found:
                found.append(int(number))
    return found


def citations_check(cited_sources, ns):
    """The plain case."""
    got = cited_sources("It is 55 minutes [2], on purpose [1].", 3)
    assert list(got) == [2, 1], f"For two citations, [2] and then [1], it returned `{got}`."
    got = cited_sources("No source says so.", 3)
    assert list(got) == [], f"Where nothing is cited it returned `{got}`."


def citations_check_digits(cited_sources, ns):
    got = cited_sources("See [12].", 12)
    assert list(got) == [12], f"`[12]` of 12 sources gave `{got}`: numbers can have two digits."


def citations_check_invented(cited_sources, ns):
    got = cited_sources("So it is [4], says [0], since [2024] and [1].", 3)
    assert list(got) == [1], f"Of 3 sources, [4], [0] and [2024] do not exist; it returned `{got}`."


def citations_check_repeats(cited_sources, ns):
    got = cited_sources("Yes [3]. Again [1] and [3].", 3)
    assert list(got) == [3, 1], f"[3] is cited twice and should be listed once; got `{got}`."


def citations_check_shared(cited_sources, ns):
    got = cited_sources("Both say so [1, 3] and [2][1].", 3)
    assert list(got) == [1, 3, 2], f"`[1, 3]` shares a bracket: expected 1, 3, 2 and got `{got}`."


def citations_wrong(ns):
    def one_digit(text, n):
        kept = [int(d) for d in re.findall(r"\[(\d)\]", text) if 1 <= int(d) <= n]
        return list(dict.fromkeys(kept))

    def invented(text, n):
        return list(dict.fromkeys(int(d) for d in re.findall(r"\[(\d+)\]", text)))

    def repeats(text, n):
        return [int(d) for d in re.findall(r"\[(\d+)\]", text) if 1 <= int(d) <= n]

    def alone(text, n):
        kept = [int(d) for d in re.findall(r"\[(\d+)\]", text) if 1 <= int(d) <= n]
        return list(dict.fromkeys(kept))

    def constant(text, n):
        return [1]

    return {
        "two digits": one_digit,
        "do not exist": invented,
        "listed once": repeats,
        "shares a bracket": alone,
        "For two citations": constant,
    }


# --- 01-nearest -----------------------------------------------------------------------------------


def nearest_solution(vectors, question, k):
    lengths = np.linalg.norm(vectors, axis=1)
    cosines = vectors @ question / np.where(lengths == 0, 1, lengths)
    cosines[lengths == 0] = -np.inf
    return np.argsort(-cosines, kind="stable")[:k].tolist()


def nearest_check(nearest, ns):
    """The best first, among vectors of one length."""
    vectors = np.array([[0.0, 1.0], [1.0, 0.0], [0.6, 0.8]])
    got = list(nearest(vectors.copy(), np.array([0.0, 1.0]), 2))
    assert got == [0, 2], f"The two best of three are rows 0 and 2, the best first; got `{got}`."


def nearest_check_lengths(nearest, ns):
    vectors = np.array([[3.0, 4.0], [0.0, 0.5], [9.0, 0.0]])
    got = list(nearest(vectors.copy(), np.array([0.0, 2.0]), 3))
    assert got == [1, 0, 2], (
        f"Row 1 points exactly where the question does, though it is short; got `{got}`. "
        "Is it a cosine, or a dot product?"
    )


def nearest_check_zeros(nearest, ns):
    vectors = np.array([[0.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    got = list(nearest(vectors.copy(), np.array([0.0, 1.0]), 3))
    assert got == [2, 1, 0], f"The row of zeros has no direction and comes last; got `{got}`."


def nearest_check_few(nearest, ns):
    got = list(nearest(np.eye(2), np.array([1.0, 0.0]), 5))
    assert got == [0, 1], f"Five of two rows are both rows; got `{got}`."


def nearest_wrong(ns):
    def dot(vectors, question, k):
        return np.argsort(-(vectors @ question), kind="stable")[:k].tolist()

    def upside_down(vectors, question, k):
        return np.argsort(vectors @ question)[:k].tolist()

    def not_a_number(vectors, question, k):
        cosines = vectors @ question / np.linalg.norm(vectors, axis=1)
        return np.argsort(-np.nan_to_num(cosines), kind="stable")[:k].tolist()

    def constant(vectors, question, k):
        return list(range(k))

    return {
        "a dot product": dot,
        "the best first": upside_down,
        "comes last": not_a_number,
        "The two best of three": constant,
    }
