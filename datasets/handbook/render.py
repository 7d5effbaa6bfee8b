"""Render the handbook's pages that follow from the company model.

`render(company)` gives the 340 pages of week 1, `render_week2(company)` the ten new ones of week 2.
What is true stands in company.yaml, how it is said in render.yaml; what neither has is drawn once
in a function that all pages use. Each draw is seeded with a name, so that the bytes never change.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Facts = dict[str, Any]
Pages = dict[str, str]

WEEK1, WEEK2 = date(2026, 3, 2), date(2026, 3, 8)
# Gone in week 2. Nothing links to them and no question is about them.
REMOVED = (
    "brined-4-11-2",
    "rota-keel-2026-01",
    "rota-window-2026-01",
    "incident-2024-10-29-dunning",
    "whois-3-2-0",
)
FORMATS = {
    "Rust": ("toml", "/etc/{name}/{name}.toml", "{key} = {value}"),
    "Go": ("yaml", "/etc/{name}/config.yaml", "{key}: {value}"),
    "Python": ("ini", "/etc/{name}/{name}.ini", "{key} = {value}"),
    "Kotlin": ("properties", "/app/conf/{name}.properties", "{key}={value}"),
    "Java": ("properties", "/app/conf/application.properties", "{key}={value}"),
    "Scala": ("hocon", "/app/conf/{name}.conf", "{key} = {value}"),
    "TypeScript": ("sh", "/app/.env.prod", "{key}={value}"),
    "Ruby": ("yaml", "/srv/{name}/settings.yml", "{key}: {value}"),
    "C++": ("ini", "/etc/{name}/{name}.ini", "{key} = {value}"),
}
UPPER_KEYS = {"gatehouse": "GH_", "storefront": "STF_", "quillpad": "QP_"}
# What the written pages say: replicas that stay in (dry dock), pools, memory, plans for the year.
STAY_IN = {"pricer": 3, "thawwatch": 4, "wayfinder": 5, "keyring": 5}
POOLS = {"orderbook": 60}
MEMORY = {"wayfinder": "6 GiB", "storefront": "4 GiB", "lampd": "4 GiB", "cellarq": "128 GiB"}
MEMORY |= {"beacon": "24 GiB", "brined": "16 GiB", "tidemill": "8 GiB"}
START_S = {"pricer": 9}
SEVERITY = {"S3": "small share of orders or a work-around", "S4": "nobody outside noticed"}
REPLICAS_END = {"thawwatch": 8, "wayfinder": 10}
PEAKS = {"beacon": 61000}
PEAK_HOURS = {"tidemill": 23, "ledgerd": 23, "ferryman": 2}
STORES = ("Postgres", "Redis", "VictoriaStore", "object storage")  # can be out of reach
MIGRATIONS = ("index", "column", "backfill", "names")
NIGHT_PAGES = {"keel": 12, "lamps": 17, "paths": 6, "counter": 9, "abacus": 3, "doors": 5}
NIGHT_PAGES |= {"window": 6}  # 58 in January, as the OKRs say


@cache
def wording() -> dict[str, Any]:
    """The texts of render.yaml."""
    return yaml.safe_load(Path(__file__).with_name("render.yaml").read_text(encoding="utf8"))


def rng_for(name: str) -> random.Random:
    """A generator of its own for each name; Python's hash() differs between runs."""
    return random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))


def day_between(rng: random.Random, first: date, last: date) -> date:
    return first + timedelta(days=rng.randint(0, (last - first).days))


