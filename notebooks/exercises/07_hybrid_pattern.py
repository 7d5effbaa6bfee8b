"""Solutions and checks of notebook 07."""

from functools import lru_cache

NOTEBOOK = "07_hybrid_pattern"


def names():
    """What the exercises read: the case collection, and a plain search of it."""
    from course_utils.search import retrieval
    from course_utils.tasks import law

    return {
        "learn": law.load_case_questions("train"),
        "known": {case.id: case for case in law.load_cases()},
        "pages": retrieval.BM25Retriever(law.case_documents()),
        "law": law,
    }


# --- 07-tokens ------------------------------------------------------------------------------------


@lru_cache
def _words_an_answer(together):
    from course_utils.tasks import law

    questions = law.load_case_questions("train")
    ranked = law.find_cases([q.question for q in questions], law.load_cases())
    chats = law.law_lessons(questions, ranked, together=together)
    words = sum(len(message["content"].split()) for chat in chats for message in chat)
    return words / len(questions)


def tokens_solution(ns):
    share = _words_an_answer(12) / _words_an_answer(1)
    key = "twelfth" if share < 1 / 3 else "half" if share < 2 / 3 else "same"
    return key, f"Counted now: {share:.0%} of the words of one question a context."


# --- 07-lessons -----------------------------------------------------------------------------------


def lessons_solution(question, shown):
    from course_utils.tasks import law

    if not question.case or question.case in [case.id for case in shown]:
        return question.answer
    return law.no_case_answer(question)


def _question(ns, kind):
    """The first train question that is open, plain, or on a case that overruled another."""
    for question in ns.learn:
        case = ns.known.get(question.case)
        made = "open" if case is None else "overruled" if case.overrules else "plain"
        if made == kind:
            return question
    raise AssertionError(kind)


def _others(ns, question, n):
    case = ns.known.get(question.case)
    apart = {question.case, case.overrules if case else ""}
    return [each for id, each in ns.known.items() if id not in apart][:n]


def lessons_check(lesson_answer, ns):
    """The case is there."""
    question = _question(ns, "plain")
    shown = [*_others(ns, question, 4), ns.known[question.case]]
    assert lesson_answer(question, shown) == question.answer, (
        "The controlling case is the last of those shown, so the right answer is to be learned."
    )


def lessons_check_missing(lesson_answer, ns):
    from course_utils.tasks.law import no_case_answer

    question = _question(ns, "plain")
    assert lesson_answer(question, _others(ns, question, 5)) == no_case_answer(question), (
        "The controlling case is not among those shown: with its answer, the model would learn to "
        "cite what it cannot see."
    )


def lessons_check_open(lesson_answer, ns):
    question = _question(ns, "open")
    assert lesson_answer(question, _others(ns, question, 5)) == question.answer, (
        "No case decides this question, so none is missing: its own answer says why it is open."
    )


def lessons_check_old(lesson_answer, ns):
    from course_utils.tasks.law import no_case_answer

    question = _question(ns, "overruled")
    old = ns.known[ns.known[question.case].overrules]
    shown = [old, *_others(ns, question, 4)]
    assert lesson_answer(question, shown) == no_case_answer(question), (
        "Only the overruled case is shown, on the same kind of facts; it does not decide any more."
    )


def lessons_wrong(ns):
    def always_right(question, shown):
        return question.answer

    def open_too(question, shown):
        from course_utils.tasks import law

        ids = [case.id for case in shown]
        return question.answer if question.case in ids else law.no_case_answer(question)

    def never_right(question, shown):
        from course_utils.tasks import law

        return law.no_case_answer(question)

    def overruled_too(question, shown):
        from course_utils.tasks import law

        ids = {each for case in shown for each in (case.id, case.overruled_by)}
        found = not question.case or question.case in ids
        return question.answer if found else law.no_case_answer(question)

    return {
        "cite what it cannot see": always_right,
        "none is missing": open_too,
        "is the last of those shown": never_right,
        "does not decide any more": overruled_too,
    }


# --- 07-citator -----------------------------------------------------------------------------------


