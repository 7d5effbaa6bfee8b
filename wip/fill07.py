FILL = {}
FILL["TWO_CLAIMS"] = '''
def gain(part, after, before):
    return paired_difference(of("law", after, part), of("law", before, part))

made = gain("structure", "LoRA, RAG", "base, RAG")
claim("S07.form", "House structure: LoRA against the base model with the whole style page, both with RAG",
      made, holds=made.low > 0.1)
made = gain("case", "LoRA, RAG", "LoRA, closed book")
claim("S07.law", "Right case: RAG against closed book, both with LoRA", made, holds=made.low > 0)
better = max(("base, RAG", "LoRA, closed book"), key=lambda arm: of("law", arm, "all").mean())
made = gain("all", "LoRA, RAG", better)
claim("S19.both", f"All five parts right: both together against the better one alone ({better})", made,
      holds=made.low > 0)
made = estimate(of("law", "LoRA, RAG", "all"))
claim("S20.all", "The hybrid desk's answers with all five parts right", made, holds=made.low > 0.02);
'''
FILL["RAFT_CLAIMS"] = '''
made = gain("case", "LoRA, RAG", "LoRA, closed book, then RAG")
claim("S19.reading", "Right case: trained on reading against trained without context, same headnotes", made,
      holds=made.low > 0)
made = gain("case", "LoRA, closed book, then RAG", "LoRA, closed book")
claim("S19.context", "Right case: what headnotes add to the adapter that never read any", made,
      holds=made.low > -0.1);
'''
FILL["CAUSE_CLAIMS"] = '''
def largest(arm):
    lost = [made for made in blamed[arm] if made != "right"]
    name = max(set(lost), key=lost.count)
    return name, estimate([made == name for made in lost])

alone = {arm: largest(arm) for arm in ("base, RAG", "LoRA, closed book")}
name, share = largest("LoRA, RAG")
claim("S21.one_cause", f"The hybrid's lost answers that have its most frequent cause ({name})", share,
      holds=share.value < min(each.value for _, each in alone.values()))
made = estimate(np.array(blamed["LoRA, RAG"]) == "retrieval")
claim("S21.retrieval", "The hybrid's answers that the search has lost", made, holds=made.low > 0.05)
made = gain("all", "LoRA, RAG, gold shown", "LoRA, RAG")
claim("S21.gold", "What a perfect search would add: all five parts", made, holds=made.low > -0.05);
'''
FILL["OLD_CLAIMS"] = '''
new = {name: of("law", arm, "likelier new") for name, arm in arms.items()}
made = paired_difference(new["reader, new index"], new["weights alone"])
claim("S20.overruled", "New ruling likelier than the old: reader with the new index against weights alone",
      made, holds=made.low > 0.2)
made = estimate(of("law", arms["reader, new index"], "cites old"))
claim("S20.old_cited", "Answers of the reader with the new index that cite the overruled case", made,
      holds=made.high < 0.25)
made = estimate(new["weights alone"])
claim("S20.weights", "New ruling likelier than the old, from the weights alone", made, holds=made.high < 0.6);
'''
FILL["READER_CLAIMS"] = '''
old, new = measured["copying (notebook 05)"], measured["LoRA"]
made = paired_difference(new["right"], old["right"])
claim("S19.reader", "Handbook, right answers: the LoRA reader against notebook 05's, same chunks", made,
      holds=made.low > 0)
made = estimate(new["citation precision"])
claim("S19.cites", "The LoRA reader's citations that point at a page which answers", made,
      holds=made.low > estimate(old["citation precision"]).value)
made = estimate(new["refusal recall"])
claim("S19.refuses", "Unanswerable questions that the LoRA reader refuses", made, holds=made.low > 0.3)
made = estimate(new["refusal precision"])
claim("S19.refusals", "Its refusals that are of unanswerable questions", made, holds=made.value > 0.15);
'''
for k in ("LIVE_TEXT", "TWO_TEXT", "CAUSE_TEXT", "OLD_TEXT", "READER_TEXT"):
    FILL[k] = f"({k})"
FILL["RAFT_TEXT"] = '''
(RAFT_TEXT)

What a larger model changes, from RAFT's Table 1 (Zhang et al., 2024; LLaMA2 with 7 billion parameters, accuracy in %):

| | PubMed | HotpotQA | HuggingFace |
|---|---|---|---|
| trained closed book (their DSF) | 59.7 | 6.4 | 61.1 |
| the same, then RAG | 71.6 | 4.4 | 42.6 |
| trained on reading (RAFT) | 73.3 | 35.3 | 74.0 |

There too, adding context to a model that was trained without it helps on one set and hurts on two, and training on what retrieval brings is ahead on all three.
'''
FILL["T_TEXT"] = """
- Ask which part of a task is knowledge and which is behaviour. A hybrid is for tasks that need both right at once, and "all at once" is the number to look at.
- Train a reader on what the search finds: distractors, and answers that are not there. An adapter trained without context is not a reader; measure before giving it one.
- Put several questions on one context. Reading it is what costs, and each answer below it is learned from.
- Give every wrong answer one cause. A hybrid has three places to lose an answer, and each is mended elsewhere.
- When facts change, change the index and what it knows about them (here the citator), and leave the weights alone.
- A refusal can be honest and still counted as wrong: its precision is the search's as much as the reader's.
"""
