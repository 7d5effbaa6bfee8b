"""E-mails: prompts against adapters, and the learning curve."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np

from course_utils.generate.decoding import generate
from course_utils.generate.prompting import Chat
from course_utils.tasks import common, email_rules, emails
from course_utils.tasks.common import Scores
from course_utils.tasks.emails import load_emails
from course_utils.tune.adapters import attached
from course_utils.tune.recipes import Recipe
from course_utils.tune.training import train
from notebooks.experiments.bench import Arms, Bench


def voice_experiment(lab: Bench) -> Arms:
    """E-mails: prompts against adapters, and the learning curve, on the held-out briefs."""
    approved, held = load_emails(), lab.some(load_emails(held_out=True))
    order = np.random.default_rng(0).permutation(len(approved))
    approved = [approved[place] for place in order]
    shots = [emails.email_chat(email, learned=True) for email in approved[:4]]
    rules = lab.embedder.encode(emails.guide_rules())
    near = np.argsort(-(lab.embedder.encode([brief.brief for brief in held]) @ rules.T))
    best = [[emails.guide_rules()[place] for place in sorted(row[:5])] for row in near]
    asked = [emails.email_chat(brief) for brief in held]
    guide = "\n".join([f"{emails.EMAIL} Keep these rules:", *emails.guide_rules()])
    prompts = {
        "bare": [common.turns(emails.EMAIL, brief.brief) for brief in held],
        "guide, 5 rules": [emails.guided_chat(*pair) for pair in zip(held, best, strict=True)],
        "guide, all rules": [emails.guided_chat(brief, emails.guide_rules()) for brief in held],
        "few-shot": [common.few_shot(emails.EMAIL, shots, chat) for chat in asked],
        "guide and few-shot": [common.few_shot(guide, shots, chat) for chat in asked],
    }

    def score(texts: list[str]) -> Scores:
        return emails.score_emails(texts, held)

    for n, epochs in ((500, 3), (100, 3), (50, 4), (250, 2)):
        examples = [emails.email_chat(email, learned=True) for email in approved[:n]]
        recipe = Recipe(epochs=epochs, tokens_per_step=1024)
        yield f"LoRA, {n}", partial(lab.learn, examples, recipe, asked, score, 160)
    for name, chats in prompts.items():
        yield name, partial(lab.write, chats, score, 160)

    def checked(chats: list[Chat]) -> dict[str, Any]:
        """Greedy first; what breaks a rule is written again, up to four times, by drawing."""
        began, tries, new = time.perf_counter(), 0, lab.length(160)
        texts = generate(lab.llm, chats, new, 16384, shared_prefix=True)
        for seed in range(1, 5):
            wrong = [
                place
                for place, text in enumerate(texts)
                if not all(email_rules.check_email(text, held[place].fields).values())
            ]
            if not wrong:
                break
            tries += len(wrong)
            again = [chats[place] for place in wrong]
            drawn = generate(
                lab.llm, again, new, 16384, shared_prefix=True, temperature=0.7, seed=seed
            )
            for place, text in zip(wrong, drawn, strict=True):
                if all(email_rules.check_email(text, held[place].fields).values()):
                    texts[place] = text
        seconds = (time.perf_counter() - began) / len(chats)
        return {"scores": score(texts), "seconds": round(seconds, 3), "tries": tries}

    def learned_and_checked() -> dict[str, Any]:
        examples = [emails.email_chat(email, learned=True) for email in approved]
        recipe = lab.recipe(Recipe(epochs=3, tokens_per_step=1024))
        with attached(lab.llm, train(lab.llm, lab.some(examples), recipe)):
            return checked(asked)

    yield "LoRA, 500, checked", learned_and_checked
