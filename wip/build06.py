import nbformat, sys
cells=[]
def md(t): cells.append(nbformat.v4.new_markdown_cell(t.strip("\n")))
def code(t,*tags):
    c=nbformat.v4.new_code_cell(t.strip("\n")); 
    if tags: c.metadata["tags"]=list(tags)
    cells.append(c)
IGN="nbval-ignore-output"

md('''
# 06 LoRA fine-tuning

**After this notebook you can** build a LoRA layer by hand and with peft, fine-tune a small model on a laptop CPU in a minute or two, measure format and voice against prompting with the same care, and say what fine-tuning cannot do: hold facts that change, or tell where it has them from.

**Time and memory:** about 7 minutes on two CPU cores, less than 1.8 GB; a second run loads the adapters and takes half of it. No key, no network.

**Read first:** [01 RAG basics](01_rag_basics.ipynb).

The advice put to the test here: *Fine-tune for behaviour, such as a format, a voice or a notation, and not for knowledge: what changes belongs into an index. Exhaust prompting first. Fine-tuned on 500 approved e-mails, a model keeps the house voice in about 97 % of them; with the guidelines in the prompt, in about 80 %.* (Statements S02, S04, S05, S07, S12 to S16 and S26.)
''')
code('''
import json

import numpy as np
import torch
from course_utils import corpus, finetuning, generation, models, plots, sweeps, tasks, widgets
from course_utils.claims import claim, start, table
from course_utils.evaluation import estimate, paired_difference
from course_utils.formats import emails, tickets

start("06_lora_finetuning")
''')
md('''
The model is the one that has been answering since notebook 01. We keep a fingerprint of its weights, to see at the end whether anything of this notebook changed them.
''')
code('''
llm = models.load_generator()
frozen = models.weights_digest(llm.model)
print(f"{sum(weight.numel() for weight in llm.model.parameters()):,} weights")
''')
md('''
## A LoRA layer by hand

Training all weights would need several times the model's memory: weights, gradients, and the optimizer's two averages. LoRA (Hu et al., 2022) leaves a layer's matrix *W* as it is and adds two thin ones beside it, *W x + s B A x*. *A* takes the input down to a few numbers, the *rank*; *B* takes them up again. Only *A* and *B* are trained.

**Predict.** *A* starts as random numbers and *B* as zeros. What does the layer compute before the first step of training?
''')
code('''
layer = llm.model.model.layers[0].mlp.up_proj
rank, scale = 8, 2.0
A = torch.randn(rank, layer.in_features) / rank
B = torch.zeros(layer.out_features, rank)

def by_hand(x):
    return layer(x) + scale * (x @ A.T @ B.T)

x = torch.randn(5, layer.in_features)
assert torch.equal(by_hand(x), layer(x))
print(f"{A.numel() + B.numel():,} new numbers beside {layer.weight.numel():,}")
''')
md('''
Exactly what it computed before: training starts from the model as it is. The library peft puts such a layer in the place of the old one. With the same *A* and *B*, the same numbers come out:
''')
code('''
from peft import LoraConfig, get_peft_model

only = LoraConfig(r=rank, lora_alpha=rank * scale, target_modules=["layers.0.mlp.up_proj"])
wrapped = get_peft_model(llm.model, only)
theirs = llm.model.model.layers[0].mlp.up_proj
theirs.lora_A["default"].weight.data = A
theirs.lora_B["default"].weight.data = B = torch.randn(B.shape) / 100
assert torch.allclose(theirs(x), by_hand(x), atol=1e-4) and not torch.equal(theirs(x), layer(x))
wrapped.unload();
''')
md('''
## What is learned: the answer, not the question

An example is a chat. The model reads all of it, but it should learn to *write* only the assistant's part. So the loss, the surprise at each next token in nats, counts on those tokens alone. Here is a customer's message to Corvane and the ticket that it becomes:
''')
code('''
shown = corpus.load_tickets("dev")[0]
row = finetuning.encode(llm, tasks.ticket_chat(shown, learned=True))
learned = [token for token, yes in zip(row.ids, row.learned) if yes]
print(shown.message)
print(len(row.ids), "tokens, of which learned:", len(learned))
print(llm.tokenizer.decode(learned))
''')
md('''
By hand: let the model guess each next token, and look up the probability it gave to the right one.

**Predict.** For each token the model computes a score for every word of its vocabulary. How many of those scores does the loss need?
''')
code('''
with torch.inference_mode():
    logits = llm.model(torch.tensor([row.ids])).logits[0]
    ours = finetuning.token_losses(llm, [row])
logprobs = logits.log_softmax(-1)[:-1]  # each token guesses the next one
nats = -logprobs.gather(1, torch.tensor(row.ids[1:])[:, None])[:, 0]
assert torch.allclose(nats[torch.tensor(row.learned[1:])], ours, atol=1e-3)
print(f"{logits.numel() * 4 / 1e6:.0f} MB of scores,", f"{len(ours) / len(logits):.0%} of them needed")
''')
md('''
Those scores, once more as probabilities and once more as gradients, are what fills the memory in most training loops. `course_utils.finetuning` computes them where a learned token is predicted and nowhere else. It reads a few examples at a time, adds up their gradients until a step's budget of tokens is full, and then moves the adapter's weights.

## Format: tickets

Corvane's tickets follow a schema and a notation of its own for faults: `T+9/35@V` is a reading 9 °C above the band for 35 minutes, in the van. A model that has not seen the page of rules cannot know it.

**Predict.** What will the base model make of the message above, asked for "a ticket, as JSON"?
''')
code('''
asked = tasks.turns(tasks.TICKET, shown.message)
print(generation.generate(llm, [asked], 60)[0])
''',IGN)
md('''
Now an adapter on all linear layers, trained on 50 messages with their tickets, four times over. Its prompt is one short line: what the format is must come to live in the weights.
''')
code('''
learn, test = corpus.load_tickets("train"), corpus.load_tickets("test")
examples = [tasks.ticket_chat(ticket, learned=True) for ticket in learn[:50]]
recipe = finetuning.Recipe(epochs=4, tokens_per_step=1024)
ticket_adapter = finetuning.train(llm, examples, recipe)
print(f"{ticket_adapter.tokens:,} tokens in {len(ticket_adapter.history)} steps")
''')
code('''
print("right:", tickets.to_json(shown.ticket))
with finetuning.attached(llm, ticket_adapter):
    print("LoRA: ", generation.generate(llm, [tasks.ticket_chat(shown)], 140)[0])
''',IGN)
md('''
### The ladder

One ticket proves nothing, and a prompt deserves the same care as an adapter. Four rungs, on the first 32 test messages: the bare request; eight examples in front of the message (*few-shot*); the same with **constrained decoding**, where a grammar made from the schema (by llguidance) masks every token that could not go on to a valid ticket; and LoRA.

**Predict.** For each rung: what share of tickets fits the schema? What share is exactly right?
''')
code('''
few = test[:32]
shots = [tasks.ticket_chat(ticket, learned=True) for ticket in learn[:8]]
short = [tasks.ticket_chat(ticket) for ticket in few]
zero_shot = [tasks.turns(tasks.TICKET, ticket.message) for ticket in few]
few_shot = [tasks.few_shot(tasks.TICKET, shots, chat) for chat in short]
''')
code('''
def write(chats, **settings):
    texts = generation.generate(llm, chats, 140, 6144, shared_prefix=True, **settings)
    return tasks.score_tickets(texts, few)

live = {"zero-shot": write(zero_shot), "few-shot": write(few_shot)}
live["constrained"] = write(few_shot, schema=tasks.SCHEMA)
with finetuning.attached(llm, ticket_adapter):
    live["LoRA, 50"] = write(short)
''')
code('''
bars = {f"{name}: {key}": estimate(scores[key])
        for name, scores in live.items() for key in ("valid", "exact")}
alt = "Bars for four rungs: the share of tickets that fit the schema, and that are exactly right."
plots.bars(bars, f"share of tickets, with 95 % intervals (n = {len(few)})", alt)
''')
md('''
The whole ladder, with all the test messages, the page of rules as a prompt, and more examples for LoRA, takes longer than a class has. `course sweep format` ran it and stored each ticket's score; the rest of this section reads that file.
''')
code('''
stored = {name: sweeps.load(name) for name in sweeps.SWEEPS}
for name, sweep in stored.items():
    print(f"{name}: {sweep['date']}, {sweep['machine']}, {len(sweep['arms'])} arms")

def of(sweep, arm, metric):
    return stored[sweep]["arms"][arm]["scores"][metric]
''')
code('''
rungs = ["zero-shot", "instructions", "few-shot", "instructions, constrained",
         "few-shot, constrained", "LoRA, 50", "LoRA, 400"]
for rung in rungs:
    shares = [estimate(of("format", rung, metric)) for metric in ("valid", "exact", "f1")]
    print(f"{rung:26}", " | ".join(map(str, shares)))
''')
code('''
bars = {rung: estimate(of("format", rung, "exact")) for rung in rungs}
alt = "Bars of exactly right tickets: prompts near zero, constrained or not; LoRA far above."
plots.bars(bars, f"share exactly right, with 95 % intervals (n = {len(test)})", alt)
''')
code('''
F_CLAIMS
''')
md('''
F_TEXT
''')
code('''
sizes = {n: f"LoRA, {n}" for n in (25, 50, 100, 200, 400)}
curve = {metric: {str(n): estimate(of("format", arm, metric)) for n, arm in sizes.items()}
         for metric in ("valid", "f1", "exact")}
alt = "Lines over the number of training messages: valid is high early, exact rises throughout."
plots.lines(curve, "training messages", "share, or F1", alt)
''')
md('''
### Jargon

Some messages need the fault notation, others do not. Does the model handle it "poorly", as the advice has it, and does training help there more than elsewhere? We look at the loss on the right tickets, before and after the small training, and at the tickets that the large one got exactly right.
''')
code('''
right = [tasks.ticket_chat(ticket, learned=True) for ticket in test]
jargon = np.array([ticket.jargon for ticket in test])
before = finetuning.loss_on(llm, right)
with finetuning.attached(llm, ticket_adapter):
    after = finetuning.loss_on(llm, right)
''')
code('''
J_CLAIMS
''',IGN)
md('''
J_TEXT

### What an answer costs

The few-shot prompt has to be read for every message; the adapter's is one line. One message at a time, as a chat would send them:
''')
code('''
import time

def seconds(chats):
    began = time.perf_counter()
    for chat in chats:
        generation.generate(llm, [chat], 60)
    return (time.perf_counter() - began) / len(chats)

took = {"few-shot": seconds(few_shot[:4])}
with finetuning.attached(llm, ticket_adapter):
    took["LoRA"] = seconds(short[:4])
length = {name: np.mean([generation.count_tokens(llm, chat) for chat in chats])
          for name, chats in (("few-shot", few_shot), ("LoRA", short))}
print({name: f"{tokens:.0f} tokens" for name, tokens in length.items()})
''')
code('''
C_CLAIMS
''',IGN)
md('''
C_TEXT

## Voice: e-mails

Corvane's style guide has 16 rules that a program can check. 500 approved e-mails keep them all. Here is a brief, as an agent notes it down, and the approved e-mail:
''')
code('''
approved = corpus.load_emails()
approved = [approved[place] for place in np.random.default_rng(0).permutation(len(approved))]
held_out = corpus.load_emails(held_out=True)
print(approved[-1].brief, approved[-1].email, sep="\\n\\n")
''')
md('''
**Predict.** The article: with the guidelines in the prompt about 80 % of e-mails are in voice, after fine-tuning on 500 approved ones about 97 %. What will this model do?

First the small version, live: an adapter from 50 e-mails, against four of them in the prompt, on 20 held-out briefs.
''')
code('''
examples = [tasks.email_chat(email, learned=True) for email in approved[:50]]
email_adapter = finetuning.train(llm, examples, recipe)
briefs = held_out[:20]
short = [tasks.email_chat(brief) for brief in briefs]
few_shot = [tasks.few_shot(tasks.EMAIL, examples[:4], chat) for chat in short]
''')
code('''
written = {"few-shot": generation.generate(llm, few_shot, 160, 6144, shared_prefix=True)}
with finetuning.attached(llm, email_adapter):
    written["LoRA, 50"] = generation.generate(llm, short, 160, 6144)
''')
code('''
for name, texts in written.items():
    scores = tasks.score_emails(texts, briefs)
    print(name, {key: round(np.mean(scores[key]), 2) for key in ("rules", "all rules", "facts")})
print(written["LoRA, 50"][0])
''',IGN)
md('''
Now the stored sweep, on all 100 held-out briefs. *Guide, 5 rules* is RAG: the five rules nearest to the brief are retrieved. *Guide, all rules* is what RAG would be if its retrieval were perfect.
''')
code('''
arms = ["bare", "guide, 5 rules", "guide, all rules", "few-shot",
        "LoRA, 50", "LoRA, 100", "LoRA, 250", "LoRA, 500"]
for arm in arms:
    keys = ("rules", "all rules", "facts", "all facts")
    print(f"{arm:17}", " | ".join(str(estimate(of("voice", arm, key))) for key in keys))
''')
code('''
bars = {arm: estimate(of("voice", arm, "rules")) for arm in arms}
alt = "Bars of rules kept: the prompts keep between a third and most rules, LoRA nearly all."
plots.bars(bars, "share of rule checks passed, with 95 % intervals (n = 100)", alt)
''')
code('''
metrics = {"all 16 rules": "all rules", "all facts": "all facts"}
curve = {label: {arm[6:]: estimate(of("voice", arm, key)) for arm in arms[4:]}
         for label, key in metrics.items()}
alt = "Lines over the number of e-mails trained on: both rise to 500."
plots.lines(curve, "approved e-mails trained on", "share of e-mails", alt)
''')
code('''
broken = {rule: 1 - np.mean(of("voice", "LoRA, 500", rule)) for rule in emails.RULES}
for rule, share in sorted(broken.items(), key=lambda each: -each[1])[:6]:
    print(f"{rule:16} broken in {share:.0%}")
''')
code('''
V_CLAIMS
''')
md('''
V_TEXT

## What it forgot

Training on e-mails could cost the model its English. The loss on pages of the handbook, which none of this has trained on, tells: before, with each adapter, and with the adapter taken off again.
''')
code('''
pages = corpus.load_handbook()[::25]
english = [tasks.turns("Write a page.", page.metadata["title"], page.text[:800]) for page in pages]
losses = {"base": finetuning.loss_on(llm, english)}
for name, adapter in (("tickets", ticket_adapter), ("e-mails", email_adapter)):
    with finetuning.attached(llm, adapter):
        losses[name] = finetuning.loss_on(llm, english)
assert np.array_equal(finetuning.loss_on(llm, english), losses["base"])
''')
code('''
G_CLAIMS
''',IGN)
md('''
G_TEXT

## Knowledge

Ovadia et al. (2024) compared the two ways to give a model facts. We do the same in small: 32 facts of the handbook that change from week 1 to week 2, each with four paraphrases of its question to train on, and the handbook's own question to test with. Four options: the answer of week 1, that of week 2, and two from other facts. Guessing gives 0.25.
''')
code('''
facts = tasks.facts_with_paraphrases()
old, new, asked = facts[0]
print(old.text, "|", old.answer, "->", new.answer)
print(*asked, sep="\\n")
''')
md('''
**Predict.** Who knows the facts of week 1: the base model, RAG, an adapter trained on one way to ask, or on four? And who knows those of week 2, when only the index was brought up to date?

Here too the sweep ran it all, with three seeds. Live, a small one: eight facts.
''')
code('''
eight = [tasks.fact_chat(text, old.answer) for old, _, asked in facts[:8] for text in asked]
recipe = finetuning.Recipe(epochs=6, tokens_per_step=512)
fact_adapter = finetuning.train(llm, eight, recipe)
questions = [tasks.fact_chat(old.text, old.answer) for old, _, _ in facts[:8]]
before = finetuning.loss_on(llm, questions)
with finetuning.attached(llm, fact_adapter):
    after = finetuning.loss_on(llm, questions)
print("loss on the answers fell for", int((after < before).sum()), "of 8")
''')
code('''
seeds = (0, 1, 2)
arms = {"base": ["base"], "RAG": ["RAG, index of week 1"],
        "LoRA, one phrasing": [f"LoRA, 1 phrasing, seed {seed}" for seed in seeds],
        "LoRA, four phrasings": [f"LoRA, 4 phrasings, seed {seed}" for seed in seeds]}
known = {week: {name: np.mean([of("knowledge", arm, week) for arm in each], axis=0)
                for name, each in arms.items()} for week in ("week 1", "week 2")}
both = [stored["knowledge"]["arms"][arm] for arm in arms["LoRA, four phrasings"]]
known["week 1"]["LoRA and RAG"] = np.mean([arm["with RAG, week 1"]["week 1"] for arm in both], axis=0)
known["week 2"]["LoRA and RAG"] = np.mean([arm["with RAG, week 2"]["week 2"] for arm in both], axis=0)
known["week 2"]["RAG"] = of("knowledge", "RAG, index of week 2", "week 2")
''')
code('''
bars = {f"{name}, {week}": estimate(scores) for week, each in known.items() for name, scores in each.items()}
alt = "Bars of facts known in week 1 and in week 2."
plots.bars(bars, f"share of facts known, with 95 % intervals (n = {len(facts)})", alt)
''')
code('''
K_CLAIMS
''')
md('''
K_TEXT

### Where does it know that from?

A RAG answer points at its page. We ask the adapter of the eight facts for the page, in the plainest words:
''')
code('''
where = "Answer in a few words. Then name the wiki page that you have it from, in brackets."
chats = [tasks.turns(where, old.text) for old, _, _ in facts[:8]]
with finetuning.attached(llm, fact_adapter):
    said = generation.generate(llm, chats, 30)
cited = [any(span.page in text for span in old.gold) for text, (old, _, _) in zip(said, facts)]
''')
code('''
W_CLAIMS
''',IGN)
md('''
W_TEXT

## Ablations: one question a row

Which settings matter? Each row changes one thing of one short training (60 tickets, two epochs) and is measured on 40 dev messages, because this is where a recipe would be chosen.
''')
code('''
for name, arm in stored["ablations"]["arms"].items():
    loss, f1, valid = (estimate(arm["scores"][key]) for key in ("loss", "f1", "valid"))
    print(f"{name:20} loss {loss} | F1 {f1} | valid {valid.value:.2f}")
''')
md('''
A_TEXT

## Explore: base and adapter side by side

Type a message, or change the one given, and compare. What happens to an e-mail's brief in the ticket adapter, and to a question that has nothing to do with cribs?
''')
code('''
adapters = {"ticket": (ticket_adapter, "Write the ticket.", shown.message),
         "e-mail": (email_adapter, "Write the e-mail.", held_out[0].brief)}
widgets.adapter_explorer(llm, adapters)
''')
md('''
## What this notebook measured
''')
code('''
assert models.weights_digest(llm.model) == frozen
table()
''',IGN)
md('''
## What to take away

T_TEXT
''')
if __name__=="__main__":
    sys.path.insert(0,'/tmp/w6')
    import fill06
    for c in cells:
        for k,v in fill06.FILL.items(): c.source=c.source.replace(k,v.strip("\n"))
    for i,c in enumerate(cells): c['id']=f"cell-{i:02d}"
    nb=nbformat.v4.new_notebook(cells=cells); nb.metadata={"kernelspec":{"display_name":"Python 3","language":"python","name":"python3"},"language_info":{"name":"python"}}
    nbformat.validate(nb); nbformat.write(nb,'/tmp/wt6/notebooks/06_lora_finetuning.ipynb')
    cc=[c for c in cells if c.cell_type=='code']; ig=sum(IGN in c.metadata.get('tags',[]) for c in cc)
    import statistics
    L=[sum(bool(l.strip()) for l in c.source.splitlines()) for c in cc]
    print(len(cc),'code',ig,'ignored',statistics.median(L),max(L))
