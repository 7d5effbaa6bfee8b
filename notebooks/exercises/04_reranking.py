"""Solutions and checks of notebook 04."""

from functools import lru_cache

import numpy as np

NOTEBOOK = "04_reranking"
CANDIDATES = 20


def names():
    """What the exercises read: the wiki searched by words, and what the last run measured."""
    from course_utils.evaluate import intervals, metrics
    from course_utils.lab import ledger
    from course_utils.search import chunking, fusion, retrieval
    from course_utils.tasks import handbook

    measured = {c["id"]: c for c in ledger.load_ledger()[NOTEBOOK]["claims"]}
    gains = {("final", "fusion"): "S30.final", ("final", "default"): "S30.tuning"}

    def by_kind(after, before="fusion"):
        claim = measured[gains[after, before]]
        return {"all": intervals.Estimate(claim["value"], *claim["interval"], claim["n"])}

    pages = handbook.load_handbook(week=1)
    train, dev = (
        [q for q in handbook.load_questions(split, "stress") if q.answerable]
        for split in ("train", "dev")
    )
    return {
        "pages": pages,
        "train": train,
        "dev": dev,
        "by_words": retrieval.BM25Retriever(pages),
        "by_kind": by_kind,
        "chunking": chunking,
        "estimate": intervals.estimate,
        "metrics": metrics,
        "paired_difference": intervals.paired_difference,
        "reciprocal_rank_fusion": fusion.reciprocal_rank_fusion,
        "np": np,
    }


def reordered(hits, depth, score):
    """A run in which the first ``depth`` pages are sorted by new scores; the others stay below."""
    head = dict(zip([hit.node.node_id for hit in hits[:depth]], score, strict=True))
    ranked = sorted(head, key=lambda page: -head[page])  # stable
    ranked += [hit.node.node_id for hit in hits[depth:]]
    return {page: -rank for rank, page in enumerate(ranked)}


# --- 04-more-candidates ---------------------------------------------------------------------------


def more_candidates_solution(ns):
    from course_utils.lab.baselines import NgramEmbedder
    from course_utils.search.retrieval import title_and_text

    letters = NgramEmbedder()
    nodes = ns.by_words.nodes
    vectors = letters.encode([title_and_text(node) for node in nodes])
    of_page = dict(zip([node.node_id for node in nodes], vectors, strict=True))
    questions = [*ns.train, *ns.dev]
    texts = [question.text for question in questions]
    found, asked = ns.by_words.search(texts, 100), letters.encode(texts)
    means = {}
    for depth in (5, 10, 20, 50):
        runs = {}
        for question, hits, vector in zip(questions, found, asked, strict=True):
            cosines = [float(of_page[hit.node.node_id] @ vector) for hit in hits[:depth]]
            runs[question.id] = reordered(hits, depth, cosines)
        means[depth] = _ndcg(runs, questions, ns).mean()
    change = means[50] - means[5]
    key = "rises" if change > 0.01 else "falls" if change < -0.01 else "same"
    said = ", ".join(f"{mean:.2f} with {depth}" for depth, mean in means.items())
    return key, f"Measured now: {said} candidates."


def _ndcg(runs, questions, ns):
    from course_utils.evaluate.metrics import retrieval_scores

    return retrieval_scores(runs, questions, ["ndcg_cut_10"])["ndcg_cut_10"]


# --- 04-ceiling -----------------------------------------------------------------------------------


def _best_mrr(ns, depth, below=True):
    from course_utils.evaluate.metrics import retrieval_scores

    found = ns.by_words.search([question.text for question in ns.dev], 100)
    runs = {}
    for question, hits in zip(ns.dev, found, strict=True):
        kept = hits if below else hits[:depth]
        grades = [question.grades.get(hit.node.node_id, 0) for hit in kept[:depth]]
        runs[question.id] = reordered(kept, depth, grades)
    return retrieval_scores(runs, ns.dev, ["recip_rank"])["recip_rank"].mean()


def ceiling_solution(ns):
    return _best_mrr(ns, 5)


