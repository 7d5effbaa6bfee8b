import sys; sys.path.insert(0, '/tmp/w7')
from common import Book, IGN
b = Book(); md, code = b.md, b.code

md('''
# 08 Common mistakes

**After this notebook you can** recognise four expensive mistakes by their symptoms, say what each one costs in numbers, find a broken retrieval in a minute where its answers would have hidden it for weeks, and name the repair and its price.

**Time and memory:** about 5 minutes on two CPU cores, less than 1.8 GB. No key, no network.

**Read first:** [05 Evaluation](05_evaluation.ipynb) and [06 LoRA fine-tuning](06_lora_finetuning.ipynb). [07 The hybrid pattern](07_hybrid_pattern.ipynb) helps.

The advice put to the test here: *Do not fine-tune to add knowledge: it works at first, then the facts change and the model is confidently wrong. Do not use RAG for a behaviour problem: more documents do not fix a format. Do not skip the evaluation of retrieval: most bad answers are retrieval failures, and chunks that are too large, a mismatched embedder or an aggressive threshold break any model's answers. Do not fine-tune before prompting is exhausted.* (Statements S05, S22, S23, S24, S25 and S26.)

Each mistake is committed in earnest: the symptom, the damage, how one would have noticed, and the repair, all measured.
''')
code('''
import numpy as np
from course_utils import corpus, evaluation, finetuning, generation, models, plots, retrieval
from course_utils import sweeps, tasks, widgets
from course_utils.claims import claim, start, table
from course_utils.evaluation import estimate, paired_difference
from course_utils.faults import Faults, symptoms, workshop
from llama_index.core.schema import NodeWithScore

start("08_common_mistakes")
''')
code('''
llm = models.load_generator()
stored = {name: sweeps.load(name) for name in ("knowledge", "voice", "format", "mistakes")}
damage = {}  # mistake -> (what is measured, damaged, repaired)

def of(sweep, arm, metric):
    return np.array(stored[sweep]["arms"][arm]["scores"][metric])
''')
md('''
The longer trainings of this notebook were run by `course sweep`, for the notebooks before; where a number comes from there, it is read from the stored file, one score an item.

## Mistake 1: fine-tuning to add knowledge

*"The model does not know our facts, so we teach it our facts."* Facts from the handbook, each asked in four ways, and the answers as they stand in week 1. The first eight, live, with the base model's own guess beside it. Four options are offered, as in notebook 06: week 1's answer, week 2's, and two of other facts.
''')
code('''
facts = tasks.facts_with_paraphrases()
examples = [tasks.fact_chat(text, old.answer) for old, _, others in facts[:8] for text in others]
recipe = finetuning.Recipe(epochs=6, tokens_per_step=512)
taught = finetuning.train(llm, examples, recipe)
''')
code('''
def shares(place):
    chat, options = tasks.fact_chat(facts[place][0].text), tasks.four_options(facts, place)
    likelihood = np.exp(generation.option_scores(llm, chat, options))
    return likelihood / likelihood.sum()

before = np.array([shares(place) for place in range(8)])
with finetuning.attached(llm, taught):
    after = np.array([shares(place) for place in range(8)])
''')
code('''
old, new, _ = facts[0]
print(old.text)
for name, row in {"base": before[0], "taught": after[0]}.items():
    said = zip(tasks.four_options(facts, 0), row)
    print(f"{name:7}", ", ".join(f"{option}: {share:.2f}" for option, share in said))
''', IGN)
md('''
**It works at first.** All 32 facts, from the sweep `knowledge`, in the week they were taught. **Then week 2 arrives**, and each of these facts has changed.

**Predict.** What share of the facts does the taught model get right in week 2? And how sure is it of the old answer: less than before, because it is wrong now?
''')
code('''
taught_arms = [f"LoRA, 4 phrasings, seed {seed}" for seed in (0, 1, 2)]
known = {week: {"base": of("knowledge", "base", week),
                "taught": np.mean([of("knowledge", arm, week) for arm in taught_arms], axis=0),
                "RAG": of("knowledge", f"RAG, index of {week}", week)}
         for week in ("week 1", "week 2")}
''')
code('''
series = {name: {week: estimate(known[week][name]) for week in known} for name in known["week 1"]}
alt = "Lines from week 1 to week 2: the taught model's facts fall, those of RAG with its index do not."
plots.lines(series, "asked in", f"facts known (n = {len(facts)})", alt)
''')
code('''
for arm in ("base", "LoRA of week 1", "LoRA of week 2"):
    sure = [estimate(of("mistakes", f"sure, {arm}", f"sure of week {week}")) for week in (1, 2)]
    print(f"{arm:15} share of likelihood: week 1's answer {sure[0]}, week 2's answer {sure[1]}")
''')
md('''
Nothing in the model knows what week it is. That is what *confidently wrong* means: the symptom is that there is no symptom. No refusal, no lower confidence, no citation that could be out of date.

**How one would have noticed:** by asking the test questions again with this week's answers, which is to say by keeping gold answers up to date. **The repair:** put facts into an index, and read it again when they change. The other repair, training again, works too. What does each cost?
''')
code('''
arms = stored["knowledge"]["arms"]
seconds = {"embed what changed": arms["RAG, index of week 2"]["update_seconds"],
           "train again": stored["mistakes"]["arms"]["sure, LoRA of week 2"]["train_seconds"]}
print({name: f"{took:.0f} s" for name, took in seconds.items()}, f"for {len(facts)} facts")
''')
code('''
M1_CLAIMS
''')
code('''
M1_REPAIR
''')
md('''
M1_TEXT

## Mistake 2: RAG for a behaviour problem

*"The bot does not write in our voice, so we put the style guide into the index."* Corvane's guide has 16 rules; the notes for an e-mail retrieve the nearest ones.
''')
code('''
embedder = models.load_embedder()
briefs = corpus.load_emails(held_out=True)
vectors = embedder.encode(tasks.RULES)
nearest = np.argsort(-(vectors @ embedder.encode([briefs[0].brief])[0]))
print(briefs[0].brief, "\\n")
print(*(tasks.RULES[place] for place in nearest[:3]), sep="\\n")
''')
md('''
These are about what the *notes* are about. The rules that the e-mail will break are about how it begins, ends and counts, and no notes are near them. So let us take more rules, until all of them are in the prompt: that is a perfect search.

**Predict.** The share of rules kept, with 1, 2, 5, 10 and all 16 rules in the prompt?
''')
code('''
shown = {"0": ("voice", "bare"), "1": ("mistakes", "guide, 1 rule"), "2": ("mistakes", "guide, 2 rules"),
         "5": ("voice", "guide, 5 rules"), "10": ("mistakes", "guide, 10 rules"),
         "16": ("voice", "guide, all rules")}
kept = {k: of(*where, "rules") for k, where in shown.items()}
plain = [arm for arm in stored["voice"]["arms"] if arm[:5] == "LoRA," and "checked" not in arm]
largest = max(plain, key=lambda arm: of("voice", arm, "rules").mean())
''')
code('''
series = {"rules in the prompt": {k: estimate(values) for k, values in kept.items()},
          f"{largest} e-mails, none in the prompt": dict.fromkeys(kept, estimate(of("voice", largest, "rules")))}
alt = "Lines over the number of rules in the prompt: hardly rising, far below the trained model."
plots.lines(series, "rules of the guide in the prompt", "share of rules kept (n = 100)", alt)
''')
code('''
names = [rule for rule in stored["voice"]["arms"]["bare"]["scores"] if rule not in
         ("rules", "all rules", "facts", "all facts")]
print("rule            bare  all 16 in the prompt  LoRA")
for rule in names:
    row = [of("voice", arm, rule).mean() for arm in ("bare", "guide, all rules", largest)]
    print(f"{rule:15} {row[0]:.2f}  {row[1]:.2f}                  {row[2]:.2f}")
''')
code('''
M2_CLAIMS
''')
md('''
M2_TEXT

## Mistake 3: not evaluating retrieval

*"We looked at the answers, they were so-so, so we took a larger model."* Here are five copies of one search, the nearest chunks by MiniLM. Four are broken, in ways that raise no error:

- **large chunks**: 512 tokens, of which the embedder reads 256; one fills the prompt that held three;
- **other embedder**: the questions go through another model than the pages, whose vectors happen to have the same length (somebody upgraded one side);
- **high threshold**: nothing below a cosine of 0.5, which sounds mild;
- **reversed scores**: distances sorted as if they were similarities.
''')
code('''
pages = corpus.load_handbook()
search_with = workshop(pages, embedder)
broken = sweeps.BROKEN
asked = [q for q in corpus.load_questions("test") if q.answerable]
texts = [q.text for q in asked]
found = {name: search_with(faults).search(texts) for name, faults in broken.items()}
''')
md('''
### First the answers, as everybody does

Notebook 05's reader on every third test question, and as a control the same reader with the gold chunks, which no search can spoil.

**Predict.** Can you tell which of the five is the healthy one?
''')
code('''
third = asked[::3]
everything = [NodeWithScore(node=node, score=1.0) for node in search_with(Faults()).nodes]
gold = [[hit for hit in everything if evaluation.gold_coverage([hit], q.gold)] for q in third]
reader = generation.CopyReader(llm)
questions = [q.text for q in third]
answers = {name: reader(questions, hits[::3]) for name, hits in found.items()}
answers["gold pages"] = reader(questions, gold)
''')
code('''
right = {name: [evaluation.is_correct(*pair) for pair in zip(given, third)] for name, given in answers.items()}
bars = {name: estimate(values) for name, values in right.items()}
alt = "Bars of right answers: all five searches low and their intervals overlapping; gold pages far above."
plots.bars(bars, f"right answers (n = {len(third)})", alt)
''')
md('''
LOOK_TEXT

A better reader makes the symptom louder, and different: the one of notebook 07 says "not in the sources" where it finds nothing. (From the sweep `mistakes`, all test questions.)
''')
code('''
test = corpus.load_questions("test")
answerable = np.array([q.answerable for q in test])
for name in broken:
    share = {key: estimate(of("mistakes", f"reader, {name}", key)[answerable]) for key in ("right", "refused")}
    print(f"{name:16}", " | ".join(f"{key} {made}" for key, made in share.items()))
''')
md('''
### Then the search

**Predict.** Which numbers tell the five apart, and how long does that take?
''')
code('''
looked = {name: symptoms(search_with(faults), asked) for name, faults in broken.items()}
for name, metrics in looked.items():
    print(f"{name:16}", " | ".join(f"{metric} {value}" for metric, value in metrics.items()))
''')
code('''
metrics = ("answer in the sources", "recall@10 of pages", "no source at all")
series = {metric: {name.replace(" ", "\\n"): looked[name][metric] for name in looked} for metric in metrics}
alt = "Points for five searches: each fault moves another metric, and the healthy one stands out."
plots.lines(series, "search", "share of questions", alt, joined=False)
''')
code('''
held = {name: np.array([evaluation.bears_answer(*pair) for pair in zip(hits, asked)])
        for name, hits in found.items()}
lost = {name: held[name][::3][~np.array(right[name])] for name in broken}
for name, had in lost.items():
    print(f"{name:16} wrong answers whose answer was not among the sources: {estimate(~had)}")
''', IGN)
code('''
M3_SEARCH
''')
code('''
M3_CLAIMS
''', IGN)
md('''
M3_TEXT

### What hides a fault

Most systems have BM25 beside the embeddings. It has none of these faults.

**Predict.** How much of the damage is left when each of the five is fused with BM25?
''')
code('''
words = retrieval.BM25Retriever(search_with(Faults()).nodes)
fused = {name: symptoms(retrieval.FusedRetriever([words, search_with(faults)], 3, k=10), asked)
         for name, faults in broken.items() if name != "large chunks"}
for name, metrics in fused.items():
    alone, both = (each[name]["recall@10 of pages"] for each in (looked, fused))
    print(f"{name:16} recall@10 alone {alone}, fused {both}")
''')
code('''
def fall(measured, fault="other embedder", metric="recall@10 of pages"):
    return measured["healthy"][metric].value - measured[fault][metric].value

left = fall(fused) / fall(looked)
claim("S24.hidden", "Recall@10 lost to another embedder: fused with BM25, as a share of what is lost alone",
      left, holds=left < 0.5, n=len(asked));
''')
md('''
HIDE_TEXT

### Explore: break it yourself

Tab moves, Space switches. Which metric moves with which fault, and which faults hide behind each other? Choose a question and let the reader answer: could you have told from the answer?
''')
code('''
widgets.broken_pipeline_explorer(search_with, asked, reader)
''')
md('''
## Mistake 4: fine-tuning before exhausting prompting

*"Prompting did not work, so we fine-tune."* Which prompting? The ladder of notebook 06, with the price of each rung: tokens read for each message, seconds for an answer, and what has to be prepared.
''')
code('''
ladder = stored["format"]["arms"]
rungs = [arm for arm in ("zero-shot", "instructions", "few-shot", "few-shot, constrained") if arm in ladder]
trained = [arm for arm in ladder if arm[:5] == "LoRA," and "constrained" not in arm]
trained.sort(key=lambda arm: of("format", arm, "exact").mean())
rungs += [trained[0], trained[-1]]
''')
code('''
for rung in rungs:
    arm = ladder[rung]
    shares = [estimate(of("format", rung, metric)) for metric in ("valid", "exact")]
    cost = f"{arm['prompt_tokens']:4.0f} tokens, {arm.get('train_seconds', 0) / 60:3.0f} min of training"
    print(f"{rung:22} valid {shares[0]} | exact {shares[1]} | {cost}")
''')
code('''
bars = {f"{rung}: {key}": estimate(of("format", rung, key)) for rung in rungs for key in ("valid", "exact")}
alt = "Bars for each rung: valid tickets and exactly right ones; a grammar makes all valid."
plots.bars(bars, "share of tickets, with 95 % intervals", alt)
''')
md('''
Committed in earnest, the mistake looks like this: the goal was *valid JSON*, zero-shot prompting had failed, and somebody collected examples and trained. Live, what one line of code would have done instead: the same model, the same message, with and without a grammar.
''')
code('''
ticket = corpus.load_tickets("dev")[0]
chat = [tasks.turns(tasks.TICKET, ticket.message)]
free = generation.generate(llm, chat, 60)[0]
fitted = generation.generate(llm, chat, 140, schema=tasks.SCHEMA)[0]
valid = [tasks.score_tickets([text], [ticket])["valid"][0] for text in (free, fitted)]
assert valid == [0, 1]
print(fitted)
''', IGN)
code('''
M4_CLAIMS
''')
md('''
M4_TEXT

## The bill

''')
code('''
for mistake, (what, damaged, repaired) in damage.items():
    print(f"{mistake}: {what}\\n    with the mistake {damaged}\\n    repaired         {repaired}")
''')
md('''
## What this notebook measured
''')
code('''
table()
''', IGN)
b.exercises("08", ["08-which-fault", "08-alarm", "08-doctor", "08-stale", "08-rungs"],
            {"08-doctor": "diagnose(before, after)", "08-stale": "stale(answers, old, new)"})
md('''
## What to take away

T_TEXT

**Try it yourself.** Set `faults.THRESHOLD` to 0.4 and run mistake 3 again: is there a threshold that removes wrong sources and keeps right ones? Choose it on dev.
''')
if __name__ == "__main__":
    import fill08
    b.write('/tmp/wt7/notebooks/08_common_mistakes.ipynb', fill08.FILL)
