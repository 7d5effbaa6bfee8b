"""Solutions and checks of notebook 03."""

import re
import time

import numpy as np

NOTEBOOK = "03_hybrid_retrieval"


def names():
    """What the exercises read: the wiki searched by words, and what the last run measured."""
    from course_utils.evaluate import intervals, metrics
    from course_utils.grade.exercises import stored_output
    from course_utils.lab import ledger
    from course_utils.search import fusion, retrieval
    from course_utils.tasks import handbook

    measured = {c["id"]: c for c in ledger.load_ledger()[NOTEBOOK]["claims"]}
    gains = {("BM25", "MiniLM"): "S29.identifier", ("fused", "BM25"): "S29.loses_identifier"}

    def by_kind(after, before):
        claim = measured[gains[after, before]]
        return {"identifier": intervals.Estimate(claim["value"], *claim["interval"], claim["n"])}

    printed = printed_ranks(stored_output(NOTEBOOK, "cell-45"))  # by fused, words, meaning
    pages = handbook.load_handbook(week=1)
    dev = [q for q in handbook.load_questions("dev", "stress") if q.answerable]
    page_words = retrieval.content_words([retrieval.title_and_text(page) for page in pages])
    return {
        "pages": pages,
        "dev": dev,
        "page_words": page_words,
        "lengths": np.array([len(words) for words in page_words]),
        "by_words": retrieval.BM25Retriever(pages),
        "by_kind": by_kind,
        "by_meaning": "MiniLM",
        "ranks": lambda arm, text: printed[2 if arm == "MiniLM" else 1],
        "examples": {"identifier": next(q for q in dev if q.id == "devices-04")},
        "codes": sorted({code for q in dev for code in re.findall("[A-Z]{3}-[0-9]+", q.text)}),
        "estimate": intervals.estimate,
        "fusion": fusion,
        "metrics": metrics,
        "paired_difference": intervals.paired_difference,
        "retrieval": retrieval,
        "np": np,
        "re": re,
    }


def printed_ranks(text):
    """The lines "page | fused 1 | words 18 | meaning 3" as three dictionaries."""
    places = [{}, {}, {}]
    for line in text.splitlines():
        page, *ranks = line.split(" | ")
        for place, rank in zip(places, ranks, strict=True):
            if not rank.endswith("-"):
                place[page] = int(rank.split()[1])
    return places


# --- 03-length ------------------------------------------------------------------------------------


def length_solution(ns):
    import bm25s

    from course_utils.evaluate.intervals import paired_difference
    from course_utils.evaluate.metrics import retrieval_scores
    from course_utils.search.retrieval import content_words

    found = {}
    for b in (0.75, 0.0):
        index = bm25s.BM25(k1=1.5, b=b)
        index.index(ns.page_words, show_progress=False)
        runs = {}
        for question in ns.dev:
            scores = index.get_scores(content_words([question.text])[0])
            best = np.argsort(-scores, kind="stable")[:100]
            runs[question.id] = {ns.pages[place].node_id: float(scores[place]) for place in best}
        found[b] = retrieval_scores(runs, ns.dev, ["ndcg_cut_10"])["ndcg_cut_10"]
    gain = paired_difference(found[0.0], found[0.75])
    key = "rises" if gain.value > 0.01 else "falls" if gain.value < -0.01 else "same"
    return (
        key,
        f"Measured now: {found[0.75].mean():.3f} with b = 0.75; with b = 0 the gain is {gain}.",
    )


# --- 03-rrf ---------------------------------------------------------------------------------------


def rrf_solution(rankings, weights, k=60):
    points = {}
    for ranking, weight in zip(rankings, weights, strict=True):
        for rank, page in enumerate(ranking if weight else [], start=1):
            points[page] = points.get(page, 0) + weight / (k + rank)
    return sorted(points, key=lambda page: (-points[page], page))


def rrf_check(weighted_rrf, ns):
    """Equal weights."""
    got = list(weighted_rrf([["a", "b", "c"], ["b", "d"]], [1, 1]))
    assert got == ["b", "a", "d", "c"], (
        "Of a, b, c and b, d with equal weights, b is in both and comes first, then a, d, c; "
        f"got `{got}`."
    )


def rrf_check_weights(weighted_rrf, ns):
    got = list(weighted_rrf([["a", "b"], ["b", "a"]], [0.1, 0.9]))
    assert got == ["b", "a"], (
        f"The second ranking has most of the weights, so b leads; got `{got}`."
    )
    got = list(weighted_rrf([["z", "b"], ["b", "z"]], [0.9, 0.1]))
    assert got == ["z", "b"], f"The first ranking has most of the weights, so z leads; got `{got}`."


