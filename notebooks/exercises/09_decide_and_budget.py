"""Solutions and checks of notebook 09."""

from dataclasses import replace


def names():
    """What the exercises read: the rules and the example inputs of the cost model."""
    from course_utils.decision import costs, deciding

    return {
        "costs": costs,
        "decide": deciding.decide,
        "deciding": deciding,
        "inputs": costs.read_inputs(),
    }


# --- 09-demo --------------------------------------------------------------------------------------


def demo_solution(ns):
    from course_utils.decision.deciding import decide, decision_questions

    said = dict.fromkeys((question.id for question in decision_questions()), "no")
    said |= {"limits": "unsure", "changes": "yes", "cite": "yes", "knowledge": "yes", "form": "yes"}
    made = decide(said)
    keys = {"hybrid": "hybrid", "RAG": "rag", "fine-tuning": "tuning", "prompt first": "prompt"}
    return keys[made.outcome], "The doubts: " + " ".join(made.doubts)


# --- 09-share -------------------------------------------------------------------------------------


def share_solution(ns):
    from course_utils.decision.costs import approach_costs

    lora = approach_costs(ns.inputs)["LoRA"]
    runs = 1 + ns.inputs.retrainings_per_year * ns.inputs.months / 12
    spent = runs * ns.inputs.training_tokens * ns.inputs.training_price / 1e6
    share = spent / lora.total(ns.inputs.queries_per_month, ns.inputs.months)
    key = "most" if share > 0.5 else "some" if share > 0.01 else "hardly"
    return key, f"Computed now: {spent:,.2f} dollars, a share of {share:.2%}."


# --- 09-same-price --------------------------------------------------------------------------------


def _same_price(ns, **changes):
    from course_utils.decision.costs import approach_costs

    i = ns.inputs
    plain = {"tuned_input_price": i.input_price, "tuned_output_price": i.output_price}
    return approach_costs(replace(i, **(plain | changes)))


def same_price_solution(ns):
    from course_utils.decision.costs import break_even

    made = _same_price(ns)
    return break_even(made["prompting"], made["LoRA"], ns.inputs.months) / 1000


def same_price_wrong(ns):
    from course_utils.decision.costs import approach_costs, break_even

    made, as_it_was = _same_price(ns), approach_costs(ns.inputs)
    both = made["prompting"], made["LoRA"]
    setup_only = (both[1].setup - both[0].setup) / (both[0].per_query - both[1].per_query)
    was = break_even(as_it_was["prompting"], as_it_was["LoRA"], ns.inputs.months)
    return {
        "That is the break-even at the tuned model's own, higher price.": was / 1000,
        "That is the number for the whole time. How many are that a month?": (
            break_even(*both, ns.inputs.months) * ns.inputs.months / 1000
        ),
        "That pays for the set-up alone. Updates, upkeep and rent go on every month.": (
            setup_only / ns.inputs.months / 1000
        ),
    }


# --- 09-turn --------------------------------------------------------------------------------------


def turn_solution(ns):
    from course_utils.decision.costs import tipping_points

    listed = {"input-price", "training-price", "queries-per-month"}
    listed |= {"lora-hours", "rules-tokens", "months"}
    tips = tipping_points(ns.inputs, ("prompting", "LoRA"))
    return {tip.input.replace("_", "-") for tip in tips} & listed


# --- 09-pays-from ---------------------------------------------------------------------------------


def pays_from_solution(one, other):
    extra, saved = other[0] - one[0], one[1] - other[1]
    if saved < 0 or (saved == 0 and extra >= 0):
        return None
    return 0 if extra < 0 else int(extra // saved) + 1


def pays_from_check(pays_from, ns):
    """The plain case."""
    for one, other, crossing in (((0, 3), (11, 1), 5.5), ((5, 4), (26, 2), 10.5)):
        got = pays_from(one, other)
        assert isinstance(got, int | float) and crossing - 1 < got <= crossing + 1, (
            f"From {one} to {other} the two cost the same at {crossing} queries; got `{got}`."
        )


def pays_from_check_whole(pays_from, ns):
    got = pays_from((0, 3), (11, 1))
    assert got == 6 and isinstance(got, int), (
        f"Queries are whole, and from 6 on it costs less; got `{got}`."
    )


def pays_from_check_never(pays_from, ns):
    for one, other in (((0, 1), (10, 2)), ((0, 1), (10, 1)), ((5, 1), (5, 1))):
        got = pays_from(one, other)
        assert got is None, f"From {one} to {other} it is never less; got `{got}`."


def pays_from_check_equal(pays_from, ns):
    got = pays_from((0, 2), (10, 1))
    assert got == 11, f"At 10 queries both cost 20, and equal is not less: 11, got `{got}`."


def pays_from_check_at_first(pays_from, ns):
    got = pays_from((10, 1), (0, 2))
    assert got is None, f"Cheaper at first and more expensive later is not for good; got `{got}`."
    for one, other in (((10, 2), (0, 1)), ((10, 1), (0, 1))):
        got = pays_from(one, other)
        assert got == 0, f"From {one} to {other} it is less from the start, so 0; got `{got}`."


def pays_from_wrong(ns):
    def equal_counts(one, other):
        extra, saved = other[0] - one[0], one[1] - other[1]
        if saved < 0 or (saved == 0 and extra >= 0):
            return None
        return 0 if extra < 0 else -int(-extra // saved)

    def fraction(one, other):
        return (other[0] - one[0]) / (one[1] - other[1]) + 1

    def one_too_many(one, other):
        return int((other[0] - one[0]) / (one[1] - other[1])) + 2

    def at_first(one, other):
        extra, saved = other[0] - one[0], one[1] - other[1]
        if extra < 0:
            return 0
        return int(extra // saved) + 1 if saved > 0 else None

    def no_never(one, other):
        extra, saved = other[0] - one[0], one[1] - other[1]
        return int(extra // (saved or 1)) + 1

    return {
        "equal is not less": equal_counts,
        "Queries are whole": fraction,
        "cost the same at 5.5 queries": one_too_many,
        "not for good": at_first,
        "it is never less": no_never,
    }