def ceiling_wrong(ns):
    return {
        "There the pages below the fifth are gone. They only stay where they are.": (
            _best_mrr(ns, 5, below=False)
        ),
        "That is the MRR of the search as it is, without a reranker.": _best_mrr(ns, 0),
        "That is what ten candidates allow.": _best_mrr(ns, 10),
    }


# --- 04-report ------------------------------------------------------------------------------------


def report_solution(ns):
    gain, tuning = (ns.by_kind("final", before)["all"] for before in ("fusion", "default"))
    return "test", f"On test: {gain} over the fusion; tuned minus default {tuning}."


# --- 04-mix ---------------------------------------------------------------------------------------


def mix_solution(columns, weights):
    spread = columns.std(axis=1, keepdims=True)
    centred = columns - columns.mean(axis=1, keepdims=True)
    return weights @ (centred / np.where(spread < 1e-12, 1, spread))


COLUMNS = np.array([[3.0, 2.0, 1.0, 0.0], [0.1, 0.2, 0.9, 0.1]])


def _mixed(mixed, columns, weights):
    with np.errstate(all="ignore"):
        got = np.asarray(mixed(np.array(columns), np.array(weights)), dtype=float)
    assert got.shape == (len(columns[0]),), (
        f"Four candidates have four scores; the result has the shape {got.shape}."
    )
    return got


def mix_check(mixed, ns):
    """Each source over the candidates, whatever its scale."""
    alone = [_mixed(mixed, COLUMNS, [1.0, 0.0]), _mixed(mixed, COLUMNS, [0.0, 1.0])]
    orders = [np.argsort(-each, kind="stable").tolist() for each in alone]
    assert orders == [[0, 1, 2, 3], [2, 1, 0, 3]], (
        "With the weights 1 and 0 the ranking must be the first source's, with 0 and 1 the "
        f"second's: [0, 1, 2, 3] and [2, 1, 0, 3]. It is {orders[0]} and {orders[1]}. Over what is "
        "the mean taken?"
    )
    once = _mixed(mixed, COLUMNS, [0.5, 0.8])
    scaled = _mixed(mixed, COLUMNS * [[1], [1000]] + [[7], [0]], [0.5, 0.8])
    assert np.allclose(once, scaled), (
        "One source in thousandths, the other shifted by 7: after standardising nothing may "
        f"change, but {np.round(once, 2)} became {np.round(scaled, 2)}."
    )
    assert np.allclose(once, mix_solution(COLUMNS, np.array([0.5, 0.8]))), (
        "Each source should have mean 0 and standard deviation 1 over the candidates before it is "
        f"weighed; got {np.round(once, 2)}."
    )


def mix_check_constant(mixed, ns):
    got = _mixed(mixed, [[3.0, 2.0, 1.0, 0.0], [0.3] * 4], [0.5, 0.8])
    alone = _mixed(mixed, [[3.0, 2.0, 1.0, 0.0]], [0.5])
    assert np.isfinite(got).all() and np.allclose(got, alone), (
        "The second source gives all candidates 0.3, so the first should decide alone; got "
        f"{np.round(got, 2)}. What is divided by?"
    )


def mix_check_callers(mixed, ns):
    columns = COLUMNS.copy()
    mixed(columns, np.array([0.5, 0.8]))
    assert (columns == COLUMNS).all(), (
        "The caller's array was changed: a second call with it would get other scores."
    )


def mix_wrong(ns):
    def as_it_was(columns, weights):
        columns -= columns.mean(axis=0)
        columns /= columns.std(axis=0)
        return weights @ columns

    def all_together(columns, weights):
        return weights @ ((columns - columns.mean()) / columns.std())

    def not_divided(columns, weights):
        return weights @ (columns - columns.mean(axis=1, keepdims=True))

    def by_zero(columns, weights):
        spread = columns.std(axis=1, keepdims=True)
        return weights @ ((columns - columns.mean(axis=1, keepdims=True)) / spread)

    def in_place(columns, weights):
        columns -= columns.mean(axis=1, keepdims=True)
        columns /= columns.std(axis=1, keepdims=True).clip(1e-6)
        return weights @ columns

    return {
        "Over what is the mean taken?": as_it_was,
        "nothing may change": all_together,
        "in thousandths": not_divided,
        "What is divided by?": by_zero,
        "The caller's array was changed": in_place,
    }