def rrf_check_ranks(weighted_rrf, ns):
    got = list(weighted_rrf([["x", "y", "c"], ["v", "w", "c"]], [1, 1.2], k=1))
    assert got[:3] == ["v", "c", "x"], (
        "With k = 1 and weights 1 and 1.2, a page third in both has 1/4 + 1.2/4 points, more than "
        f"the 1/2 of the first ranking's first; got `{got}`. Do your ranks start at 1?"
    )


def rrf_check_ties(weighted_rrf, ns):
    got = list(weighted_rrf([["m", "q"], ["a", "p"]], [1, 1]))
    assert got == ["a", "m", "p", "q"], f"Equal points go by the ids, so a before m; got `{got}`."


def rrf_check_zero(weighted_rrf, ns):
    got = list(weighted_rrf([["a"], ["hidden"]], [1, 0]))
    assert got == ["a"], f"A ranking of weight 0 is left out with its pages; got `{got}`."


def rrf_wrong(ns):
    def from_zero(rankings, weights, k=60):
        points = {}
        for ranking, weight in zip(rankings, weights, strict=True):
            for rank, page in enumerate(ranking if weight else []):
                points[page] = points.get(page, 0) + weight / (k + rank)
        return sorted(points, key=lambda page: (-points[page], page))

    def unweighted(rankings, weights, k=60):
        points = {}
        for ranking in rankings:
            for rank, page in enumerate(ranking, start=1):
                points[page] = points.get(page, 0) + 1 / (k + rank)
        return sorted(points, key=lambda page: (-points[page], page))

    def ties_as_they_come(rankings, weights, k=60):
        points = {}
        for ranking, weight in zip(rankings, weights, strict=True):
            for rank, page in enumerate(ranking if weight else [], start=1):
                points[page] = points.get(page, 0) + weight / (k + rank)
        return sorted(points, key=lambda page: -points[page])

    def zero_kept(rankings, weights, k=60):
        points = {}
        for ranking, weight in zip(rankings, weights, strict=True):
            for rank, page in enumerate(ranking, start=1):
                points[page] = points.get(page, 0) + weight / (k + rank)
        return sorted(points, key=lambda page: (-points[page], page))

    def constant(rankings, weights, k=60):
        return list(rankings[0])

    return {
        "start at 1": from_zero,
        "most of the weights": unweighted,
        "go by the ids": ties_as_they_come,
        "left out with its pages": zero_kept,
        "is in both": constant,
    }


# --- 03-largest-k ---------------------------------------------------------------------------------


def _largest_k(ns, begin):
    text = ns.examples["identifier"].text
    words, meaning = (ns.ranks(arm, text) for arm in (ns.by_words, ns.by_meaning))
    sure, liked = words["dock-wifi"], (words["firmware-rollback"], meaning["firmware-rollback"])
    shift = begin - 1
    wins = [
        k
        for k in range(1, 1000)
        if 1 / (k + sure + shift) > sum(1 / (k + rank + shift) for rank in liked)
    ]
    return max(wins)


def largest_k_solution(ns):
    return _largest_k(ns, 1)


def largest_k_wrong(ns):
    return {
        "At this k it is already behind. (Do your ranks start at 1?)": _largest_k(ns, 0),
        "60 is the default, at which `dock-wifi` is far behind.": 60,
    }


# --- 03-codes -------------------------------------------------------------------------------------


def codes_solution(ns):
    meaning = ns.by_kind("BM25", "MiniLM")["identifier"]
    fused = ns.by_kind("fused", "BM25")["identifier"]
    key = "minilm" if meaning.high < 0 else "fused" if fused.value > 0 else "bm25"
    return key, f"Identifiers: BM25 minus MiniLM {meaning}; plain fusion minus BM25 {fused}."


# --- 03-leaks -------------------------------------------------------------------------------------


def leaks_solution(ns):
    from llama_index.core.vector_stores import MetadataFilter, MetadataFilters

    from course_utils.search.fusion import reciprocal_rank_fusion
    from course_utils.search.retrieval import content_words

    only = MetadataFilters(filters=[MetadataFilter(key="space", value="policies")])
    space = {node.node_id: node.metadata["space"] for node in ns.by_words.nodes}
    everywhere, before = (ns.by_words.search(ns.codes, 10, chosen) for chosen in (None, only))
    pairs = zip(before, everywhere, strict=True)
    mask = np.array([float(node.metadata["space"] == "policies") for node in ns.by_words.nodes])
    words = content_words(ns.codes)
    places = ns.by_words.index.retrieve(words, k=10, weight_mask=mask, show_progress=False)[0]
    results = {
        "after": [h.node_id for hits in everywhere for h in hits if space[h.node_id] == "policies"],
        "mask": [ns.by_words.nodes[place].node_id for row in places for place in row],
        "before": [hit.node_id for hits in before for hit in hits],
        "half": [hit.node_id for pair in pairs for hit in reciprocal_rank_fusion(pair)[:10]],
    }
    return {way for way, found in results.items() if any(space[p] != "policies" for p in found)}


