import sys; sys.path.insert(0, '/tmp/w7')
from common import Book, IGN
b = Book(); md, code = b.md, b.code

md('''
# 07 The hybrid pattern

**After this notebook you can** say when a system needs fine-tuning *and* retrieval, train a model to read what a search finds (distractors and missing answers included), show what training without context does to a model that is then given context, and tell for each wrong answer whether the search, the reader or the form lost it.

**Time and memory:** about 5 minutes on two CPU cores, less than 1.8 GB; a second run loads the adapter and takes two. No key, no network.

**Read first:** [01 RAG basics](01_rag_basics.ipynb) and [06 LoRA fine-tuning](06_lora_finetuning.ipynb).

The advice put to the test here: *RAG for knowledge, fine-tuning for behaviour. Some systems need both, such as a legal research desk: fine-tuned for citation style and argument structure, RAG for the case law. Only go there after clearly hitting the limits of each alone: it is harder to debug.* (Statements S07, S19, S20 and S21.)
''')
code('''
import numpy as np
from course_utils import chunking, corpus, finetuning, generation, models, plots, retrieval
from course_utils import sweeps, tasks, widgets
from course_utils.claims import claim, start, table
from course_utils.evaluation import estimate, paired_difference
from course_utils.formats import cases as law
from llama_index.core.schema import NodeWithScore

start("07_hybrid_pattern")
''')
md('''
## The legal desk

The Straits are an invented federation with 120 reported cases. The legal desk answers questions on them in four lines, in a house form, with the one case that decides. Here is a question, and the answer that a lawyer would sign:
''')
code('''
collection = corpus.load_cases()
learn, dev, test = (corpus.load_case_questions(split) for split in ("train", "dev", "test"))
shown = dev[0]
print(shown.question, shown.answer, sep="\\n\\n")
''')
md('''
Two things are asked at once. The **case law** is knowledge: no model has read it, and it changes when a court overrules itself. The **form** is behaviour: four labelled lines, the rule word for word, the name and the citation in brackets. The checker takes an answer apart and says which parts are right.

**Predict.** Somebody cites the right case, gives the right winner, and writes "Tarn vs. Ouse" and a friendly first line. Which parts fail?
''')
code('''
spoilt = "Happy to help!\\n" + shown.answer.replace(" v ", " vs. ")
for name, text in {"right": shown.answer, "spoilt": spoilt}.items():
    print(name, vars(law.check(text, shown.answer)))
''')
md('''
*structure* is about the form alone, *case* asks whether the right case is cited and no other, *name* and *rule* whether both are word for word, *conclusion* who wins. An answer that can be sent has all five.

## The search

BM25 over the pages, as in notebook 03. But 25 of the 120 cases were overruled later, and a page does not say so: only the later case does. Lawyers look it up in a **citator**. By hand: where an overruled case is found, put the one that overruled it in its place.
''')
code('''
known = {case.id: case for case in collection}
pages = retrieval.BM25Retriever(corpus.case_documents())

def first_five(question, citator):
    ids = [hit.node_id for hit in pages.search([question], len(known))[0]]
    ids = [tasks.in_force(known, id) if citator else id for id in ids]
    return list(dict.fromkeys(ids))[:5]
''')
code('''
decided = [q for q in dev if q.case]
for citator in (False, True):
    held = estimate([q.case in first_five(q.question, citator) for q in decided])
    print(f"citator: {citator!s:5}  the case is among the first five: {held}")
ranked = {q.id: found for group in (learn, dev, test)
          for q, found in zip(group, tasks.find_cases([q.question for q in group], collection))}
assert [c.id for c in ranked[decided[0].id][:5]] == first_five(decided[0].question, True)
''')
md('''
The reader gets five **headnotes**: a case in one line of about 50 tokens. A whole page would be three times as long, and five of them more than an example can hold that is to be trained on here.
''')
code('''
print(*map(tasks.headnote, ranked[shown.id][:5]), sep="\\n")
''')
md('''
## Training a reader

An adapter that is to read must be trained on reading: on what a search *finds*, not on what it should find. Three things go into the examples, after RAFT (Zhang et al., 2024) and a lesson of our own:

- **distractors**: of the five headnotes most are beside the point, as in use;
- **missing answers**: for one question in five the controlling case is kept out, and the answer to learn is "No case in the collection decides this.";
- **several questions on one context**: reading five headnotes is what costs, so three questions share them, as turns of one chat. That is three answers to learn from for less than the price of two.
''')
code('''
lessons = tasks.law_lessons(learn, [ranked[q.id] for q in learn])
mixed = next(chat for chat in lessons if [law.NO_RULE in chat[turn]["content"] for turn in (2, 4)] == [0, 1])
for message in mixed[1:5]:
    print(f"{message['role']}: {message['content']}\\n")
''')
code('''
asked = {q.question[:60] for q in (*dev, *test)}
assert not any(text in str(lessons) for text in asked)
llm = models.load_generator()
one = [tasks.law_chat([q.question], ranked[q.id][:5], [q.answer]) for q in learn]
for name, chats in {"one question a context": one, "three": lessons}.items():
    sizes = [len(finetuning.encode(llm, chat).ids) for chat in chats]
    print(f"{name}: {sum(sizes) / len(learn):.0f} tokens an answer, the longest chat {max(sizes)}")
''')
md('''
Live, a small training: sixteen such chats, once, with two questions each to stay inside this notebook's memory. `recompute` keeps only each layer's input and computes the rest again on the way back; without it, chats this long would not fit at all.

**Predict.** After sixteen chats: what will be there first, the form or the right case?
''')
code('''
recipe = finetuning.Recipe(rank=16, alpha=32, epochs=1, tokens_per_step=1024,
                           tokens_per_pass=1024, recompute=True)
pairs = tasks.law_lessons(learn, [ranked[q.id] for q in learn], together=2)
small = finetuning.train(llm, pairs[::3][:16], recipe)
print(f"{small.tokens:,} tokens in {len(small.history)} steps")
''')
code('''
few = dev[:8]
sourced = [tasks.law_chat([q.question], ranked[q.id][:5]) for q in few]
instructed = [tasks.instructed_law_chat(q.question, ranked[q.id][:5]) for q in few]
written = {"base": generation.generate(llm, instructed, 150, 6144, shared_prefix=True)}
with finetuning.attached(llm, small):
    written["small LoRA"] = generation.generate(llm, sourced, 150, 6144)
''')
code('''
for name, texts in written.items():
    scores = tasks.score_law(texts, few, collection)
    print(name, {part: int(sum(scores[part])) for part in ("structure", "case", "name", "rule")})
    print(texts[0], "\\n")
form = {name: tasks.score_law(texts, few, collection)["structure"] for name, texts in written.items()}
made = paired_difference(form["small LoRA"], form["base"])
claim("S20.small", "House structure on eight dev questions: sixteen chats against the style page",
      made, holds=made.value > 0)
''', IGN)
md('''
LIVE_TEXT

## The two-by-two

The whole experiment trains five adapters and takes about an hour: `course sweep law`. It stored a score for each of the 50 test questions, so that every number below has its interval. The base model gets the whole page on the house form in its prompt; the adapters get one short line.
''')
code('''
stored = {name: sweeps.load(name) for name in ("law", "reader")}
for name, sweep in stored.items():
    print(f"{name}: {sweep['date']}, {sweep['machine']}, {len(sweep['arms'])} arms")

def of(sweep, arm, metric):
    return np.array(stored[sweep]["arms"][arm]["scores"][metric])
''')
md('''
**Predict.** Four arms: {base, LoRA} × {closed book, RAG}. Which one gets the structure? Which one the case? Which one all five parts?
''')
code('''
four = ["base, closed book", "base, RAG", "LoRA, closed book", "LoRA, RAG"]
parts = {"structure": "structure", "right case": "case", "name and citation": "name",
         "rule word for word": "rule", "who wins": "conclusion", "all at once": "all"}
for label, part in parts.items():
    print(f"{label:19}", " | ".join(str(estimate(of("law", arm, part))) for arm in four))
''')
code('''
bars = {f"{arm}: {label}": estimate(of("law", arm, part)) for arm in four
        for label, part in (("structure", "structure"), ("right case", "case"), ("all", "all"))}
alt = "Bars for the four arms: structure, right case, and all five parts at once."
plots.bars(bars, f"share of answers, with 95 % intervals (n = {len(test)})", alt)
''')
code('''
TWO_CLAIMS
''')
md('''
No test question was trained on, and none is about facts that a training question is about. But a *case* may decide questions of both. Has the adapter learned cases by heart? Then it would be better where it has met the case in training:
''')
code('''
met = {q.case for q in learn}
groups = {"met in training": np.array([bool(q.case) and q.case in met for q in test]),
          "never met": np.array([bool(q.case) and q.case not in met for q in test])}
for arm in ("LoRA, closed book", "LoRA, RAG"):
    for name, group in groups.items():
        had = group & (of("law", arm, "found") == 1) if "RAG" in arm else group
        print(f"{arm:17} case {name:15} right case {estimate(of('law', arm, 'case')[had])}, n = {had.sum()}")
''')
md('''
(For RAG only the questions whose case was among the headnotes are counted, so that the search plays no part.)

TWO_TEXT

## Training without context, and then adding it

The tempting shortcut: there is an adapter for the form already, trained on questions and answers alone; why not put the headnotes into its prompt? RAFT found that this can be *worse* than either: such a model has learned to answer without looking.

**Predict.** The adapter trained closed book, given the same headnotes: better than without them? As good as the one that learned to read?
''')
code('''
arms = ["few-shot, RAG", "LoRA, closed book", "LoRA, closed book, then RAG", "LoRA, RAG"]
for arm in arms:
    shares = [estimate(of("law", arm, part)) for part in ("structure", "case", "rule", "all")]
    print(f"{arm:28}", " | ".join(map(str, shares)))
''')
code('''
RAFT_CLAIMS
''')
md('''
RAFT_TEXT

## Who lost the answer?

"It is harder to debug", says the advice. An answer can now be lost in three places, and each is mended elsewhere:

| cause | what happened |
|---|---|
| retrieval | the controlling case was not before the reader |
| form | it was, but the answer has not the four lines, or not the rule and the name word for word |
| reading | the form is kept, but the case or the winner is wrong |

Each wrong answer gets the first that applies. (A wrong form comes before a wrong reading: where the lines are missing, nobody can tell what was read.)
''')
code('''
def cause(scores, i):
    if scores["all"][i]:
        return "right"
    if not scores["found"][i]:
        return "retrieval"
    read = scores["case"][i] and scores["conclusion"][i]
    return "form" if read or not scores["structure"][i] else "reading"
''')
code('''
arms = [*four, "LoRA, RAG, gold shown"]
blamed = {arm: [cause(stored["law"]["arms"][arm]["scores"], i) for i in range(len(test))] for arm in arms}
counts = {arm: {part: made.count(part) for part in ("right", "retrieval", "form", "reading")}
          for arm, made in blamed.items()}
alt = "Stacked bars: each arm's test questions by cause; the hybrid's losses have several causes."
plots.stacked(counts, "test questions by cause", alt)
''')
code('''
CAUSE_CLAIMS
''')
md('''
CAUSE_TEXT

## The overruled case

A court overrules itself. The index is brought up to date: one page more, and the citator knows what it replaces. The weights are not.

To measure it, two adapters were trained on the law *as it stood before* 25 cases were overruled: one closed book, one reading. Then they are asked the questions on which the law has changed. Each is scored by which of the two cases it cites, and by which of the two it finds likelier when both are put before it.

**Predict.** After the rulings, with the new index: does the reader, which has never seen a new ruling in training, cite the new case? And the one that answers from its weights?
''')
code('''
after = [q for q in (*dev, *test) if q.case and known[q.case].overrules]
arms = {"weights alone": "LoRA before, closed book", "reader, old index": "LoRA before, RAG, old index",
        "reader, new index": "LoRA before, RAG, new index"}
for name, arm in arms.items():
    rows = [estimate(of("law", arm, key)) for key in ("cites old", "cites new", "likelier new")]
    print(f"{name:18}", " | ".join(map(str, rows)))
''')
code('''
bars = {f"{name}: {key}": estimate(of("law", arm, f"cites {key}"))
        for name, arm in arms.items() for key in ("old", "new")}
alt = "Bars: which case is cited. The reader's citations change with the index, the weights' cannot."
plots.bars(bars, f"answers that cite it, with 95 % intervals (n = {len(after)})", alt)
''')
code('''
OLD_CLAIMS
''')
md('''
OLD_TEXT

## The same pattern on the handbook

The bot of notebooks 01 to 05 reads badly: its reader must copy, always answers, and cites whatever page it copied from. The same recipe makes a reader that answers briefly, names its source and says when it is not there. Its lessons come from the train questions, with what the search finds for them, and from **rows**: what a table says, asked on pages that look alike, with one question in six about a page that is not among the sources. No page that a dev or test question is about is asked about.
''')
code('''
row = tasks.rows_of("| scanners (K70) | 62 |\\n- *Owner:* Keel\\nport: 7117   # as everywhere")
print(row)
whole = chunking.SpanSplitter(lambda text: [(0, len(text))])
nodes = whole.get_nodes_from_documents(corpus.load_handbook()[:2])
found = [NodeWithScore(node=node, score=1.0) for node in nodes]
for said in ("62 [2]", "62", "Not in the sources."):
    print(f"{said:20}", tasks.read_answer(said, found))
''')
md('''
`course sweep reader` trained it, on two cores in about half an hour, and gave it exactly what notebook 05's reader got: the first three chunks of the fused search, for the 160 test questions.

**Predict.** For most of these questions the answer is not in the three chunks. What will a reader do there that has learned to say so?
''')
code('''
asked = corpus.load_questions("test")
answerable = np.array([q.answerable for q in asked])
readers = {"copying (notebook 05)": "copy", "writing (notebook 01)": "base", "LoRA": "LoRA",
           "LoRA, no rows": "LoRA, no rows"}
''')
code('''
def summary(arm):
    right, cites, gold, refused = (of("reader", f"{arm}, retrieved", key)
                                   for key in ("right", "cites", "cites gold", "refused"))
    return {"right": right[answerable], "citation precision": gold[cites == 1],
            "refusal precision": ~answerable[refused == 1], "refusal recall": refused[~answerable]}

measured = {name: summary(arm) for name, arm in readers.items()}
''')
code('''
for name, columns in measured.items():
    said = [f"{label} {estimate(values) if len(values) else '–'}" for label, values in columns.items()]
    print(f"{name}\\n   ", " | ".join(said))
''')
code('''
bars = {f"{name}, {sources}": estimate(of("reader", f"{arm}, {sources}", "right")[mask])
        for name, arm in readers.items()
        for sources, mask in (("retrieved", answerable), ("gold", slice(None)))}
alt = "Bars: right answers of four readers, with retrieved and with gold chunks."
plots.bars(bars, f"answerable questions that are right (n = {answerable.sum()})", alt)
''')
code('''
READER_CLAIMS
''')
md('''
READER_TEXT

## Explore: with cases and without

Change the message, or take headnotes out of it, and compare what the base model and the small adapter write. What does the adapter say when the case that decides is missing?
''')
code('''
briefs = {"with cases": tasks.law_chat([shown.question], ranked[shown.id][:5]),
          "closed book": tasks.law_chat([shown.question])}
widgets.adapter_explorer(llm, {name: (small, tasks.DESK, chat[1]["content"]) for name, chat in briefs.items()})
''')
md('''
## What this notebook measured
''')
code('''
table()
''', IGN)
b.exercises("07", ["07-tokens", "07-lessons", "07-citator", "07-overruled", "07-honest"],
            {"07-lessons": "lesson_answer(question, shown)", "07-citator": "follow(ranking, overruled_by, k)"})
md('''
## What to take away

T_TEXT

**Try it yourself.** Train the small adapter with `present=1.0`, so that no case is ever missing, and ask it the open questions of dev. What does it do where no case decides?
''')
if __name__ == "__main__":
    import fill07
    b.write('/tmp/wt7/notebooks/07_hybrid_pattern.ipynb', fill07.FILL)
