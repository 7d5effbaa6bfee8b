"""Solutions and checks of notebook 08."""

from functools import lru_cache

import numpy as np

NOTEBOOK = "08_common_mistakes"
CANDIDATES = 50


def names():
    """What the exercises read: the modules."""
    from course_utils.evaluate import correctness

    return {
        "correctness": correctness,
        "np": np,
    }


# --- 08-which-fault -------------------------------------------------------------------------------


@lru_cache
def _recalls():
    """Recall@3 and @50 of BM25 on the train questions, healthy and with each fault."""
    from course_utils.evaluate import metrics
    from course_utils.search import retrieval
    from course_utils.tasks import handbook

    pages = handbook.load_handbook(week=1)
    asked = [q for q in handbook.load_questions("train", "stress") if q.answerable]
    texts = [question.text for question in asked]
    found = retrieval.BM25Retriever(pages).search(texts, CANDIDATES)
    half = retrieval.BM25Retriever(pages[::2]).search(texts, CANDIDATES)
    lists = {
        "healthy": found,
        "reversed": [hits[::-1] for hits in found],
        "threshold": [[hit for hit in hits if hit.score > 8] for hits in found],
        "other": [*found[1:], found[0]],
        "index": half,
    }
    made = {}
    for name, rankings in lists.items():
        runs = {
            question.id: {hit.node_id: -float(rank) for rank, hit in enumerate(hits)}
            for question, hits in zip(asked, rankings, strict=True)
        }
        scores = metrics.retrieval_scores(runs, asked, ["recall_3", "recall_50"])
        made[name] = [float(scores[metric].mean()) for metric in ("recall_3", "recall_50")]
    return made


def which_fault_solution(ns):
    made = dict(_recalls())
    three, fifty = made.pop("healthy")
    (key,) = (k for k, (a, b) in made.items() if b == fifty and a < three / 2)
    return key, f"Measured now: recall@3 {three:.2f} to {made[key][0]:.2f}, recall@50 {fifty:.2f}."


# --- 08-alarm -------------------------------------------------------------------------------------


@lru_cache
def _logged():
    """What a log would say of a healthy and of a reversed search: {number: (before, after)}."""
    from course_utils.lab.baselines import NgramEmbedder
    from course_utils.tasks import law

    letters = NgramEmbedder()
    vectors = letters.encode([page.text for page in law.case_documents()])
    asked = letters.encode([q.question for q in law.load_case_questions("train")])
    best = -np.sort(-(asked @ vectors.T), axis=1)[:, :CANDIDATES]
    made = {}
    for name, ranked in {"before": best, "after": best[:, ::-1]}.items():
        sources = ranked[:, :3]
        made[name] = {
            "first-cosine": sources[:, 0].mean(),
            "order": (sources[:, 0] > sources[:, 2]).mean(),
            "empty": float(sources.shape[1] == 0),
            "count": float(sources.shape[1]),
            "best-candidate": ranked.max(axis=1).mean(),
        }
    return {key: (made["before"][key], made["after"][key]) for key in made["before"]}


def alarm_solution(ns):
    return {key for key, (was, now) in _logged().items() if abs(now - was) > 0.1 * abs(was)}


# --- 08-doctor ------------------------------------------------------------------------------------


def doctor_solution(before, after):
    n = len(after)
    if sum(not ranking for ranking in after) > n / 3:
        return "threshold"
    pairs = list(zip(before, after, strict=True))
    if sum(len(old) > 1 and new == old[::-1] for old, new in pairs) > n / 2:
        return "reversed"
    shared = [len(set(old[:10]) & set(new[:10])) / max(len(old[:10]), 1) for old, new in pairs]
    return "other embedder" if sum(shared) / n < 0.1 else "healthy"


def _rankings(seed, n=30, length=50):
    draw = np.random.default_rng(seed)
    return [[f"p{page}" for page in draw.permutation(500)[:length]] for _ in range(n)]


def _diagnosis(diagnose, before, after, right, said):
    got = diagnose([list(r) for r in before], [list(r) for r in after])
    assert got == right, f"{said} Expected {right!r}, got `{got!r}`."


def doctor_check(diagnose, ns):
    """One fault each."""
    before, other = _rankings(0), _rankings(1)
    backwards = [ranking[::-1] for ranking in before]
    _diagnosis(diagnose, before, backwards, "reversed", "All rankings are turned round.")
    _diagnosis(diagnose, before, other, "other embedder", "All pages are drawn anew.")


