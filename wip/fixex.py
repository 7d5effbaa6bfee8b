from pathlib import Path
import re
p=Path('/tmp/wt7/notebooks/exercises/08_common_mistakes.py'); t=p.read_text()
t=t.replace('enumerate(zip(before, other))]','enumerate(zip(before, other, strict=True))]')
a=t.index('def doctor_wrong(ns):'); b=t.index('# --- 08-stale')
t=t[:a]+'''def doctor_wrong(ns):
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


'''+t[b:]
t=t.replace('''    def all_wrong_is_old(answers, old, new):
        right, was, other = stale_solution(answers, old, new)
        return right, was + other, 0.0

    def of_the_given(answers, old, new):
        rows = [r for r in zip(answers, old, new, strict=True) if not r[0].refused]
        return stale_solution(*zip(*rows, strict=True))
''','''    def all_wrong_is_old(answers, old, new):
        right = [evaluation.is_correct(a, q) for a, q in zip(answers, new, strict=True)]
        return sum(right) / len(right), 1 - sum(right) / len(right), 0.0

    def of_the_given(answers, old, new):
        rows = [r for r in zip(answers, old, new, strict=True) if not r[0].refused]
        right = sum(evaluation.is_correct(a, q) > evaluation.is_correct(a, o) for a, o, q in rows)
        was = sum(evaluation.is_correct(a, o) > evaluation.is_correct(a, q) for a, o, q in rows)
        n = len(rows)
        return right / n, was / n, (n - right - was) / n
''')
t=t.replace('''def stale_wrong(ns):
    from course_utils import evaluation

''','''def stale_wrong(ns):
''')
t=t.replace('''        right = sum(evaluation.is_correct(a, q) for a, q in zip(answers, new, strict=True))
        pairs = zip(answers, old, new, strict=True)
        was = sum(evaluation.is_correct(a, o) and not evaluation.is_correct(a, q) for a, o, q in pairs)
''','''        rows = list(zip(answers, old, new, strict=True))
        right = sum(evaluation.is_correct(a, q) for a, _, q in rows)
        was = sum(evaluation.is_correct(a, o) > evaluation.is_correct(a, q) for a, o, q in rows)
''')
for f in ('new_wins','all_wrong_is_old','of_the_given'):
    t=t.replace(f'    def {f}(answers, old, new):\n',f'    def {f}(answers, old, new):\n        from course_utils import evaluation\n\n')
p.write_text(t)
p=Path('/tmp/wt7/notebooks/exercises/07_hybrid_pattern.py'); t=p.read_text()
a=t.index('def lessons_wrong(ns):'); b=t.index('# --- 07-citator')
t=t[:a]+'''def lessons_wrong(ns):
    def always_right(question, shown):
        return question.answer

    def open_too(question, shown):
        from course_utils import tasks

        ids = [case.id for case in shown]
        return question.answer if question.case in ids else tasks.unfounded(question)

    def never_right(question, shown):
        from course_utils import tasks

        return tasks.unfounded(question)

    def overruled_too(question, shown):
        from course_utils import tasks

        ids = {each for case in shown for each in (case.id, case.overruled_by)}
        found = not question.case or question.case in ids
        return question.answer if found else tasks.unfounded(question)

    return {
        "cite what it cannot see": always_right,
        "none is missing": open_too,
        "is the last of those shown": never_right,
        "does not decide any more": overruled_too,
    }


'''+t[b:]
p.write_text(t)
