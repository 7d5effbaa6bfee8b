"""The rules of ``datasets/emails/style_guide.md`` as checks, and whether facts are kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from course_utils.files import InputError

MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
ABBREVIATED = "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"

ORDINALS = (
    "first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|"
    "thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth|twentieth|"
    "thirtieth|(?:twenty|thirty)-[a-z]+"
)

NUMBER = (
    r"(?:\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|"
    r"forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand))"
)

DAY, MONTH = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"

UNIT = (
    r"(?:\s?(?:[°%]|(?:km|kg|g|cm|mm|m|l|h|V)\b)|\s(?:to|per|times|points?)\b"
    r"|\s[a-z]*(?:metre|litre|hour|minute|day|kilo|degree))"
)

# A number with a point, a dash or a year's look is a date only where little else is likely, so
# that 8.5 °C, "4-6 cribs", 24/7 and "Building 2045" pass.
WRONG_DATES = re.compile(
    "|".join(
        [
            r"\b\d{1,2}(?:st|nd|rd|th)\b(?! (?:floor|street|avenue))",  # 14th
            rf"\b{DAY}/{MONTH}(?:/\d{{2,4}})?(?![\d/])(?<!24/7)",  # 14/03
            rf"(?<!at )(?<![\d.,])\b[0-3]\d\.0[1-9](?![\d%.]\d|\d|{UNIT})",  # 14.03
            rf"\b(?:on|by|until|since) {DAY}\.{MONTH}(?!\d|{UNIT})",  # on 14.3
            rf"\b{DAY}\.{MONTH}\.(?:\d{{2,4}}\b|(?= [a-z]))",  # 14.3.2026
            rf"(?<![\w-]){DAY}-0[1-9](?![\d:])",  # 14-03
            r"(?<![\w-])(?:1[3-9]|2\d|3[01])-1[0-2](?![\d:])",  # 14-12
            r"(?<![\w-])\d{1,4}-\d{1,2}-\d{1,4}\b",  # 2026-03-14
            rf"\b(?:{MONTHS}),? 20\d\d\b|\b(?i:in|since|until|during|year) 20[1-4]\d\b",  # in 2026
            rf"(?<!\d )(?<!\b[Ii]n )\b(?:{MONTHS}) {DAY}\b(?![:.,]\d)",  # March 14
            rf"\b(?:{MONTHS}) the (?:{ORDINALS}|{DAY})\b",  # March the tenth
            rf"\b(?:{ORDINALS}|{DAY}) of (?:{MONTHS})\b",  # the tenth of March
            rf"\b{DAY} (?:{ABBREVIATED})\b|\b(?:{ABBREVIATED})\.? {DAY}\b",  # 14 Mar
        ]
    )
)

WRONG_TIMES = re.compile(
    "|".join(
        [
            r"\d\s?(?:am|pm|a\.m\.|p\.m\.)(?!\w)",
            rf"{NUMBER}\s?o['’]clock",
            r"(?<![\d:])\d:\d\d\b",  # 9:30
            rf"(?<![:\d])(?:\d{{1,2}}|{NUMBER}) in the (?:morning|afternoon|evening)",
            r"\b(?:noon|midday|midnight|half past|quarter past|quarter to)\b",
            rf"\bat \d{{1,2}}\.[0-5]\d(?!\d|{UNIT})",  # at 9.30
            rf"\b(?:by|until) \d{{1,2}}\.(?:00|1[3-9]|[2-5]\d)(?!\d|{UNIT})",
        ]
    ),
    re.IGNORECASE,
)

WRONG_UNITS = re.compile(
    "|".join(
        [
            r"[€£$]|\b[Ee]ur\b",
            r"\bEUR(?! \d[\d,]*\.\d\d(?!\d))",
            rf"(?i:{NUMBER}\s?(?:euros?|dollars)\b)",
            r"(?<!\d )°|°(?!C\b)|(?i:\b(?:degrees|celsius|fahrenheit)\b)",
            r"(?<!dock )(?<!bay )(?<!room )(?<!unit )(?<!flat )(?<!gate )\b\d+ ?C\b",  # 8C
        ]
    )
)

CONTRACTIONS = re.compile(
    r"\w['’](?:ll|re|ve|d|m|t)\b"
    r"|\b(?:it|that|there|what|here|let|he|she|who|how|where|when)['’]s\b",
    re.IGNORECASE,
)

# "pick it up" and "picked the crib up", but not "pick a day and look up".
NOT_OUR_WORDS = re.compile(
    r"\b(?:box|boxes|containers?|packages?)\b|\bpick(?:s|ed|ing)?[ -]?ups?\b"
    r"|\bpick(?:s|ed|ing)?(?: (?!and\b|or\b|to\b|then\b)[\w'’-]+){1,4} up\b(?! to\b)",
    re.IGNORECASE,
)

PADDING = re.compile(
    r"\b(?:unfortunately|sorry|apologi[sz](?:e|es|ed|ing)|apology|apologies|inconveniences?|kindly"
    r"|valued|delighted|hesitate|asap|issues?|please be advised)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Email:
    """The parts of an e-mail; a part that is not where it should be is empty."""

    text: str
    lines: tuple[str, ...]
    subject: str
    greeting: str
    body: str
    next_steps: tuple[str, ...]
    after_step: tuple[str, ...]
    closing: tuple[str, ...]


def parse_email(text: str) -> Email:
    """Take an e-mail apart along its lines.

    Args:
        text: the whole e-mail, the subject line included.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    first = lines[0] if lines else ""
    subject = first.removeprefix("Subject:").strip() if first.startswith("Subject:") else ""
    greeting = next((line for line in lines if line.startswith("Hello ")), "")
    if not greeting:  # another one, "Dear Ms Okafor,", still shows where the body begins
        greeting = next((line for line in lines[1:] if line), "")
        greeting = greeting if greeting.endswith(",") else ""
    closing_at = lines.index("Kind regards,") if "Kind regards," in lines else len(lines)
    steps = [place for place, line in enumerate(lines) if line.startswith("Next step:")]
    begin = lines.index(greeting) + 1 if greeting else min(1, len(lines))
    end = steps[0] if steps else closing_at
    return Email(
        text=text,
        lines=tuple(lines),
        subject=subject,
        greeting=greeting,
        body="\n".join(line for line in lines[begin:end] if line),
        next_steps=tuple(lines[place] for place in steps),
        # Without its "Kind regards," a sign-off is wrong, but nothing stands before it.
        after_step=tuple(line for line in lines[end + 1 : closing_at] if line)
        if closing_at < len(lines)
        else (),
        closing=tuple(line for line in lines[closing_at:] if line),
    )


