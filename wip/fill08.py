FILL = {}
FILL["M1_CLAIMS"] = '''
made = paired_difference(known["week 1"]["taught"], known["week 1"]["base"])
claim("S22.first", "Facts in the week they were taught: gain over the base model", made, holds=made.low > 0)
made = paired_difference(known["week 2"]["taught"], known["week 1"]["taught"])
claim("S22.stale", "The same model a week later, when they have changed: difference", made,
      holds=made.high < 0)
'''
FILL["M1_REPAIR"] = '''
sure = {arm: of("mistakes", f"sure, {arm}", "sure of week 1") for arm in ("base", "LoRA of week 1")}
made = paired_difference(sure["LoRA of week 1"], sure["base"])
claim("S22.sure", "Likelihood given to the outdated answer, against the base model", made, holds=made.low > 0)
made = paired_difference(known["week 2"]["RAG"], known["week 2"]["taught"])
claim("S22.repair", "Facts of week 2: RAG with a new index against the model taught in week 1", made,
      holds=made.low > 0)
times = seconds["train again"] / seconds["embed what changed"]
claim("S05.update", "Seconds to train again over seconds to embed what changed", times, holds=times > 3)
damage["1 knowledge in weights"] = ("facts right in week 2", estimate(known["week 2"]["taught"]),
                                    estimate(known["week 2"]["RAG"]))
'''
FILL["M2_CLAIMS"] = '''
made = paired_difference(kept["16"], kept["1"])
claim("S23.more", "Rules kept: all 16 rules in the prompt against one", made, holds=made.high < 0.25)
made = paired_difference(of("voice", largest, "rules"), kept["16"])
claim("S23.repair", f"Rules kept: {largest} e-mails against the whole guide in the prompt", made,
      holds=made.low > 0.2)
made = estimate(of("voice", "guide, all rules", "all rules"))
claim("S23.all", "E-mails that keep all rules with the whole guide in the prompt", made, holds=made.high < 0.2)
damage["2 documents for a voice"] = ("rules kept", estimate(kept["16"]),
                                     estimate(of("voice", largest, "rules")))
'''
FILL["M3_SEARCH"] = '''
for name in broken:
    if name != "healthy":
        made = paired_difference(held[name], held["healthy"])
        claim(f"S25.{name.replace(' ', '_')}", f"Answer in the sources, {name}: against the healthy search",
              made, holds=made.high < 0)
'''
FILL["M3_CLAIMS"] = '''
made = paired_difference(right["healthy"], right[min(broken, key=lambda name: np.mean(right[name]))])
claim("S24.answers", "Right answers: the healthy search against the worst, by the answers alone", made,
      holds=made.value < 0.25)
made = paired_difference(right["gold pages"], right["healthy"])
claim("S24.control", "The same reader with the gold pages: gain in right answers", made, holds=made.low > 0)
made = estimate(~np.concatenate(list(lost.values())))
claim("S24.share", "Wrong answers of all five whose answer was not among the sources", made,
      holds=made.low > 0.5)
worst = min(held, key=lambda name: held[name].mean())
damage["3 retrieval not looked at"] = ("answer in the sources, " + worst, estimate(held[worst]),
                                       estimate(held["healthy"]))
'''
FILL["M4_CLAIMS"] = '''
fits, best = "few-shot, constrained", rungs[-1]
made = paired_difference(of("format", fits, "valid"), of("format", best, "valid"))
claim("S26.valid", f"Tickets that fit the schema: a grammar without training against {best}", made,
      holds=made.low > -0.05)
made = paired_difference(of("format", best, "exact"), of("format", fits, "exact"))
claim("S26.exact", f"Tickets exactly right: {best} against the best prompt under a grammar", made,
      holds=made.low > 0)
damage["4 training before prompting"] = ("tickets that fit the schema", estimate(of("format", "zero-shot", "valid")),
                                         estimate(of("format", fits, "valid")))
'''
for k in ("M1_TEXT", "M2_TEXT", "M3_TEXT", "M4_TEXT", "LOOK_TEXT"):
    FILL[k] = f"({k})"
FILL["T_TEXT"] = """
- Keep gold answers up to date, and ask the test questions again after each change of facts. A model that learned facts shows no sign of having become wrong.
- A style guide in the index is text about behaviour. Measure the behaviour, rule by rule, before adding documents.
- Look at the search before the answers: the answer among the sources, recall at two depths, and the share of questions without a source tell faults apart in seconds.
- Keep a control that the search cannot spoil: the same reader with the gold pages.
- A second search hides the faults of the first. Measure each part alone.
- Climb the ladder from the cheap end, and write down what each rung costs. Train for what is left.
"""
FILL["HIDE_TEXT"] = """
Most of the damage disappears from the numbers, and half of the machine is dead all the same: a vector search that finds nothing looks, behind a fusion, like a slightly weaker one. That is good for users and bad for whoever is looking for the fault. Measure each part alone, then the whole.
"""
