"""Solutions and checks of notebook 05."""

import math
from functools import lru_cache

import numpy as np


def names():
    """What the exercises read: the modules, and the notebook's own function."""
    from course_utils import compare_runs
    from course_utils.evaluate import correctness, intervals, metrics
    from course_utils.search import documents

    return {
        "compare_runs": compare_runs,
        "correctness": correctness,
        "documents": documents,
        "estimate": intervals.estimate,
        "intervals": intervals,
        "paired_difference": intervals.paired_difference,
        "retrieval_scores": metrics.retrieval_scores,
        "dcg": dcg,
        "math": math,
        "np": np,
    }


def dcg(gains):
    """As in the notebook."""
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


# --- 05-enough ------------------------------------------------------------------------------------


@lru_cache
def _two_searches():
    """nDCG@10 of each train and dev question: BM25, and BM25 fused with letter n-grams."""
    from course_utils.evaluate.metrics import evaluate_retrieval
    from course_utils.lab.baselines import NgramEmbedder
    from course_utils.search import fusion, retrieval
    from course_utils.tasks import handbook

    pages = handbook.load_handbook(week=1)
    questions = [q for split in ("train", "dev") for q in handbook.load_questions(split, "stress")]
    questions = [question for question in questions if question.answerable]
    words = retrieval.BM25Retriever(pages)
    letters = retrieval.DenseRetriever(pages, NgramEmbedder())
    both = fusion.FusedRetriever([words, letters], k=10)
    return [evaluate_retrieval(arm, questions)["ndcg_cut_10"] for arm in (words, both)]


def enough_solution(ns):
    from course_utils import compare_runs

    one, other = _two_searches()
    draw, changes = np.random.default_rng(0), (other - one) - (other - one).mean() + 0.03
    trials = []
    for _ in range(200):
        picked = draw.integers(0, len(one), 40)
        trials.append(compare_runs(one[picked], one[picked] + changes[picked]).decision)
    share = trials.count("better") / len(trials)
    key = "few" if share < 1 / 3 else "half" if share < 2 / 3 else "most"
    return key, f"Tried now: *better* in {share:.0%} of the trials."


# --- 05-citations ---------------------------------------------------------------------------------


def citations_solution(texts, sources, gold):
    import re

    cited = right = asked = reached = 0
    for text, pages, answers in zip(texts, sources, gold, strict=True):
        brackets = " ".join(re.findall(r"\[([\d,\s]+)\]", text))
        numbers = {int(number) for number in re.findall(r"\d+", brackets)}
        made = {pages[n - 1] if 0 < n <= len(pages) else n for n in numbers}
        cited += len(made)
        right += len(made & answers)
        asked += bool(answers)
        reached += bool(made & answers)
    return right / cited if cited else None, reached / asked if asked else None


def _scores(citation_scores, *cases):
    texts, sources, gold = zip(*cases, strict=True)
    got = citation_scores(list(texts), [list(pages) for pages in sources], [set(g) for g in gold])
    assert isinstance(got, tuple | list) and len(got) == 2, (
        f"It must return two numbers, the precision and the recall; got `{got}`."
    )
    return tuple(value if value is None else round(float(value), 3) for value in got)


def citations_check(citation_scores, ns):
    """Plain citations."""
    cases = [("Yes [1].", "ab", "a"), ("No [2].", "ab", "a"), ("Both [1] [2].", "cd", "c")]
    got = _scores(citation_scores, *cases)
    assert got == (0.5, 0.667), (
        "Of four citations two are gold, and of three questions two were given a gold page: "
        f"expected 0.5 and 0.667, got {got[0]} and {got[1]}."
    )
    got = _scores(citation_scores, ("See [1, 3].", "abc", "c"))
    assert got == (0.5, 1), f"`[1, 3]` cites two sources, one of them gold; got {got}."


def citations_check_invented(citation_scores, ns):
    got = _scores(citation_scores, ("Yes [1], [4] and [0].", "ab", "a"))
    assert got == (0.333, 1), (
        "Of [1], [4] and [0] with two sources, one citation is right and two are invented, which "
        f"is a precision of 0.333; got {got[0]}."
    )


def citations_check_once(citation_scores, ns):
    got = _scores(citation_scores, ("Yes [1]. Indeed [2]; see [1] and [3].", "aab", "a"))
    assert got == (0.5, 1), (
        "Sources 1 and 2 are chunks of one page, and [1] is cited twice. That page counts once, "
        f"beside the one of [3], so the precision is 0.5; got {got[0]}."
    )