def long_date(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def upper_first(text: str) -> str:
    """A sentence's capital, which services and code do not get."""
    return text[:1].upper() + text[1:]


def counted(number: int, thing: str) -> str:
    return f"one {thing}" if number == 1 else f"{number} {thing}s"


def kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


# --- from wording to a page ----------------------------------------------------------------------


def fill(text: str, facts: Facts, rng: random.Random) -> str:
    """Draw one of each ``<<a ~ b>>``, then put the facts in."""

    def choose(match: re.Match[str]) -> str:
        return rng.choice(match[1].split("~")).strip(" ")

    return re.sub(r"<<(.*?)>>", choose, text, flags=re.DOTALL).format_map(facts)


def make_page(
    kind: str, page_id: str, facts: Facts, updated: date, items: Iterable[Facts] = ()
) -> tuple[str, str]:
    """One page of a kind: (path, text). ``facts`` must have ``space`` and ``team``."""
    rng = rng_for(page_id)
    variant = rng.choice(wording()[kind])
    rows = [fill(variant.get("row", ""), facts | item, rng) for item in items]
    facts = facts | {"rows": variant.get("join", "\n").join(rows)}
    title = upper_or_service(fill(variant["title"], facts, rng), facts)
    body = fill(variant["body"], facts, rng)
    body = re.sub(r"[ \t]+\n", "\n", body)
    body = re.sub(r"(?<=\S) {2,}(?=[A-Z*<`\[(])", " ", body) if "```" not in body else body
    body = re.sub(r"\n{3,}", "\n\n", body).strip()
    text = (
        f'---\nid: {page_id}\ntitle: "{title}"\nspace: {facts["space"]}\nowner: {facts["team"]}\n'
        f"updated: {updated}\n---\n# {title}\n\n{body}\n"
    )
    return f"{facts['space']}/{page_id}.md", text


def upper_or_service(title: str, facts: Facts) -> str:
    """Titles begin with a capital, except with a service's or a file's name."""
    return title if title.startswith((str(facts.get("name")), "config-")) else upper_first(title)


# --- facts, drawn once and used by all pages ------------------------------------------------------


def links(names: Iterable[str]) -> str:
    return ", ".join(f"[{name}](../services/{name}.md)" for name in names) or "no other service"


def seconds(text: str) -> float:
    """A timeout such as '700 ms', '4 s' or '15 min' in seconds."""
    number, unit = text.split()
    return float(number) * {"ms": 0.001, "s": 1, "min": 60}[unit]


def half_a_second_less(timeout: str) -> str:
    left = seconds(timeout) - 0.5
    return f"{left * 1000:.0f} ms" if left < 10 and left % 1 else f"{left:g} s"


def service_facts(company: Facts, name: str) -> Facts:
    """Everything that is said about a service, on whatever page."""
    rng = rng_for(f"service {name}")
    service, details = company["services"][name], company["service_details"][name]
    team = company["teams"][service["team"]]
    people = [p for p in company["people"][service["team"]] if p != team["lead"]]
    callers = [other for other, s in company["services"].items() if name in s["deps"]]
    tier, replicas = service["tier"], service["replicas"]
    start = day_between(rng, date(2025, 6, 2), date(2026, 2, 20))
    kiln_pool = rng.choice([4, 5, 6, 8])
    return {
        **{key: service[key] for key in service if key != "deps"},
        "name": name,
        "purpose_up": upper_first(service["purpose"]),
        "nickname": team["nickname"],
        "lead": team["lead"],
        "channel": team["channel"],
        "about": details["about"],
        "note": details["note"],
        "deps": links(service["deps"]),
        "deps_plain": "[" + ", ".join(service["deps"]) + "]",
        "callers": links(callers),
        "dep": rng.choice(service["deps"] or [service["store"]]),
        "night": "pages at night too" if tier == 1 else "waits for the morning",
        "people": people,
        "short": service["prefix"].lower(),
        "folder": team["nickname"].lower().replace(" ", "-"),
        "stay_in": STAY_IN.get(name, math.ceil(replicas / 2)),
        "pool": POOLS.get(name, rng.randrange(12, 41, 2)),
        "kiln_words": f"kiln differs only in the pool, which is {kiln_pool} there"
        if service["store"].startswith("Postgres")
        else "kiln has the same values",
        "workers": rng.choice([6, 8, 12, 16, 24]),
        "queue": rng.choice([150, 200, 250, 400, 600]),
        "drain_s": rng.choice([20, 25, 35, 45, 60]),
        "start_s": START_S.get(name, rng.choice([7, 9, 14, 18, 26, 33, 41])),
        "connect_s": rng.choice([2, 3, 4, 5]),
        "memory": MEMORY.get(name, rng.choice(["1 GiB", "2 GiB", "3 GiB", "4 GiB", "8 GiB"])),
        "cpu": rng.choice([2, 2, 3, 4]),
        "log_level": rng.choice(["info", "info", "notice"]),
        "statement_timeout": half_a_second_less(service["timeout"]),
        "store_or_dep": service["store"] if service["store"] != "none" else "something behind it",
        "since": start,
    }


def with_people(facts: Facts, page_id: str) -> Facts:
    """Two people of the team for a page; different pages name different ones."""
    rng = rng_for(f"people {page_id}")
    someone, other = rng.sample(facts["people"] * 2, 2)
    return facts | {
        "someone": someone,
        "other": facts["lead"] if other == someone else other,
        "ticket": rng.randint(7420, 7799),
    }


def error_codes(company: Facts, name: str) -> list[Facts]:
    """A service's codes below 200: its own and two or three that most services have."""
    facts, rng = service_facts(company, name), rng_for(f"codes {name}")
    codes = [dict(code) for code in company["service_details"][name]["codes"]]
    free = [n for n in range(101, 200) if n not in {code["code"] for code in codes}]
    families = [
        family
        for family in wording()["code_families"]
        if (family["needs"] != "store" or facts["store"].startswith(STORES))
        and (family["needs"] != "deps" or facts["deps_plain"] != "[]")
    ]
    for family in rng.sample(families, 6 - len(codes) + rng.randint(0, 1)):
        code = {key: rng.choice(family[key]).format_map(facts) for key in ("means", "do")}
        codes.append({"code": free.pop(rng.randrange(len(free))), "log": family["log"]} | code)
    for code in codes:
        code["means_up"], code["do_up"] = (upper_first(code[key]) for key in ("means", "do"))
        if code["means"].startswith(tuple(company["services"])):
            code["means_up"] = code["means"]
        if code["do"].startswith(tuple(company["services"])):
            code["do_up"] = code["do"]
    return sorted(codes, key=lambda code: code["code"])


# --- one function for each kind of page -----------------------------------------------------------


def service_page(company: Facts, name: str) -> tuple[str, str]:
    facts = with_people(service_facts(company, name), name) | {"space": "services"}
    updated = day_between(rng_for(f"updated {name}"), date(2026, 2, 25), WEEK1)
    return make_page("services", name, facts, updated)


def alert_page(company: Facts, name: str, alert: Facts, last: date = WEEK1) -> tuple[str, str]:
    page_id = f"alert-{kebab(alert['name'])}"
    rng = rng_for(f"facts {page_id}")
    updated = day_between(rng, date(2025, 10, 1), last) if last == WEEK1 else last
    drawn = {
        "ratio": rng.choice(["0.8", "1.2", "1.5", "2", "2.5"]),
        "minutes": rng.choice([4, 5, 6, 8, 10, 15]),
        "share": rng.choice([60, 70, 75, 80]),
        "few": rng.choice([20, 30, 50]),
        "restarts": rng.choice([2, 3, 4]),
        "failures": rng.choice([8, 10, 15, 25]),
        "times": rng.randint(2, 9),
        "fired": long_date(updated - timedelta(days=rng.randint(3, 40))),
        "since": f"{updated - timedelta(days=rng.randint(60, 200)):%B %Y}",
    }
    facts = with_people(service_facts(company, name), page_id) | drawn
    texts = {key: value.format_map(facts) for key, value in alert.items() if key != "name"}
    facts |= texts | {"rule": alert["name"], "space": "alerts"}
    facts |= {f"{key}_up": upper_first(texts[key]) for key in ("harmless", "first")}
    if alert.get("pages") == "never":
        facts["night"] = "goes to the channel only and never pages"
    return make_page("alerts", page_id, facts, updated)


def service_alerts(company: Facts) -> list[tuple[str, Facts]]:
    """Two alerts a service: its own, and one of the families, in turn."""
    families = wording()["alert_families"]
    alerts = []
    for number, name in enumerate(company["services"]):
        family = families[number % len(families)]
        named = family | {"name": name.capitalize() + family["suffix"]}
        named.pop("suffix")
        alerts += [(name, company["service_details"][name]["alert"]), (name, named)]
    return alerts


def code_page(company: Facts, name: str) -> tuple[str, str]:
    page_id = f"error-codes-{name}"
    facts = with_people(service_facts(company, name), page_id) | {"space": "error-codes"}
    updated = day_between(rng_for(f"updated {page_id}"), date(2025, 9, 1), WEEK1)
    facts["since"] = long_date(updated)
    return make_page("error-codes", page_id, facts, updated, error_codes(company, name))


def settings(company: Facts, facts: Facts) -> list[Facts]:
    """Keys, values and remarks of a service's config file, common ones first."""
    name = facts["name"]
    rows = [
        (family["key"], family["value"].format_map(facts), family["remark"])
        for family in wording()["setting_families"]
        if family.get("needs", "") in facts["store"]
    ]
    if name in UPPER_KEYS:
        rows = [(UPPER_KEYS[name] + key.upper(), value, remark) for key, value, remark in rows]
    own = [
        tuple(str(cell).replace("True", "true") for cell in row)
        for row in company["service_details"][name]["settings"]
    ]
    taken = {key for key, _, _ in own}
    if any(key.endswith("pool.max") for key in taken):
        rows = [row for row in rows if row[0] != "pool_max"]
    pattern = FORMATS[facts["language"]][2]
    pattern = FORMATS["TypeScript"][2] if name in UPPER_KEYS else pattern
    result = []
    for key, value, remark in [*rows, *own]:
        line = pattern.format(key=key, value=value)
        result.append(
            {
                "key": key,
                "value": value,
                "remark": remark or "the default",
                "line": f"{line:<36} # {remark}" if remark else line,
            }
        )
    return result


def config_page(company: Facts, name: str) -> tuple[str, str]:
    page_id = f"config-{name}"
    facts = with_people(service_facts(company, name), page_id) | {"space": "config"}
    updated = day_between(rng_for(f"updated {page_id}"), date(2025, 11, 3), WEEK1)
    form, path, _ = FORMATS["TypeScript" if name in UPPER_KEYS else facts["language"]]
    facts |= {"format": form, "file": path.format(name=name), "since": long_date(updated)}
    return make_page("config", page_id, facts, updated, settings(company, facts))


def incident_page(company: Facts, row: list[Any], number: int) -> tuple[str, str]:
    day, name, severity, head, seen, cause, end, *when = row
    page_id = f"incident-{day}-{name}"
    rng = rng_for(f"facts {page_id}")
    minutes = rng.choice([12, 17, 23, 28, 35, 41, 48, 55, 62, 74, 89, 105, 130, 155])
    at = rng.randint(6 * 60 + 10, 19 * 60)
    if when:  # the text says at what time
        at, minutes = when
    facts = with_people(service_facts(company, name), page_id)
    facts |= {
        "space": "incidents",
        "date": day,
        "date_long": long_date(day),
        "severity": severity,
        "severity_words": SEVERITY[severity],
        "head": head,
        "seen": seen,
        "cause": cause,
        "end": end,
        "at": f"{at // 60:02}:{at % 60:02}",
        "until": f"{(at + minutes) // 60:02}:{(at + minutes) % 60:02}",
        "minutes": minutes,
        "ticket": 7003 + 7 * number,
        "noticed": rng.choice(wording()["noticed"]).format_map(facts),
        "lesson": rng.choice(wording()["lessons"]).format_map(facts),
    }
    updated = min(day + timedelta(days=rng.randint(1, 18)), WEEK1 if day <= WEEK1 else WEEK2)
    return make_page("incidents", page_id, facts, updated)


def depot_facts(company: Facts, code: str) -> Facts:
    depot, details = company["depots"][code], company["depot_details"][code]
    bays, tables = depot["charging_bays"], details["tables"]
    free = bays // 10
    day_counted = day_between(rng_for(f"counted {code}"), date(2025, 9, 8), WEEK1)
    power = details["generator"]
    cold = details["cold"]
    printers = counted(details["printers"], "label printer")
    lifts = counted(details["lifts"], "fork lift")
    power_words = f"generator of {power}" if power != "none" else "no generator"
    cold_words = f"{cold} pallet places" if cold else "none"
    return {
        **details,
        "code": code,
        "low": code.lower(),
        "city": depot["city"],
        "docks": depot["docks"],
        "cribs": f"{depot['cribs']:,}",
        "bays": bays,
        "team": "routing",
        "space": "depots",
        "manager_first": details["manager"].split()[0],
        "tables_words": counted(tables, "table"),
        "printers_words": printers,
        "printers_hosts": f"{printers} `lp-{code.lower()}-01`"
        + ("" if details["printers"] == 1 else " and up"),
        "lifts_words": lifts,
        "lifts_words_up": upper_first(lifts),
        "aps": math.ceil(depot["docks"] / 3),
        "spares": math.ceil(depot["cribs"] / 60),
        "generator_words": power_words,
        "generator_words_up": upper_first(power_words),
        "cold_words": cold_words,
        "cold_words_up": upper_first(cold_words),
        "evening": f"From 16:00 on {free} bays stay empty for the evening returns."
        if bays >= 20
        else "With so few bays none has to stay empty in the evening.",
        "counted": day_counted,
        "since": long_date(day_counted),
        "gift": rng_for(f"{code} is given").choice(wording()["gifts"]),
    }


def depot_pages(company: Facts, code: str) -> list[tuple[str, str]]:
    facts, rng = depot_facts(company, code), rng_for(f"updated {code}")
    site = make_page(
        "depot-site", f"depot-{code.lower()}", facts, day_between(rng, date(2025, 9, 1), WEEK1)
    )
    kit = make_page("depot-kit", f"depot-{code.lower()}-kit", facts, facts["counted"])
    return [site, kit]


def turns(company: Facts) -> dict[tuple[str, date], tuple[str, str]]:
    """(rota, Tuesday) to (primary, warm desk), nobody twice in one week."""
    orders: dict[str, list[str]] = {}
    for rota, spec in company["rotas"].items():
        teams = [spec["team"], *spec.get("with", [])]
        people = [person for team in teams for person in company["people"][team]]
        orders[rota] = [*people, *spec["helpers"]]
        rng_for(f"rota {rota}").shuffle(orders[rota])
    fixed = company["rota_fixed"]
    result: dict[tuple[str, date], tuple[str, str]] = {}
    for week in range(17):
        tuesday = date(2026, 1, 6) + timedelta(weeks=week)
        busy = {person for days in fixed.values() for person in days.get(tuesday, [])}
        for rota, order in orders.items():
            pair = fixed.get(rota, {}).get(tuesday)
            if not pair:
                pair = [person for person in order if person not in busy][:2]
            busy.update(pair)
            result[rota, tuesday] = (pair[0], pair[1])
            order.remove(pair[0])
            order.append(pair[0])
    return result


def rota_page(company: Facts, rota: str, month: int) -> tuple[str, str]:
    spec, page_id = company["rotas"][rota], f"rota-{rota}-2026-{month:02}"
    rng, first = rng_for(f"facts {page_id}"), date(2026, month, 1)
    office = bool(spec.get("with"))
    roles = ("Duty", "Deputy") if office else ("Primary", "Warm desk")
    rows: list[Facts] = [
        {
            "start": day,
            "start_long": f"{day.day} {day:%B}",
            "primary": pair[0],
            "warm": pair[1],
        }
        for (name, day), pair in turns(company).items()
        if name == rota and day.month == month
    ]
    remarks = [
        f"{rows[1]['primary']} is away in the week of {rows[-1]['start_long']}, so no swaps there.",
        f"{rows[-1]['primary']} and {rows[-1]['warm']} have swapped once already, please no more.",
        "No shadow this month.",
        "One shadow this month, beside the warm desk first.",
        "No open gaps.",
    ]
    on_duty = {
        p for (_, day), pair in turns(company).items() if day == rows[-1]["start"] for p in pair
    }
    away = rows[1]["primary"] not in on_duty
    remark = rng.choice(remarks[2 if office else 0 if away else 1 :])
    if month == 2 and rota in NIGHT_PAGES:
        remark += f" January had {NIGHT_PAGES[rota]} pages between 22:00 and 06:00."
    helpers, nickname = " and ".join(spec["helpers"]), company["teams"][spec["team"]]["nickname"]
    who = (
        "Data, devices and support-tools share this rota, in office hours only."
        if office
        else f"The rota of {nickname}, with help from Night Watch ({helpers})."
    )
    facts = {
        "space": "oncall",
        "team": spec["team"],
        "rota": rota,
        "month": f"2026-{month:02}",
        "month_long": f"{first:%B %Y}",
        "ext": spec["extension"],
        "who": who,
        "remark": remark,
        "first_role": roles[0],
        "second_role": roles[1],
        "second_low": roles[1].lower(),
        "first_pad": f"{roles[0]:<18}",
    }
    updated = min(
        day_between(rng, first - timedelta(days=14), first), WEEK2 if month > 3 else WEEK1
    )
    updated = max(updated, date(2026, 3, 3)) if month > 3 else updated
    return make_page("oncall", page_id, facts, updated, rows)


def release_page(company: Facts, name: str, number: int) -> tuple[str, str]:
    """The release with this number in company.yaml, where the newest of a service is 0."""
    version, day, changes = company["releases"][name][number]
    page_id = f"{name}-{version.replace('.', '-')}"
    rng, text = rng_for(f"facts {page_id}"), wording()
    facts = with_people(service_facts(company, name), page_id)
    latest = rng_for(f"migrations {name}").randint(38, 58)
    migration = "00{number}_{what}" if name == "lampd" else "V{number}__{what}"
    facts |= {
        "space": "releases-auto",
        "version": version,
        "date": day,
        "date_long": long_date(day),
        "n1": rng.randint(2, 7),
        "patience": "2.{}.{}".format(*divmod((day - date(2025, 1, 1)).days // 16, 4)),
        "wednesday": long_date(day - timedelta(days=(day.weekday() - 2) % 7 or 7)),
        "next_n": len(changes) + 1,
        "mig": migration.format(number=latest - 9 * number, what=rng.choice(MIGRATIONS)),
        "mig_s": rng.choice([3, 8, 20, 45]),
        "mem_mb": rng.choice([40, 60, 90, 150]),
        "back_days": rng.choice([3, 5, 7, 10]),
        "canary": rng.choice(["two hours", "four hours", "a night", "a day", "two days"]),
    }
    routines = rng_for(f"routine {name}").sample(text["release_routine"], 3)
    facts["routine"] = routines[number].format_map(facts)
    facts["routine_up"] = upper_first(facts["routine"])
    kind = "_migration" if facts["store"].startswith("Postgres") and rng.random() < 0.6 else ""
    for key, choices in (
        ("before", f"release_before{kind}"),
        ("after", "release_after"),
        ("back", f"release_back{kind}"),
    ):
        facts[key] = rng.choice(text[choices]).format_map(facts)
    items = [
        {"n": n, "change": change, "change_up": upper_first(change)}
        for n, change in enumerate(changes, start=1)
    ]
    updated = min(day + timedelta(days=rng.randint(0, 12)), WEEK1)
    return make_page("releases-auto", page_id, facts, updated, items)


def dashboard_page(company: Facts, name: str) -> tuple[str, str]:
    page_id = f"dashboard-{name}"
    rng = rng_for(f"facts {page_id}")
    facts = with_people(service_facts(company, name), page_id)
    minutes = rng.choice([10, 15, 20, 30])
    common = [
        (
            "calls per replica",
            f"one line for each of the {facts['replicas']} replicas",
            "one line leaves the others",
        ),
        (
            "slow calls",
            "p99 in seconds",
            f"above {rng.choice([50, 60, 70])} % of the timeout for {minutes} min",
        ),
        (
            "errors",
            f"{facts['prefix']} codes, stacked by number",
            f"a code that was not there {rng.choice(['an hour', 'a day'])} ago",
        ),
        (
            "memory",
            f"use against the limit of {facts['memory']}",
            f"above {rng.choice([80, 85, 90])} %",
        ),
        ("restarts", "per replica and day", f"more than {rng.choice([1, 2, 3])}"),
    ]
    panels = [*company["service_details"][name]["panels"], *rng.sample(common, 3)]
    items = [
        {"n": n, "title": t, "title_up": upper_first(t), "shows": s, "worry": w}
        for n, (t, s, w) in enumerate(panels, start=1)
    ]
    facts |= {
        "space": "dashboards",
        "refresh": rng.choice([10, 15, 20, 30, 60]),
        "range": rng.choice(["3 hours", "6 hours", "12 hours", "24 hours", "2 days"]),
        "rebuilt": f"{facts['since']:%B %Y}",
        "quirk": rng.choice(wording()["quirks"]).format_map(facts),
    }
    updated = day_between(rng, date(2025, 10, 1), WEEK1)
    return make_page("dashboards", page_id, facts, max(updated, facts["since"]), items)


def capacity_page(company: Facts, name: str) -> tuple[str, str]:
    page_id = f"capacity-{name}"
    rng = rng_for(f"facts {page_id}")
    facts = with_people(service_facts(company, name), page_id)
    number, _, unit = facts["rate"].partition(" ")
    rated = int(number.replace(",", ""))
    step = 10 ** max(0, len(str(rated)) - 3)
    peak = PEAKS.get(name) or round(rated * rng.uniform(0.5, 0.7) / step) * step
    growth = rng.choice([12, 18, 24, 31])
    when = day_between(rng, date(2026, 1, 7), date(2026, 1, 29))
    if when.weekday() > 4:
        when -= timedelta(days=3)
    hour = PEAK_HOURS.get(name, rng.randint(7, 16))
    updated = day_between(rng, date(2026, 2, 3), WEEK1)
    facts |= {
        "space": "capacity",
        "peak": f"{peak:,} {unit}",
        "when": f"{when:%A} {when.day} January, {hour:02}:{rng.choice(['05', '10', '25', '40'])}",
        "headroom": round(100 * (1 - peak / rated)),
        "growth": growth,
        "months": math.floor(12 * math.log(0.75 * rated / peak) / math.log(1 + growth / 100)),
        "replicas_end": REPLICAS_END.get(name, facts["replicas"]),
        "bottleneck": company["service_details"][name].get("bottleneck"),
        "since": long_date(updated),
        "tried": rng.choice(wording()["tried"]),
    }
    return make_page("capacity", page_id, facts, updated)


# --- all of them ----------------------------------------------------------------------------------


def render(company: Facts) -> Pages:
    """The rendered pages of week 1, path below week1/ to text; the same bytes each time."""
    names: list[str] = list(company["services"])
    per_service: list[Callable[[Facts, str], tuple[str, str]]] = [
        service_page,
        code_page,
        config_page,
        dashboard_page,
    ]
    pages = [make(company, name) for name in names for make in per_service]
    pages += [alert_page(company, name, alert) for name, alert in service_alerts(company)]
    pages += [incident_page(company, row, n) for n, row in enumerate(company["incidents"])]
    pages += [page for code in company["depots"] for page in depot_pages(company, code)]
    pages += [rota_page(company, rota, month) for rota in company["rotas"] for month in (1, 2, 3)]
    pages += [
        release_page(company, name, number)
        for name in names
        for number in range(len(company["releases"][name]))
    ]
    details = company["service_details"]
    pages += [capacity_page(company, name) for name in names if "bottleneck" in details[name]]
    return dict(sorted(pages))


def render_week2(company: Facts) -> Pages:
    """Pages that are new in week 2: incidents, alerts and the rotas of April."""
    pages = [
        incident_page(company, row, 80 + n) for n, row in enumerate(company["incidents_week2"])
    ]
    pages += [
        alert_page(company, name, alert, date(2026, 3, 5))
        for name, alert in company["alerts_week2"].items()
    ]
    pages += [rota_page(company, rota, 4) for rota in ("lamps", "paths", "counter", "doors")]
    return dict(sorted(pages))