# --- 04-head --------------------------------------------------------------------------------------


def head_baseline(asked, passages, scores, rarity):
    return scores


def head_solution(asked, passages, scores, rarity):
    def points(passage):
        norm = 1.5 * (0.25 + 0.75 * len(passage) / 35)  # a passage has 35 words on average
        counts = {word: passage.count(word) for word in asked}
        return sum(rarity[word] * n / (n + norm) for word, n in counts.items())

    def standardised(values):
        return (values - values.mean()) / max(values.std(), 1e-9)

    best = [max((points(passage) for passage in page), default=0.0) for page in passages]
    return standardised(scores) + standardised(np.array(best))


@lru_cache
def _cases():
    """Each question of train and dev with its candidates and what ``rescore`` gets for them."""
    from course_utils.search import chunking, retrieval
    from course_utils.tasks import handbook

    pages = handbook.load_handbook(week=1)
    splits = [handbook.load_questions(split, "stress") for split in ("train", "dev")]
    questions = [q for split in splits for q in split if q.answerable]
    asked = retrieval.content_words([question.text for question in questions])
    found = retrieval.BM25Retriever(pages).search([question.text for question in questions], 100)
    holders = {}
    for words in retrieval.content_words([retrieval.title_and_text(page) for page in pages]):
        for word in set(words):
            holders[word] = holders.get(word, 0) + 1
    texts = {page.node_id: _passages(page, chunking.sentence_spans(page.text)) for page in pages}
    of_page = {page: retrieval.content_words(made) for page, made in texts.items()}
    cases = []
    for question, words, hits in zip(questions, asked, found, strict=True):
        counts = {word: holders.get(word, 0) for word in words}
        rarity = {
            w: float(np.log(1 + (len(pages) - n + 0.5) / (n + 0.5))) for w, n in counts.items()
        }
        passages = [of_page[hit.node.node_id] for hit in hits[:CANDIDATES]]
        cases.append((question, hits, words, passages, rarity))
    return cases


def _rarity(holders, total):
    return float(np.log(1 + (total - holders + 0.5) / (holders + 0.5)))


def _passages(page, sentences, size=300):
    """Title and sentences, as many as fit into ``size`` characters."""
    spans = []
    for start, end in sentences:
        if spans and end - spans[-1][0] <= size:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return [f"{page.metadata['title']}\n{page.text[start:end]}" for start, end in spans]


def head_score(rescore, ns):
    """Mean nDCG@10 over train and dev."""
    from course_utils.evaluate.metrics import retrieval_scores

    assert callable(rescore), "`rescore(asked, passages, scores, rarity)` must be a function."
    runs, questions = {}, []
    for question, hits, words, passages, rarity in _cases():
        scores = np.array([hit.get_score() for hit in hits[:CANDIDATES]])
        copies = [[list(passage) for passage in page] for page in passages]
        made = rescore(list(words), copies, scores.copy(), dict(rarity)) if hits else []
        try:
            new = np.asarray(made, dtype=float)
        except (TypeError, ValueError):
            new = np.array(np.nan)
        assert new.shape == scores.shape and np.isfinite(new).all(), (
            f"`rescore` must return a number for each of the {len(scores)} pages."
        )
        runs[question.id] = reordered(hits, CANDIDATES, new.tolist())
        questions.append(question)
    return retrieval_scores(runs, questions, ["ndcg_cut_10"])["ndcg_cut_10"].mean()


def head_wrong(ns):
    def order(asked, passages, scores, rarity):
        return sorted(range(len(scores)), key=lambda n: -scores[n])[:10]

    def upside_down(asked, passages, scores, rarity):
        return -scores

    def covers(asked, passages, scores, rarity):
        pages = [{word for passage in page for word in passage} for page in passages]
        return [len(set(asked) & words) for words in pages]

    return {
        "a number for each of the": order,
        "Yours scores": upside_down,
        "the baseline": covers,
    }