# --- 03-fast --------------------------------------------------------------------------------------


def fast_baseline(page_words):
    lengths = np.array([len(words) for words in page_words])

    def scores(asked):
        total = np.zeros(len(page_words))
        for word in asked:
            holders = sum(word in words for words in page_words)
            rarity = np.log(1 + (len(page_words) - holders + 0.5) / (holders + 0.5))
            counts = np.array([words.count(word) for words in page_words])
            total += rarity * counts / (counts + 1.5 * (0.25 + 0.75 * lengths / lengths.mean()))
        return total

    return scores


def fast_solution(page_words):
    from collections import Counter

    lengths = np.array([len(words) for words in page_words])
    held = {}
    for page, words in enumerate(page_words):
        for word, count in Counter(words).items():
            held.setdefault(word, []).append((page, count))
    index = {}
    for word, pairs in held.items():
        pages, counts = np.array(pairs).T
        rarity = np.log(1 + (len(page_words) - len(pages) + 0.5) / (len(pages) + 0.5))
        norm = 1.5 * (0.25 + 0.75 * lengths[pages] / lengths.mean())
        index[word] = pages, rarity * counts / (counts + norm)

    def scores(asked):
        total = np.zeros(len(page_words))
        for word in asked:
            if word in index:
                pages, points = index[word]
                total[pages] += points
        return total

    return scores


def fast_score(fast_bm25, ns):
    """log10 of the speed-up over the baseline; less than 1.6 times counts as none."""
    from course_utils.search.retrieval import content_words

    slow, fast = fast_baseline(ns.page_words), fast_bm25([list(words) for words in ns.page_words])
    assert callable(fast), "`fast_bm25(page_words)` must return a function."
    asked = content_words([question.text for question in ns.dev[:4]])
    asked.append([*asked[0][:2], "never-heard-of"])
    for words in asked:
        got, expected = np.asarray(fast(list(words)), dtype=float), slow(words)
        assert got.shape == expected.shape, (
            f"A question gives one score for each of the {len(expected)} pages; got {got.shape}."
        )
        assert got.any(), "It gives no page any points."
        assert np.allclose(got, expected, atol=1e-6), (
            "It does not give the scores that `bm25` gives. A word asked twice counts twice, and a "
            "word on no page counts nothing."
        )
    seconds = [min(_seconds(each, asked) for _ in range(2)) for each in (slow, fast)]
    gain = float(np.log10(seconds[0] / max(seconds[1], 1e-9)))
    return min(gain, 1.0) if gain > 0.2 else 0.0


def _seconds(scores, asked):
    began = time.perf_counter()
    for words in asked:
        scores(words)
    return time.perf_counter() - began


def fast_wrong(ns):
    def zeros(page_words):
        return lambda asked: np.zeros(len(page_words))

    def not_a_function(page_words):
        return np.zeros(len(page_words))

    def once_each(page_words):
        lengths = np.array([len(words) for words in page_words])
        sets = [set(words) for words in page_words]

        def scores(asked):
            return np.array([sum(word in words for word in asked) for words in sets]) / lengths

        return scores

    return {
        "no page any points": zeros,
        "must return a function": not_a_function,
        "A word asked twice": once_each,
    }


# --- 03-follow-up ---------------------------------------------------------------------------------


def follow_up_baseline(before, said, text):
    return text


def follow_up_solution(before, said, text):
    return f"{before} {text}"


def follow_up_score(query, ns):
    """Mean nDCG@10 of BM25 over the follow-up questions of dev."""
    from dataclasses import replace

    from course_utils import evaluate_retrieval
    from course_utils.tasks.handbook import load_follow_ups

    assert callable(query), "`query(before, said, text)` must be a function."
    asked = []
    for question, chat in load_follow_ups("dev"):
        found = query(*(message["content"] for message in chat))
        assert isinstance(found, str), f"It must return a text, not `{repr(found)[:60]}`."
        assert found.strip(), f"For {question.text!r} it returns nothing to search for."
        asked.append(replace(question, text=found))
    return evaluate_retrieval(ns.by_words, asked)["ndcg_cut_10"].mean()


def follow_up_wrong(ns):
    def pieces(before, said, text):
        return [before, text]

    def names_only(before, said, text):
        return " ".join(word for word in before.split() if word.isupper())

    def answer_and_text(before, said, text):
        return f"{said} {text}"

    return {
        "must return a text": pieces,
        "nothing to search for": names_only,
        "the baseline": answer_and_text,
    }
