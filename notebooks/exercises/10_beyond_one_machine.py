"""Solutions and checks of notebook 10."""

import hashlib

NOTEBOOK = "10_beyond_one_machine"


def number(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def names():
    """What the exercises read: the pages' ids, the hash, and the sizes on paper."""
    from course_utils.scale import sizing
    from course_utils.tasks import handbook

    ids = [page.node_id for page in handbook.load_handbook(week=1)]
    return {"ids": ids, "number": number, "sizing": sizing}


# --- 10-moved -------------------------------------------------------------------------------------


def moved_solution(ns):
    moved = sum(ns.number(page) % 100 != ns.number(page) % 101 for page in ns.ids) / len(ns.ids)
    key = "hundredth" if moved < 0.05 else "half" if moved < 0.75 else "nearly"
    return key, f"Counted now: {moved:.2f} of {len(ns.ids)} pages move."


# --- 10-place -------------------------------------------------------------------------------------


def place_solution(page, machines):
    return sorted(machines, key=lambda machine: number(f"{machine} {page}"), reverse=True)[:2]


def place_check(place, ns):
    """The two highest."""
    for page in ns.ids[:50]:
        wanted = sorted("abcd", key=lambda machine: ns.number(f"{machine} {page}"))[:-3:-1]
        got = place(page, list("abcd"))
        assert got == wanted, (
            f"For {page} and a, b, c, d the two that draw the highest numbers are {wanted}, the "
            f"highest first; got `{got}`."
        )


def place_check_order(place, ns):
    for page in ns.ids[:50]:
        one, other = place(page, list("abcd")), place(page, list("dbca"))
        assert len(one) == 2 and one == other, (
            f"The order of the machines must not matter: for {page} they give `{one}` and "
            f"`{other}`. Do you number the machines by where they stand?"
        )


def place_check_lone(place, ns):
    got = place(ns.ids[0], ["a"])
    assert got == ["a"], f"One machine only gives a list of that one; got `{got}`."
    for page in ns.ids[:100]:
        before, after = place(page, list("abcd")), place(page, list("abcde"))
        stayed = [machine for machine in after if machine != "e"]
        assert before[: len(stayed)] == stayed and len(set(after)) == 2, (
            f"A new machine may only push others back: {page} was on `{before}` and is on "
            f"`{after}`."
        )


def place_wrong(ns):
    def by_position(page, machines):
        numbers = [number(f"{i} {page}") for i in range(len(machines))]
        best = sorted(range(len(machines)), key=lambda i: -numbers[i])[:2]
        return [machines[i] for i in best]

    def twice(page, machines):
        first = max(machines, key=lambda machine: number(f"{machine} {page}"))
        others = [machine for machine in machines if machine != first]
        return [first, max(others, key=lambda m: number(f"{m} {page}"), default=first)]

    def lowest(page, machines):
        return sorted(machines, key=lambda machine: number(f"{machine} {page}"))[:2]

    return {
        "highest numbers": lowest,
        "a list of that one": twice,
        "draw the highest": by_position,
    }


# --- 10-twice -------------------------------------------------------------------------------------


def twice_solution(ns):
    import uuid

    batch = ns.ids[:64]
    by_id, at_random = {}, {}
    for _ in range(2):
        by_id.update({str(uuid.uuid5(uuid.NAMESPACE_URL, page)): page for page in batch})
        at_random.update({str(uuid.uuid4()): page for page in batch})
    key = "place" if len(by_id) == len(batch) < len(at_random) else "once"
    return key, (
        f"Counted now, {len(batch)} pages written twice: {len(by_id)} entries with ids that follow "
        f"from the page, {len(at_random)} with random ones."
    )


# --- 10-order -------------------------------------------------------------------------------------


def order_solution(ns):
    old, new, rest = {"p:0-90", "p:90-200"}, {"p:0-120", "p:120-210"}, {"q:0-50"}
    steps = {
        "delete": [rest, rest | new],
        "write": [rest | old | new, rest | new],
        "only": [rest | old | new],
        "rebuild": [set(), rest, rest | new],
        "alias": [rest | old, rest | new],
    }
    return {
        key
        for key, states in steps.items()
        if states[-1] & old or any(not state & (old | new) for state in states)
    }


# --- 10-machines ----------------------------------------------------------------------------------


def _machines(ns, shard_gb, bytes_each):
    from course_utils.scale.sizing import UnitCosts, collection_sizes

    item = UnitCosts(5, 384, 0, 1, 1, 1)
    return collection_sizes(50_000_000, item, shard_gb=shard_gb, bytes_each=bytes_each).shards


def machines_solution(ns):
    return _machines(ns, 32, 1)


def machines_wrong(ns):
    return {
        "That is with four bytes a number.": _machines(ns, 32, 4),
        "Half as much memory again is missing.": 50_000_000 * 5 * 384 // 32_000_000_000 + 1,
        "That is with machines of 16 GB.": _machines(ns, 16, 1),
    }