def citations_check_without(citation_scores, ns):
    got = _scores(citation_scores, ("Yes [1].", "ab", "a"), ("Maybe [2].", "ab", ""))
    assert got == (0.5, 1), (
        "The second question has no gold page: its citation is wrong, and it does not belong to "
        f"the recall. Expected 0.5 and 1, got {got[0]} and {got[1]}."
    )


def citations_check_nothing(citation_scores, ns):
    got = _scores(citation_scores, ("I do not know.", "ab", "a"))
    assert got == (None, 0), f"Nothing is cited, so there is no precision; got {got}."
    got = _scores(citation_scores, ("Yes [1].", "ab", ""))
    assert got == (0, None), f"No question has a gold page, so there is no recall; got {got}."


def citations_wrong(ns):
    def without_invented(texts, sources, gold):
        import re

        cited = right = asked = reached = 0
        for text, pages, answers in zip(texts, sources, gold, strict=True):
            brackets = " ".join(re.findall(r"\[([\d,\s]+)\]", text))
            numbers = {int(n) for n in re.findall(r"\d+", brackets)}
            made = {pages[n - 1] for n in numbers if 0 < n <= len(pages)}
            cited, right = cited + len(made), right + len(made & answers)
            asked, reached = asked + bool(answers), reached + bool(made & answers)
        return right / cited if cited else None, reached / asked if asked else None

    def each_time(texts, sources, gold):
        import re

        cited = right = asked = reached = 0
        for text, pages, answers in zip(texts, sources, gold, strict=True):
            brackets = " ".join(re.findall(r"\[([\d,\s]+)\]", text))
            numbers = [int(n) for n in re.findall(r"\d+", brackets)]
            made = [pages[n - 1] if 0 < n <= len(pages) else n for n in numbers]
            cited, right = cited + len(made), right + sum(page in answers for page in made)
            asked, reached = asked + bool(answers), reached + bool(set(made) & answers)
        return right / cited if cited else None, reached / asked if asked else None

    def over_all(texts, sources, gold):
        import re

        cited = right = reached = 0
        for text, pages, answers in zip(texts, sources, gold, strict=True):
            brackets = " ".join(re.findall(r"\[([\d,\s]+)\]", text))
            numbers = {int(n) for n in re.findall(r"\d+", brackets)}
            made = {pages[n - 1] if 0 < n <= len(pages) else n for n in numbers}
            cited, right = cited + len(made), right + len(made & answers)
            reached += bool(made & answers)
        return right / cited if cited else None, reached / len(gold) if gold else None

    def one_number(texts, sources, gold):
        import re

        cited = right = reached = 0
        for text, pages, answers in zip(texts, sources, gold, strict=True):
            made = {pages[int(n) - 1] for n in re.findall(r"\[(\d)\]", text)}
            cited, right = cited + len(made), right + len(made & answers)
            reached += bool(made & answers)
        return right / cited if cited else 0, reached / len(gold)

    def constant(texts, sources, gold):
        return 1, 1

    return {
        "two are invented": without_invented,
        "That page counts once": each_time,
        "does not belong to the recall": over_all,
        "cites two sources": one_number,
        "Of four citations": constant,
    }


# --- 05-ndcg --------------------------------------------------------------------------------------


def ndcg_solution(ranking, grades, k):
    import math

    def dcg(gains):
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))

    gains = [grades.get(page, 0) for page in list(dict.fromkeys(ranking))[:k]]
    ideal = sorted(grades.values(), reverse=True)[:k]
    return dcg(gains) / dcg(ideal) if any(ideal) else 0.0


def _trec(ns, ranking, grades, k):
    from course_utils.evaluate.metrics import retrieval_scores
    from course_utils.search.documents import Question

    question = Question(id="q", text="?", grades=grades)
    run = {"q": {page: -float(rank) for rank, page in enumerate(dict.fromkeys(ranking))}}
    metric = f"ndcg_cut_{k}"
    return float(retrieval_scores(run, [question], [metric])[metric][0])


def _agrees(ndcg_at, ns, ranking, grades, k, said):
    got, right = ndcg_at(list(ranking), dict(grades), k), _trec(ns, ranking, grades, k)
    assert isinstance(got, int | float | np.floating) and math.isclose(got, right, abs_tol=1e-6), (
        f"nDCG@{k} of `{list(ranking)}` with the grades `{grades}` is {right:.3f}; got `{got}`. "
        f"{said}"
    )