def email_sentences(text: str) -> list[str]:
    """Sentences of one paragraph; the point in "EUR 45.00" or "1.5" ends none."""
    return [part for part in re.split(r"(?<=[.!?])\s+", text.strip()) if part]


def _subject(mail: Email, brief: dict[str, str]) -> bool:
    return 2 <= len(mail.subject.split()) <= 8 and not mail.subject.endswith(".")


def _greeting(mail: Email, brief: dict[str, str]) -> bool:
    if mail.greeting != f"Hello {brief['customer']},":
        return False
    place = mail.lines.index(mail.greeting)
    before = [line for line in mail.lines[:place] if line]
    alone = {*mail.lines[place - 1 : place], *mail.lines[place + 1 : place + 2]} <= {""}
    return len(before) <= 1 and alone


def _news_first(mail: Email, brief: dict[str, str]) -> bool:
    return mail.body.startswith("Your ")


def _order(mail: Email, brief: dict[str, str]) -> bool:
    first = next(iter(email_sentences(mail.body)), "")
    named = re.search(rf"\border {re.escape(brief['order'])}\b", first)
    return bool(named) and mail.text.count("CV-") == 1


def _length(mail: Email, brief: dict[str, str]) -> bool:
    return "\n" not in mail.body and 2 <= len(email_sentences(mail.body)) <= 4


