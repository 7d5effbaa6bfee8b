"""Answer the ordered questions and get a decision; ``unsure`` decides nothing."""

from course_utils import decide
from course_utils.decision.deciding import decision_questions

answers = dict.fromkeys((question.id for question in decision_questions()), "no")
answers["changes"] = "yes"  # the facts change more than once a month
made = decide(answers)
print(f"{made.outcome}: {made.because}")
for doubt in made.doubts:
    print(f"Doubt: {doubt}")
for change in made.changes:
    print(f"{change.answer} to {change.question} would make it {change.outcome}.")
