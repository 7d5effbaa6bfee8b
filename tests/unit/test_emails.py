"""Each rule of the e-mail style guide: texts that keep it, and texts that break it alone."""

from __future__ import annotations

import pytest

from course_utils.tasks import email_rules

BRIEF = {"customer": "Ms Okafor", "order": "CV-482913", "agent": "Amara"}
GOOD = """Subject: Crib 40 now arrives on 10 March

Hello Ms Okafor,

Your crib for order CV-482913 arrives on 10 March, two days later than planned. The lorry broke \
down at Torvale. The gel packs hold the cold until 11 March.

Next step: We call the ward by 9 March.

Kind regards,
Amara
Corvane Customer Care
"""
SUBJECT, _, _ = GOOD.partition("\n")
STEP = "Next step: We call the ward by 9 March."
LORRY = "The lorry broke down at Torvale."

# rule, what is replaced in the good e-mail, by what
BROKEN = [
    ("subject", SUBJECT, "Crib 40 now arrives on 10 March"),
    ("subject", SUBJECT, "Subject: Crib 40 now arrives on 10 March."),
    ("subject", SUBJECT, "Subject: Delay"),
    ("greeting", "Hello Ms Okafor,", "Hello Mrs Okafor,"),
    ("greeting", "Hello Ms Okafor,", "Dear Ms Okafor,"),
    ("greeting", "Hello Ms Okafor,", "Here is your e-mail.\n\nHello Ms Okafor,"),
    ("greeting", "Hello Ms Okafor,\n", "Hello Ms Okafor,"),
    ("greeting", f"{SUBJECT}\n", SUBJECT),
    ("news first", "Your crib for order", "The crib for order"),
    ("news first", "Your crib for order", "A crib for order"),
    ("order", "for order CV-482913", "for order CV-482931"),
    ("order", "for order CV-482913", "for your order"),
    ("order", LORRY, "The lorry of order CV-482913 broke down."),
    ("length", LORRY, "It broke. It stood. It waited. It left."),
    ("length", " The lorry", "\n\nThe lorry"),
    ("length", f", two days later than planned. {LORRY} The gel", ", as the gel"),
    ("next step", STEP, "Next step: We call the ward soon."),
    ("next step", STEP, "Next step: We call the ward. You answer by 9 March."),
    ("next step", STEP, f"{STEP}\n{STEP}"),
    ("next step", STEP, f"{STEP}\n\nThank you for your patience."),
    ("sign-off", "Kind regards,", "Best regards,"),
    ("sign-off", "\nAmara\n", "\nJonas\n"),
    ("sign-off", "Customer Care", "Customer Care\n\nP.S. We like cribs."),
    ("short sentences", LORRY, f"The lorry {'slowly ' * 18}stopped."),
    ("short sentences", STEP, f"Next step: We {'quickly ' * 18}call by 9 March."),
    *[
        ("dates", "11 March", wrong)
        for wrong in [
            "14/03", "14/3/2026", "14.03", "14.03.2026", "14-03", "2026-03-14", "the 14th",
            "14 Mar", "Mar 14", "14 Sept", "March 14", "March the tenth", "the tenth of March",
            "the 14 of March", "11 March 2026", "a day in 2026",
        ]
    ],
    ("dates", "until 11 March", "well on 14.3"),
    *[
        ("times", "until 11 March", wrong)
        for wrong in [
            "until 3pm", "until 3 PM", "until 9 a.m. sharp", "until 3 o'clock", "until 9:30",
            "until 3 in the afternoon", "until three in the afternoon", "until noon",
            "until midnight", "until half past nine", "at 9.30", "until 16.30",
        ]
    ],
    *[
        ("units", LORRY, f"It costs {wrong} now.")
        for wrong in [
            "€45.00", "45 euros", "forty euros", "45.00 EUR", "EUR 45", "EUR45.00", "EUR 45.0",
            "eur 45.00", "£45", "$45",
        ]
    ],
    *[
        ("units", LORRY, f"It was {wrong} there.")
        for wrong in ["8°C", "8 ° C", "8C", "8 C", "8 degrees", "8 Celsius", "46 °F"]
    ],
    *[
        ("our words", LORRY, wrong)
        for wrong in [
            "The box is closed.", "Two Packages wait.", "We pick up the crib.",
            "We picked the crib up.", "We pick it up.", "A pick-up is planned.",
        ]
    ],
    ("we", LORRY, "I saw the lorry at Torvale."),
    ("we", LORRY, "Please tell me about it."),
    ("calm", LORRY, "The lorry broke down at Torvale!"),
    ("calm", "on 10 March\n", "on 10 March!\n"),
    *[
        ("no padding", LORRY, wrong)
        for wrong in [
            "Unfortunately the lorry broke down.", "We apologise.", "We apologized.",
            "We apologised.", "We are apologising.", "Please be advised of it.",
            "We sent it asap.", "It is a valued crib.",
        ]
    ],
    *[
        ("no contractions", LORRY, wrong)
        for wrong in [
            "It's at Torvale.", "We’ll repair it.", "It didn't move.", "Let's wait.",
            "He's there.", "She's there.", "Who's there is known.",
        ]
    ],
]  # fmt: skip
# rule, a sentence that keeps it although it looks a little like one that does not
KEPT = [
    ("subject", "The subject is fine."),
    ("greeting", "Hello is what the driver said."),
    ("news first", "It is not Your first crib."),
    ("order", "The order is safe."),
    ("length", "It weighs 1.8 kg, in a bag of 2.5 litres."),
    ("next step", "The next stop is Torvale."),
    ("sign-off", "The driver sends kind regards."),
    ("short sentences", f"The lorry {'slowly ' * 17}stopped."),
    *[
        ("dates", sentence)
        for sentence in [
            "It stood at 8.5 °C.", "The door is 1.8 metres wide.", "You get 12.5% back.",
            "We answer 24/7.", "It is in Building 2045.", "It came on 8 March 09:30.",
            "In May 40 cribs were lent.", "It rose by 1.5 °C.", "It stands on the 2nd floor.",
            "We send 4-6 cribs.", "It fell from 12.5 to 8.2 °C.", "The fee is EUR 14.03.",
            "Lantern L3-04421 is on.",
        ]
    ],
    ("times", "It came at 09:30 in the morning."),
    ("times", "It came in the afternoon, at 8.5 °C."),
    *[
        ("units", sentence)
        for sentence in [
            "It is on ward Neurology.", "The Institut Pasteur waits.", "You paid it (EUR 45.00).",
            "The fee is EUR 45.00: nothing more.", "The fee is EUR 1,245.00.",
            "It stays between 2 °C and 8 °C.", "It is at dock 4C.", "It was -20 °C.",
        ]
    ],
    ("our words", "Please pick a day and look up the code."),
    ("our words", "It is in the mailbox."),
    ("we", "We saw it in May."),
    ("calm", "We stay calm."),
    ("no padding", "The tissue is safe."),
    ("no contractions", "The customer's crib and Ana O'Reilly's lantern are safe."),
]  # fmt: skip