def ndcg_check(ndcg_at, ns):
    """More graded pages than places."""
    grades = {"a": 2, "b": 1, "c": 2}
    _agrees(ndcg_at, ns, "acb", grades, 2, "What is the best that two places can hold?")
    _agrees(ndcg_at, ns, "bdaef", grades, 5, "Here k is large enough for all graded pages.")


def ndcg_check_pages(ndcg_at, ns):
    grades = {"a": 2, "b": 1}
    _agrees(ndcg_at, ns, "aab", grades, 5, "The page a comes twice, and counts once.")
    _agrees(ndcg_at, ns, "xxxa", grades, 3, "The page x takes one of the three places, not three.")


def ndcg_check_nothing(ndcg_at, ns):
    for ranking, grades in (("ab", {}), ("ab", {"c": 0})):
        got = ndcg_at(list(ranking), dict(grades), 5)
        assert got == 0, f"With the grades `{grades}` there is nothing to find: 0, not `{got}`."
    got = ndcg_at([], {"a": 2}, 5)
    assert got == 0, f"Nothing was retrieved: 0, not `{got}`."


def ndcg_check_any(ndcg_at, ns):
    draw = np.random.default_rng(0)
    for _ in range(50):
        ranking = draw.choice(list("abcdefgh"), size=12).tolist()
        grades = {page: int(draw.integers(0, 3)) for page in "abcdxy"}
        if any(grades.values()):
            _agrees(ndcg_at, ns, ranking, grades, int(draw.choice([3, 5, 10])), "")


def ndcg_wrong(ns):
    def as_it_was(ranking, grades, k):
        gains = [grades.get(page, 0) for page in ranking[:k]]
        return dcg(gains) / dcg(sorted(grades.values(), reverse=True))

    def chunks(ranking, grades, k):
        gains = [grades.get(page, 0) for page in ranking[:k]]
        ideal = sorted(grades.values(), reverse=True)[:k]
        return dcg(gains) / dcg(ideal) if any(ideal) else 0.0

    def cut_first(ranking, grades, k):
        gains = [grades.get(page, 0) for page in dict.fromkeys(ranking[:k])]
        ideal = sorted(grades.values(), reverse=True)[:k]
        return dcg(gains) / dcg(ideal) if any(ideal) else 0.0

    def divides(ranking, grades, k):
        gains = [grades.get(page, 0) for page in list(dict.fromkeys(ranking))[:k]]
        return dcg(gains) / dcg(sorted(grades.values(), reverse=True)[:k])

    def constant(ranking, grades, k):
        return 0.5

    return {
        "two places can hold": as_it_was,
        "counts once": chunks,
        "not three": cut_first,
        "ZeroDivisionError": divides,
        "is 1.000": constant,
    }


# --- 05-metric ------------------------------------------------------------------------------------


def metric_solution(ns):
    """The metric that notices exactly those moves which the reader notices."""
    from course_utils.evaluate.metrics import retrieval_scores
    from course_utils.search.documents import Question

    metrics = {key: key.replace("-", "_") for key in ("recip-rank", "recall-3", "recall-50")}
    metrics["ndcg-cut-10"] = "ndcg_cut_10"
    question = Question(id="q", text="?", grades={"gold": 2})

    def scores(place):
        ranking = [*(f"other {n}" for n in range(1, place)), "gold"]
        run = {"q": {page: -float(rank) for rank, page in enumerate(ranking)}}
        return retrieval_scores(run, [question], list(metrics.values()))

    moves = {(1, 3): False, (3, 4): True, (12, 40): False, (5, 9): False}
    fits = [
        key
        for key, metric in metrics.items()
        if all((scores(a)[metric] != scores(b)[metric]) == seen for (a, b), seen in moves.items())
    ]
    (key,) = fits
    return key, "Tried with the page moved from 1 to 3, 3 to 4, 5 to 9 and 12 to 40."


# --- 05-kappa -------------------------------------------------------------------------------------


def _labels(both=6, judge=8, label=14, neither=108):
    judged = [1] * both + [1] * judge + [0] * label + [0] * neither
    labels = [1] * both + [0] * judge + [1] * label + [0] * neither
    return judged, labels


def kappa_solution(ns):
    from course_utils.evaluate.intervals import cohen_kappa

    return cohen_kappa(*_labels())