def _next_step(mail: Email, brief: dict[str, str]) -> bool:
    if len(mail.next_steps) != 1 or mail.text.count("Next step") != 1 or mail.after_step:
        return False
    step = mail.next_steps[0].removeprefix("Next step:").strip()
    return bool(re.search(rf"\b\d{{1,2}} ({MONTHS})\b", step)) and len(email_sentences(step)) == 1


def _sign_off(mail: Email, brief: dict[str, str]) -> bool:
    return mail.closing == ("Kind regards,", brief["agent"], "Corvane Customer Care")


def _short_sentences(mail: Email, brief: dict[str, str]) -> bool:
    steps = [step.removeprefix("Next step:") for step in mail.next_steps]
    every = [s for part in (mail.body, *steps) for s in email_sentences(part)]
    return bool(every) and all(len(sentence.split()) <= 20 for sentence in every)


def _dates(mail: Email, brief: dict[str, str]) -> bool:
    return not WRONG_DATES.search(re.sub(r"EUR [\d,.]+\d", "EUR", mail.text))


def _times(mail: Email, brief: dict[str, str]) -> bool:
    return not WRONG_TIMES.search(mail.text)


def _units(mail: Email, brief: dict[str, str]) -> bool:
    return not WRONG_UNITS.search(mail.text)


def _our_words(mail: Email, brief: dict[str, str]) -> bool:
    return not NOT_OUR_WORDS.search(mail.text)


def _we(mail: Email, brief: dict[str, str]) -> bool:
    return not re.search(r"\bI\b|\b[Mm]y\b|\bme\b|\b[Mm]ine\b|\bmyself\b", mail.text)


def _calm(mail: Email, brief: dict[str, str]) -> bool:
    return "!" not in mail.text


def _no_padding(mail: Email, brief: dict[str, str]) -> bool:
    return not PADDING.search(mail.text)


def _no_contractions(mail: Email, brief: dict[str, str]) -> bool:
    return not CONTRACTIONS.search(mail.text)


EMAIL_RULES: dict[str, Callable[[Email, dict[str, str]], bool]] = {
    "subject": _subject,
    "greeting": _greeting,
    "news first": _news_first,
    "order": _order,
    "length": _length,
    "next step": _next_step,
    "sign-off": _sign_off,
    "short sentences": _short_sentences,
    "dates": _dates,
    "times": _times,
    "units": _units,
    "our words": _our_words,
    "we": _we,
    "calm": _calm,
    "no padding": _no_padding,
    "no contractions": _no_contractions,
}


def check_email(text: str, brief: dict[str, str]) -> dict[str, bool]:
    """Which rules of the style guide an e-mail keeps.

    Args:
        text: the e-mail.
        brief: the brief's fields; customer, order and agent are looked at.

    Returns:
        Rule name to whether it is kept, in the guide's order.

    Raises:
        ValueError: the brief lacks one of the three fields.
    """
    missing = [field for field in ("customer", "order", "agent") if not brief.get(field)]
    if missing:
        raise InputError(f"The brief has no {missing[0]!r}: give it a '{missing[0]}: …' line.")
    mail = parse_email(text)
    return {name: rule(mail, brief) for name, rule in EMAIL_RULES.items()}


def parse_brief(text: str) -> dict[str, str]:
    """The ``key: value`` lines of a brief."""
    pairs = (line.split(":", 1) for line in text.strip().splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def carries(text: str, facts: list[str] | tuple[str, ...]) -> list[bool]:
    """Whether each fact of a brief stands in the e-mail, spaces and case aside.

    Numbers count whole: "5 April" does not stand in "25 April", nor "5 °C" in "-5 °C".

    Args:
        text: the e-mail.
        facts: the strings that a faithful e-mail has to contain.
    """
    flat = " ".join(text.lower().split())
    return [bool(re.search(_whole(" ".join(fact.lower().split())), flat)) for fact in facts]


def _whole(fact: str) -> str:
    before = r"(?<!\w)(?<!\d[.,:/])(?<!\s-)" if fact[:1].isdigit() else ""
    after = r"(?!\d|[.,:]\d)" if fact[-1:].isdigit() else ""
    return before + re.escape(fact) + after