def broken_rules(text: str) -> list[str]:
    return [name for name, kept in email_rules.check_email(text, BRIEF).items() if not kept]


def test_the_good_email_keeps_every_rule() -> None:
    assert broken_rules(GOOD) == []
    assert broken_rules(GOOD.replace("\n", "\r\n")) == []


@pytest.mark.parametrize(("rule", "old", "new"), BROKEN)
def test_a_broken_rule_is_found_and_no_other(rule: str, old: str, new: str) -> None:
    assert GOOD.count(old) >= 1
    assert broken_rules(GOOD.replace(old, new, 1)) == [rule]


@pytest.mark.parametrize(("rule", "sentence"), KEPT)
def test_a_look_alike_keeps_the_rule(rule: str, sentence: str) -> None:
    assert rule in email_rules.EMAIL_RULES
    assert broken_rules(GOOD.replace(LORRY, sentence)) == []


def test_every_rule_has_its_examples() -> None:
    assert {rule for rule, *_ in KEPT} == set(email_rules.EMAIL_RULES)
    counts = [sum(rule == name for rule, *_ in BROKEN) for name in email_rules.EMAIL_RULES]
    assert min(counts) >= 2


@pytest.mark.parametrize(
    "text", ["", "\n\n", "Subject:", "Hello Ms Okafor,", "Kind regards,", "{}"]
)
def test_no_text_is_too_broken_to_check(text: str) -> None:
    assert not all(email_rules.check_email(text, BRIEF).values())


def test_a_brief_without_its_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="'agent'"):
        email_rules.check_email(GOOD, {"customer": "Ms Okafor", "order": "CV-482913"})


def test_a_brief_is_read_line_by_line() -> None:
    brief = "customer: Ms Okafor\nfacts: lid at 09:30: open; 4C\n"
    assert email_rules.parse_brief(brief) == {
        "customer": "Ms Okafor",
        "facts": "lid at 09:30: open; 4C",
    }


@pytest.mark.parametrize(
    ("fact", "text", "stands"),
    [
        ("10 March", "on 10\nmarch", True),
        ("5 April", "on 25 April", False),
        ("5 °C", "at 8.5 °C", False),
        ("5 °C", "at -5 °C", False),
        ("8 °C", "at 2-8 °C", True),
        ("Crib 4", "a Crib 40", False),
        ("EUR 45.00", "(EUR 45.00).", True),
        ("EUR 45", "EUR 45.50", False),
        ("seal", "both seals", True),
    ],
)
def test_facts_are_carried_as_whole_numbers(fact: str, text: str, stands: bool) -> None:
    assert email_rules.carries(text, [fact]) == [stands]