def doctor_check_empty(diagnose, ns):
    before = _rankings(0)
    after = [[] if place % 2 else ranking for place, ranking in enumerate(before)]
    _diagnosis(diagnose, before, after, "threshold", "Half of the rankings are empty.")
    _diagnosis(diagnose, before, [[] for _ in before], "threshold", "All rankings are empty.")


def doctor_check_healthy(diagnose, ns):
    before = _rankings(0)
    moved = [[*r[1:3], r[0], *r[3:]] for r in before]
    _diagnosis(diagnose, before, moved, "healthy", "Three pages changed places in each ranking.")
    few = [[] if place < 3 else ranking for place, ranking in enumerate(before)]
    _diagnosis(diagnose, before, few, "healthy", "Three of thirty rankings are empty.")


def doctor_check_average(diagnose, ns):
    before, other = _rankings(0), _rankings(1)
    mixed = [
        old if place % 4 == 0 else new
        for place, (old, new) in enumerate(zip(before, other, strict=True))
    ]
    _diagnosis(
        diagnose,
        before,
        mixed,
        "healthy",
        "A quarter of the rankings is as before: on average "
        "the first ten share a quarter of their pages.",
    )


def doctor_check_one(diagnose, ns):
    before = [ranking[:1] for ranking in _rankings(0)]
    said = "With one page each, the rankings are as before; a single page has no order."
    _diagnosis(diagnose, before, before, "healthy", said)


def doctor_wrong(ns):
    def any_empty(before, after):
        n, pairs = len(after), list(zip(before, after, strict=True))
        if not all(after):
            return "threshold"
        if sum(len(old) > 1 and new == old[::-1] for old, new in pairs) > n / 2:
            return "reversed"
        shared = sum(len(set(old[:10]) & set(new[:10])) for old, new in pairs)
        return "other embedder" if shared / n < 1 else "healthy"

    def overlap_first(before, after):
        n, pairs = len(after), list(zip(before, after, strict=True))
        shared = sum(len(set(old[:10]) & set(new[:10])) for old, new in pairs)
        if shared / n < 1:
            return "other embedder"
        if sum(not ranking for ranking in after) > n / 3:
            return "threshold"
        turned = sum(new == old[::-1] for old, new in pairs)
        return "reversed" if turned > n / 2 else "healthy"

    def same_pages(before, after):
        n, pairs = len(after), list(zip(before, after, strict=True))
        if sum(not ranking for ranking in after) > n / 3:
            return "threshold"
        if sum(set(new) == set(old) for old, new in pairs) > n / 2:
            return "reversed"
        shared = sum(len(set(old[:10]) & set(new[:10])) for old, new in pairs)
        return "other embedder" if shared / n < 1 else "healthy"

    def no_threshold(before, after):
        n, pairs = len(after), list(zip(before, after, strict=True))
        if sum(len(old) > 1 and new == old[::-1] for old, new in pairs) > n / 2:
            return "reversed"
        shared = sum(len(set(old[:10]) & set(new[:10])) for old, new in pairs)
        return "other embedder" if shared / n < 1 else "healthy"

    def single_pages(before, after):
        n, pairs = len(after), list(zip(before, after, strict=True))
        if sum(not ranking for ranking in after) > n / 3:
            return "threshold"
        if sum(new == old[::-1] for old, new in pairs) > n / 2:
            return "reversed"
        shared = sum(len(set(old[:10]) & set(new[:10])) for old, new in pairs)
        return "other embedder" if shared / n < 1 else "healthy"

    def most_questions(before, after):
        n, pairs = len(after), list(zip(before, after, strict=True))
        if sum(not ranking for ranking in after) > n / 3:
            return "threshold"
        if sum(len(old) > 1 and new == old[::-1] for old, new in pairs) > n / 2:
            return "reversed"
        lost = sum(len(set(old[:10]) & set(new[:10])) < 1 for old, new in pairs)
        return "other embedder" if lost > n / 2 else "healthy"

    return {
        "Three of thirty rankings are empty": any_empty,
        "All rankings are turned round": overlap_first,
        "Three pages changed places": same_pages,
        "Half of the rankings are empty": no_threshold,
        "a single page has no order": single_pages,
        "share a quarter of their pages": most_questions,
    }