def kappa_wrong(ns):
    judged, labels = (np.array(each) for each in _labels())
    agreed = np.mean(judged == labels)
    return {
        "That is the plain agreement. How much of it would come without looking?": agreed,
        "That takes chance for one half. These two judges say no far more often than yes.": (
            2 * agreed - 1
        ),
        "That is the share of accepted answers that are right.": judged @ labels / judged.sum(),
        "That is the agreement of chance alone.": (
            judged.mean() * labels.mean() + (1 - judged.mean()) * (1 - labels.mean())
        ),
    }


# --- 05-gate --------------------------------------------------------------------------------------


def gate_solution(before, after, kinds):
    from course_utils import compare_runs

    groups = {kind: np.array(kinds) == kind for kind in set(kinds)}
    groups["all"] = np.ones(len(kinds), dtype=bool)
    return sorted(
        name
        for name, rows in groups.items()
        if compare_runs(before[rows], after[rows]).decision == "worse"
    )


def _gate_case(seed, **shifts):
    """Scores of 40 questions a kind, mixed, with each kind's mean shift and some noise."""
    draw = np.random.default_rng(seed)
    kinds = draw.permutation([kind for kind in shifts for _ in range(40)]).tolist()
    before = draw.uniform(0.2, 0.8, len(kinds))
    noise = draw.normal(0, 0.05, len(kinds))
    for kind in shifts:
        rows = np.array(kinds) == kind
        noise[rows] -= noise[rows].mean()
    return before, before + noise + [shifts[kind] for kind in kinds], kinds


def _gate(got_worse, case):
    before, after, kinds = case
    got = got_worse(before.copy(), after.copy(), list(kinds))
    assert isinstance(got, list | tuple | set), f"It must return a list; got `{got}`."
    return list(got)


def gate_check(got_worse, ns):
    """One kind falls while the mean rises."""
    got = _gate(got_worse, _gate_case(0, codes=-0.15, jargon=0.2, other=-0.012))
    assert "other" not in got, (
        f"The kind `other` fell by 0.012, which is too little to matter; got `{got}`. Undecided is "
        "not worse."
    )
    assert got == ["codes"], (
        "Over all questions the change is no loss, but the kind `codes` got worse: expected "
        f"['codes'], got `{got}`."
    )


def gate_check_all(got_worse, ns):
    got = _gate(got_worse, _gate_case(1, codes=-0.1, jargon=-0.1))
    assert got == ["all", "codes", "jargon"], (
        f"Everything fell: expected ['all', 'codes', 'jargon'], got `{got}`."
    )


def gate_check_nothing(got_worse, ns):
    got = _gate(got_worse, _gate_case(2, codes=0.1, jargon=0.0))
    assert got == [], f"Nothing fell: expected an empty list, got `{got}`."
    before, after, _ = _gate_case(3, codes=-0.1)
    got = _gate(got_worse, (before[:5], after[:5], ["codes"] * 5))
    assert got == [], f"Five questions never decide: expected an empty list, got `{got}`."


def gate_wrong(ns):
    def only_all(before, after, kinds):
        from course_utils import compare_runs

        return ["all"] if compare_runs(before, after).decision == "worse" else []

    def only_kinds(before, after, kinds):
        from course_utils import compare_runs

        groups = {kind: np.array(kinds) == kind for kind in set(kinds)}
        made = {kind: compare_runs(before[r], after[r]) for kind, r in groups.items()}
        return sorted(kind for kind, verdict in made.items() if verdict.decision == "worse")

    def the_other_way(before, after, kinds):
        from course_utils import compare_runs

        groups = {kind: np.array(kinds) == kind for kind in {*kinds, "all"}}
        groups["all"] = np.ones(len(kinds), dtype=bool)
        made = {kind: compare_runs(after[r], before[r]) for kind, r in groups.items()}
        return sorted(kind for kind, verdict in made.items() if verdict.decision == "worse")

    def by_the_mean(before, after, kinds):
        groups = {kind: np.array(kinds) == kind for kind in set(kinds)}
        groups["all"] = np.ones(len(kinds), dtype=bool)
        return sorted(k for k, rows in groups.items() if after[rows].mean() < before[rows].mean())

    return {
        "got worse: expected ['codes'], got `[]`": only_all,
        "Everything fell": only_kinds,
        "Over all questions the change is no loss": the_other_way,
        "Undecided is not worse": by_the_mean,
    }