def citator_solution(ranking, overruled_by, k):
    made = []
    for id in ranking:
        while id in overruled_by:
            id = overruled_by[id]
        if id not in made:
            made.append(id)
    return made[:k]


def _follows(follow, ranking, overruled_by, k, right, said):
    got = follow(list(ranking), dict(overruled_by), k)
    assert isinstance(got, list | tuple) and list(got) == list(right), (
        f"From `{list(ranking)}` with `{overruled_by}` and k = {k} comes `{list(right)}`; got "
        f"`{got}`. {said}"
    )


def citator_check(follow, ns):
    """One case replaced in its place."""
    _follows(follow, "abc", {"b": "x"}, 3, "axc", "The new case takes the old one's place.")


def citator_check_chain(follow, ns):
    later = {"a": "x", "x": "y", "y": "z"}
    _follows(follow, "ab", later, 2, "zb", "The case that overruled may be overruled itself.")


def citator_check_once(follow, ns):
    _follows(follow, "abxc", {"b": "x"}, 4, "axc", "A case stands once, in its best place.")
    _follows(follow, "xbac", {"b": "x"}, 4, "xac", "A case stands once, in its best place.")


def citator_check_last(follow, ns):
    _follows(follow, "abcd", {"a": "x", "b": "x"}, 3, "xcd", "There are k cases left: cut last.")


def citator_check_same(follow, ns):
    ranking = ["a", "b"]
    follow(ranking, {"a": "x"}, 2)
    assert ranking == ["a", "b"], "The ranking that was given has been changed; make a new one."


def citator_wrong(ns):
    def dropped(ranking, overruled_by, k):
        return [id for id in ranking if id not in overruled_by][:k]

    def one_step(ranking, overruled_by, k):
        return list(dict.fromkeys(overruled_by.get(id, id) for id in ranking))[:k]

    def twice(ranking, overruled_by, k):
        made = []
        for id in ranking:
            while id in overruled_by:
                id = overruled_by[id]
            made.append(id)
        return made[:k]

    def cut_first(ranking, overruled_by, k):
        made = []
        for id in ranking[:k]:
            while id in overruled_by:
                id = overruled_by[id]
            made += [id] if id not in made else []
        return made

    def in_place(ranking, overruled_by, k):
        for place, id in enumerate(ranking):
            while id in overruled_by:
                id = overruled_by[id]
            ranking[place] = id
        return list(dict.fromkeys(ranking))[:k]

    return {
        "takes the old one's place": dropped,
        "may be overruled itself": one_step,
        "stands once": twice,
        "cut last": cut_first,
        "has been changed": in_place,
    }


# --- 07-overruled ---------------------------------------------------------------------------------


def _places(ns):
    """For each train question on a ruling that replaced another: places of the new and the old."""
    asked = [q for q in ns.learn if q.case and ns.known[q.case].overrules]
    found = ns.pages.search([q.question for q in asked], len(ns.known))
    made = []
    for question, hits in zip(asked, found, strict=True):
        place = {hit.node_id: rank for rank, hit in enumerate(hits)}
        pair = question.case, ns.known[question.case].overrules
        made.append([place.get(id, len(ns.known)) for id in pair])
    return made


def overruled_solution(ns):
    places = _places(ns)
    return sum(old < new for new, old in places) / len(places)


def overruled_wrong(ns):
    places = _places(ns)
    return {
        "That is the share in which the new case comes first.": (
            sum(new < old for new, old in places) / len(places)
        ),
        "That is a share of all train questions; most of them have no old case.": (
            sum(old < new for new, old in places) / len(ns.learn)
        ),
        "That counts only questions with the old case in the very first place.": (
            sum(old == 0 for new, old in places) / len(places)
        ),
    }


# --- 07-honest ------------------------------------------------------------------------------------

ASKED, WITHOUT, FOUND = 160, 24, 57


def honest_solution(ns):
    return WITHOUT / (ASKED - FOUND)


def honest_wrong(ns):
    return {
        "It makes no mistake, and still it refuses questions that the wiki does answer.": 1.0,
        "That is the precision of refusing everything.": WITHOUT / ASKED,
        "57 are answered. How many are refused?": WITHOUT / (WITHOUT + FOUND),
    }