# --- 08-stale -------------------------------------------------------------------------------------


def stale_solution(answers, old, new):
    from course_utils.evaluate import correctness

    right = outdated = 0
    for answer, was, now in zip(answers, old, new, strict=True):
        is_new, is_old = (correctness.is_correct(answer, q) for q in (now, was))
        right += is_new and not is_old
        outdated += is_old and not is_new
    n = len(answers)
    return right / n, outdated / n, (n - right - outdated) / n


def _shares(stale, ns, texts):
    from course_utils.generate.citing import Answer
    from course_utils.search.documents import Question

    old = [Question("q", "How long?", answer="20 minutes", accepted=("20",)) for _ in texts]
    new = [Question("q", "How long?", answer="45 minutes", accepted=("45",)) for _ in texts]
    got = stale([Answer(text) for text in texts], old, new)
    assert isinstance(got, tuple | list) and len(got) == 3, (
        f"It must return three shares; got `{got}`."
    )
    return tuple(round(float(share), 3) for share in got)


def stale_check(stale, ns):
    """Plain answers."""
    got = _shares(stale, ns, ["45 minutes", "20 minutes", "45", "an hour"])
    assert got == (0.5, 0.25, 0.25), (
        f"Of four answers two are this week's and one is last week's; got {got}."
    )


def stale_check_both(stale, ns):
    got = _shares(stale, ns, ["It was 20 minutes, now it is 45", "45 minutes"])
    assert got == (0.5, 0.0, 0.5), (
        f"An answer that holds both the old and the new does not decide; got {got}."
    )


def stale_check_refused(stale, ns):
    got = _shares(stale, ns, ["", "45 minutes"])
    assert got == (0.5, 0.0, 0.5), f"A refusal is neither right nor outdated; got {got}."


def stale_wrong(ns):
    def new_wins(answers, old, new):
        from course_utils.evaluate import correctness

        n = len(answers)
        right = sum(correctness.is_correct(a, q) for a, q in zip(answers, new, strict=True))
        pairs = zip(answers, old, new, strict=True)
        was = sum(
            correctness.is_correct(a, o) and not correctness.is_correct(a, q) for a, o, q in pairs
        )
        return right / n, was / n, (n - right - was) / n

    def all_wrong_is_old(answers, old, new):
        from course_utils.evaluate import correctness

        right = [correctness.is_correct(a, q) for a, q in zip(answers, new, strict=True)]
        return sum(right) / len(right), 1 - sum(right) / len(right), 0.0

    def of_the_given(answers, old, new):
        from course_utils.evaluate import correctness

        rows = [r for r in zip(answers, old, new, strict=True) if not r[0].refused]
        right = sum(correctness.is_correct(a, q) > correctness.is_correct(a, o) for a, o, q in rows)
        was = sum(correctness.is_correct(a, o) > correctness.is_correct(a, q) for a, o, q in rows)
        n = len(rows)
        return right / n, was / n, (n - right - was) / n

    return {
        "does not decide": new_wins,
        "one is last week's": all_wrong_is_old,
        "A refusal is neither": of_the_given,
    }


# --- 08-rungs -------------------------------------------------------------------------------------

BACKWARD = 2  # forward, and backward without the gradients of the frozen weights


@lru_cache
def _measured():
    """Tokens of a few-shot prompt and of the adapter's, and what training on 50 messages read."""
    from course_utils.lab.results import load_results

    arms = load_results("format")["arms"]
    few_shot, adapter = (round(arms[name]["prompt_tokens"]) for name in ("few-shot", "LoRA, 50"))
    return few_shot, adapter, arms["LoRA, 50"]["train_tokens"]


def rungs_solution(ns):
    few_shot, adapter, trained = _measured()
    return BACKWARD * trained / (few_shot - adapter)


def rungs_wrong(ns):
    few_shot, adapter, trained = _measured()
    saved = few_shot - adapter
    return {
        "A token of training costs twice as much as a token of a prompt.": trained / saved,
        "That would be training of all weights.": 3 * trained / saved,
        "The adapter's prompt has to be read, too.": BACKWARD * trained / few_shot,
        "That is the training in adapter's prompts. What does a message save?": (
            BACKWARD * trained / adapter
        ),
    }
