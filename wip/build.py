"""Builds notebooks/10_beyond_one_machine.ipynb. --training puts in the section that needs finetuning.py."""
import sys, nbformat
OUT = sys.argv[1]; TRAINING = "--training" in sys.argv
cells = []
def md(t): cells.append(nbformat.v4.new_markdown_cell(t.strip()))
def code(t, *tags):
    c = nbformat.v4.new_code_cell(t.strip("\n"))
    if tags: c.metadata["tags"] = list(tags)
    cells.append(c)
IGN = "nbval-ignore-output"

trained = ", train on two processes" if TRAINING else ""
md(f"""
# 10 Beyond one machine

**After this notebook you can** embed documents on a cluster and lose a machine on the way without losing or doubling a vector, serve the same rankings from a database that other processes can share, bring it up to date while it answers{trained}, and say for any number of pages what it takes and what breaks first.

**Time and memory:** about 5 minutes on two CPU cores, less than 1.8 GB in the kernel; Ray's processes take about 3 GB beside it. No key, no network. It needs the extra `scale`, which its first cell names when it is missing.

**Read first:** [01 RAG basics](01_rag_basics.ipynb) and [03 Hybrid retrieval](03_hybrid_retrieval.ipynb).

The advice put to the test here: *what runs on a laptop runs on a cluster; only the address changes.* It is true of the rankings. It is true of a crash only if each step may be done twice without harm, and that is for you to see to.
""")
code("""
import time
from collections import Counter

import numpy as np
from course_utils import chunking, corpus, models, plots, retrieval
from course_utils import scale, sizing, widgets
from course_utils.claims import claim, start, table
from course_utils.evaluation import estimate

ray, qdrant = scale.load_ray(), scale.need("qdrant_client")
start("10_beyond_one_machine")
""")
md("""
## A list over processes, by hand

The wiki again, in the chunks of notebook 01, in the order of their ids.
""")
code("""
embedder = models.load_embedder()
splitter = chunking.SpanSplitter(chunking.packed_blocks(embedder.tokenizer, size=96))
pages = corpus.load_handbook(week=1)
nodes = sorted(splitter.get_nodes_from_documents(pages), key=lambda node: node.node_id)
print(len(pages), "pages,", len(nodes), "chunks")
""")
md("""
Which machine takes which page? Every process must come to the same answer without asking, so it has to follow from the page's id. The usual first idea: a hash, modulo the number of machines.
""")
code("""
import hashlib

def number(text):
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())

def by_remainder(page, machines):
    return number(page) % machines

ids = [page.node_id for page in pages]
print(sorted(Counter(by_remainder(page, 4) for page in ids).items()))
""")
md("""
Even enough. (Python's own `hash` will not do: it differs in each process.)

**Predict.** A fifth machine is added. What share of the pages has to move?
""")
code("""
moved = np.mean([by_remainder(page, 4) != by_remainder(page, 5) for page in ids])
print(f"{moved:.2f} of the pages move")
""")
md("""
Most of them, and with them their vectors. Databases therefore place differently. One way is *rendezvous hashing*: each machine draws a number for the page, and the highest takes it. A new machine takes only those pages for which it draws the highest; nobody else's change.
""")
code("""
def by_rendezvous(page, machines):
    return max(range(machines), key=lambda machine: number(f"{machine} {page}"))

moved_less = np.mean([by_rendezvous(page, 4) != by_rendezvous(page, 5) for page in ids])
print(f"{moved_less:.2f} of the pages move")
""")
md("""
Now the work itself, in two real processes. Each gets its share of the ids, "embeds" them (here it only waits 2 ms) and reports each one that is done. We kill one of them in the middle.
""")
code('''
import subprocess, sys

WORK = "import sys, time\\nfor id in sys.stdin: time.sleep(0.002); print(id.strip(), flush=True)"

def started(share):
    worker = subprocess.Popen([sys.executable, "-c", WORK], text=True,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    worker.stdin.write("\\n".join(share))
    worker.stdin.close()
    return worker

def reports(worker, most=None):
    return [line.strip() for _, line in zip(range(most or 10**9), worker.stdout)]
''')
code("""
shares = [[page for page in ids if by_rendezvous(page, 2) == machine] for machine in (0, 1)]
""")
code("""
workers = [started(share) for share in shares]
done = reports(workers[0], most=100)
workers[0].kill()
done += reports(workers[1])
print(len(ids), "pages,", len(done), "reported,", len(set(ids) - set(done)), "to do again")
""")
code("""
again = started([page for page in ids if page not in set(done)])
done += reports(again)
assert sorted(done) == sorted(ids)
""")
md("""
The killed process may well have finished pages that it had not reported, and those are done twice. Nobody can tell "died before" from "died after" without a report. So a system that loses nothing has to do some things twice, and **what saves us is that a page has one place, its id**: the second time overwrites the first. Keep that in mind; everything below rests on it.

## Embedding on a cluster

Ray does what we just did, with thousands of machines if need be. A cluster of it is a head, which keeps the books, and nodes, which work. Below, head and two nodes are processes on this computer; `scale.embed_stream` would not know the difference. On real machines you install the course with its models on each, start Ray there (`ray start --head` on one, `ray start --address=HOST:6379` on the others) and hand over that address.

**Predict.** One worker, then two, each a process with a model of its own and one core. How much faster are two?
""")
code("""
cluster = scale.local_cluster(machines=2)
""")
code("""
sample = nodes[:768]

def chunks_per_second(parts):
    \"\"\"From the first batch on: what comes before is starting up.\"\"\"
    first, embedded = next(parts), 0
    began = time.perf_counter()
    for part in parts:
        embedded += len(part.places)
    return embedded / (time.perf_counter() - began)
""")
code("""
speed = {}
for workers in (1, 2):
    parts = scale.embed_stream(sample, cluster.address, workers, batch=32)
    speed[workers] = chunks_per_second(parts)
    print(f"{workers} workers: {speed[workers]:.0f} chunks a second, {speed[workers] / workers:.0f} each")
""", IGN)
md("""
Two workers share this computer's cores, caches and memory bandwidth with each other and with everything else that runs, so each is slower than one alone; on two computers they would share nothing. Starting them, before the first batch, takes seconds (each loads PyTorch and the model), which does not pay for a wiki of 500 pages and vanishes in one of a million.

Now all chunks, and we **kill one of the two nodes** (a SIGKILL, no goodbye) after the eighth batch. **Predict.** How many vectors are lost, and how many come twice?
""")
code("""
def with_a_kill(parts, after):
    for count, part in enumerate(parts, start=1):
        if count == after:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        came.append(part)
        yield part

""")
code("""
came = []
vectors = scale.gather(with_a_kill(scale.embed_stream(nodes, cluster.address), after=8), len(nodes))
""")
code("""
places = Counter(place for part in came for place in part.places.tolist())
lost = len(nodes) - len(places)
doubled = sum(places.values()) - len(places)
alive = Counter(part.machine for part in came)
print(lost, "lost,", doubled, "doubled,", len(alive), "machines had delivered")
""")
code("""
import psutil

beside = [child.memory_info().rss for child in psutil.Process().children(recursive=True)]
print(f"{len(beside)} processes of Ray beside the kernel: {sum(beside) / 1e9:.1f} GB")
print("batches by machine:", sorted(alive.values()))
""", IGN)
md("""
Nothing is missing and nothing came twice. Ray noticed the death, started the worker again on the node that was left, and gave it the batches whose results had died with the node. (`gather` would have raised on a loss or a double; that it does is tested.) And the vectors are those that this kernel computes:
""")
code("""
some = range(0, len(nodes), 25)
here = embedder.encode([nodes[place].get_content("embed") for place in some])
difference = float(np.abs(here - vectors[some]).max())
assert difference < 1e-5
""")
code("""
ray.shutdown()
cluster.shutdown()
""")
code("""
claim("X01.moved", "Pages that move from 4 to 5 machines, placed by remainder", moved, holds=moved > 0.7)
claim("X01.rendezvous", "The same, placed by rendezvous", moved_less, holds=moved_less < 0.3)
claim("X02.lost", "Vectors lost or doubled when a node is killed midway", lost + doubled,
      n=len(nodes), holds=lost + doubled == 0)
claim("X02.workers", "Two workers on one computer against one: chunks a second, times",
      speed[2] / speed[1], n=len(sample), holds=speed[2] / speed[1] > 0.5);
""", IGN)
md("""
## The index as a database

So far the index lived in the kernel's memory and died with it. A database keeps vectors, texts and metadata together, for many readers, while somebody writes. We take Qdrant: it has the same client for a folder and for a server, so here it runs embedded, and `scale.Database("http://host:6333", embedder)` is all that changes. The embedded mode is exact search in Python for one process, and it warns above 20,000 vectors. A server builds HNSW, takes any number of clients, and shards and replicates.

### Killed while it fills

A process of its own writes the chunks, 64 at a time. We kill it when it is past a thousand. **Predict.** What is in the folder afterwards: nothing, a thousand whole chunks, or rubbish?
""")
code("""
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
np.save(folder / "vectors.npy", vectors)
(folder / "embedder.txt").write_text(embedder.fingerprint)
by_faiss = retrieval.DenseRetriever(nodes, embedder, top_k=10, saved=folder)
by_faiss.save(folder)  # its nodes too, for the writer
mean_words = np.mean([len(w) for w in retrieval.content_words(map(retrieval.title_and_text, nodes))])
""")
code('''
WRITER = """
import sys
from types import SimpleNamespace
import numpy as np
from course_utils import retrieval, scale
folder, mean_words = sys.argv[1], float(sys.argv[2])
vectors = np.load(folder + "/vectors.npy")
saved = SimpleNamespace(fingerprint=open(folder + "/embedder.txt").read(), encode=lambda texts: vectors[:1])
nodes = retrieval.DenseRetriever.load(folder, embedder=saved).nodes
database = scale.Database(folder + "/db", saved, mean_words=mean_words)
for start in range(0, len(nodes), 64):
    database.write(nodes[start : start + 64], vectors[start : start + 64])
    print(len(database), flush=True)
"""
''')
code("""
command = [sys.executable, "-c", WRITER, str(folder), str(mean_words)]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
    for line in writer.stdout:
        if int(line) > 1000:
            writer.kill()
            break

""")
code("""
database = scale.Database(str(folder / "db"), embedder)
kept = len(database)
missing = database.missing(nodes)
""")
code("""
assert 1000 < kept < len(nodes) and kept + len(missing) == len(nodes)
by_id = {node.node_id: vector for node, vector in zip(nodes, vectors)}
database.write(missing, np.stack([by_id[node.node_id] for node in missing]))
print(len(database), "chunks,", len(database.missing(nodes)), "missing")
""")
md("""
What was written is whole; the rest is found missing by id and content, and written. Had the first writer's last batch been half in, the second would have overwritten it: the same id, the same place. (How many the first one got done differs from run to run, so it is not printed.)

### The same rankings

**Predict.** On how many test questions does the database return the ten chunks that FAISS returns, in the same order? And its word search those of BM25?
""")
code("""
texts = [question.text for question in corpus.load_questions("test")]
by_words = retrieval.BM25Retriever(nodes, top_k=10)
pairs = {
    "meaning": (scale.DatabaseRetriever(database, top_k=10), by_faiss),
    "words": (scale.DatabaseRetriever(database, top_k=10, by_words=True), by_words),
}
pairs["both"] = tuple(retrieval.FusedRetriever([one, other], top_k=10)
                      for one, other in zip(pairs["meaning"], pairs["words"]))
""")
code("""
few = texts[::4]  # both at once, a hundred deep, takes the embedded mode a second
rankings = {name: list(zip(*(one.search(few if name == "both" else texts) for one in pair)))
            for name, pair in pairs.items()}

def ordered(found):
    return [hit.node_id for hit in found]

equal = {name: [ordered(a) == ordered(b) for a, b in found] for name, found in rankings.items()}
""")
md("""
By meaning on nearly all, by words on most, as the claims below say. What differs by words? Two chunks with the very same score, of which one is tenth and the other eleventh:
""")
code("""
def scores(found):
    return [hit.score for hit in found]

level = [np.allclose(scores(a), scores(b), atol=1e-5) for a, b in rankings["words"]]
""")
md("""
Rank by rank the scores are the same: it is BM25. `DatabaseRetriever` has the interface of all our retrievers, so it goes into the same fusion, and what you chose on dev questions stays chosen. The word search is BM25 as a *sparse vector*: the length and frequency part is written with each chunk, and how rare a word is, the database counts when it is asked.

### Filters

The course's rule from notebook 03: select first, then rank. **Predict.** Does the database keep it?
""")
code("""
from llama_index.core.vector_stores import FilterOperator, MetadataFilter, MetadataFilters

only = MetadataFilters(filters=[MetadataFilter(key="space", value="policies")])
filtered = {name: pairs[name][0].search(few, 10, only) for name in ("meaning", "words")}
leaked = sum(hit.node.metadata["space"] != "policies"
             for hits in filtered.values() for found in hits for hit in found)
""")
code("""
full = sum(len(found) == 10 for found in filtered["meaning"])
print(leaked, "from elsewhere;", full, "of", len(few), "searches by meaning have all ten")
""")
md("""
It does: nothing from elsewhere, and no search starves. One thing is different, and better known before it happens. A page that does not say which space it belongs to, under the filter *space is not policies*:
""")
code("""
from llama_index.core.schema import TextNode

silent = TextNode(id_="silent:0", text="A page that says nothing about its space.")
beside = scale.Database(":memory:", embedder)
beside.write([silent])
""")
code("""
other = MetadataFilters(filters=[
    MetadataFilter(key="space", value="policies", operator=FilterOperator.NE)])
for name, arm in (("FAISS", retrieval.DenseRetriever([silent], embedder)),
                  ("Qdrant", scale.DatabaseRetriever(beside))):
    print(name, "returns", len(arm.search(["a page"], 5, other)[0]))
""")
md("""
The course's retrievers (with LlamaIndex's own filter) show it, and LlamaIndex's filter for Qdrant hides it. Neither is wrong, and a test of filters that has no page without the field will not find out. Say what you allow, not what you forbid.

## A new week, while questions come in

Week 2 changed pages, added some and removed some. Two threads ask questions all the time; meanwhile each changed page is replaced: first its new chunks are written, then what is left of the old ones is deleted.

**Predict.** Why in this order? What would a reader see in the other one?
""")
code("""
week2 = {page.node_id: page for page in corpus.load_handbook(week=2)}
before = {page.node_id: page for page in pages}
changed = [page for id, page in week2.items() if id not in before or before[id].hash != page.hash]
removed = sorted(set(before) - set(week2))
fresh = splitter.get_nodes_from_documents(changed)
print(len(changed), "pages changed or new,", len(removed), "removed:", len(fresh), "chunks to write")
""")
code("""
import threading

log, finished, stop = [], {}, threading.Event()
watched = [page.metadata["title"] for page in changed] + [before[id].metadata["title"] for id in removed]
reader = scale.DatabaseRetriever(database, top_k=10)

def ask():
    while not stop.is_set():
        for title in watched:
            began = time.perf_counter()
            log.append((began, [hit.node for hit in reader.search([title])[0]]))
            time.sleep(0.005)  # between two questions the writer gets its turn
""")
code("""
threads = [threading.Thread(target=ask) for _ in range(2)]
for thread in threads:
    thread.start()
for page in [page.node_id for page in changed] + removed:
    database.replace(page, [node for node in fresh if node.ref_doc_id == page])
    finished[page] = time.perf_counter()
""")
code("""
settled = len(log)
while len(log) < settled + 2 * len(watched):  # every title is asked again
    assert threads[0].is_alive() and threads[1].is_alive()
    time.sleep(0.1)
stop.set()
for thread in threads:
    thread.join()
""")
code("""
current = {(node.node_id, node.get_content()) for node in fresh}
late = [(node.ref_doc_id, (node.node_id, node.get_content()) in current)
        for began, found in log for node in found if began > finished.get(node.ref_doc_id, np.inf)]
stale = sum(not up_to_date for _, up_to_date in late)
print(stale, "chunks of an old page in an answer that began after its update")
""")
code("""
whole = [node for node in nodes if node.ref_doc_id not in finished] + fresh
assert len(database) == len(whole) and database.missing(whole) == []
""")
code("""
claim("X03.kill", "Chunks lost or doubled when the writer is killed and run again",
      abs(len(whole) - len(database)), n=len(nodes), holds=len(whole) == len(database))
for name, least in (("meaning", 0.95), ("words", 0.9), ("both", 0.85)):
    share = estimate(equal[name])
    claim(f"X03.{name}", f"Rankings of ten that are the same in the database, by {name}", share,
          holds=share.value >= least)
claim("X03.scores", "Word rankings with BM25's scores at every rank", estimate(level),
      holds=np.mean(level) >= 0.95)
claim("X03.filter", "Chunks of another space found behind a filter", leaked, holds=leaked == 0,
      n=sum(len(found) for hits in filtered.values() for found in hits))
claim("X03.stale", "Chunks of an old page found after its update", stale, holds=stale == 0 and late != [],
      n=len(late));
""", IGN)
if TRAINING:
    md("""
## Training on two processes

LoRA on several GPUs, or several machines, is the same idea once more. Each process has the whole model and reads its share of each step's examples; then all add up their gradients, and every process takes the same step. By hand, for a model of one weight:
""")
    code("""
x, y, w = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 9.0]), 1.5
gradient = (2 * (w * x - y) * x).sum() / len(x)
shares = [(2 * (w * x[part] - y[part]) * x[part]).sum() / len(x) for part in (slice(0, 3), slice(3, 4))]
print(gradient, "=", shares[0], "+", shares[1])
""")
    md("""
The sum is the same however unevenly the examples are shared out, **as long as each share is divided by the number of examples of the whole step**, not of the share. Averaging the processes' averages is the usual mistake; it goes unnoticed until the shares are uneven, as they are when only the tokens of answers count.

`torchrun` starts the processes. They talk over gloo here and over NCCL where there are GPUs. **Predict.** How far are the two loss curves apart?
""")
    code("""
import json
import os

tickets = corpus.load_tickets("train")[:16]
chats = [[{"role": "user", "content": t.message}, {"role": "assistant", "content": json.dumps(t.ticket)}]
         for t in tickets]
recipe = {"epochs": 2, "tokens_per_step": 768, "tokens_per_pass": 384}
(folder / "job.json").write_text(json.dumps({"examples": chats, "recipe": recipe}));
""")
    code("""
def trained(processes):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += [f"--nproc-per-node={processes}", "-m", "course_utils.finetuning", "job.json"]
    own = os.environ | {"COURSE_CACHE": str(folder / str(processes)), "OMP_NUM_THREADS": "1"}
    (folder / str(processes)).mkdir()
    (folder / str(processes) / "models").symlink_to(models.cache_dir() / "models")
    said = subprocess.run(torchrun, cwd=folder, env=own, capture_output=True, text=True, check=True)
    return json.loads((Path(said.stdout.split()[-1]) / "training.json").read_text())

runs = {processes: trained(processes) for processes in (1, 2)}
""")
    code("""
curves = {n: np.array([entry["loss"] for entry in run["history"]]) for n, run in runs.items()}
apart = float(np.abs(curves[1] - curves[2]).max())
print(f"loss {curves[1][0]:.2f} to {curves[1][-1]:.2f} in {len(curves[1])} steps")
print("tokens a second:", {n: round(run["tokens"] / run["seconds"]) for n, run in runs.items()})
claim("X04.curve", "Largest distance of the loss curves of one and of two processes", apart,
      n=len(curves[1]), holds=apart < 0.02 and curves[1][-1] < curves[1][0]);
""", IGN)
md("""
## On paper

What does one item cost? The chunks of a page, a chunk's bytes and the embedder's vectors we know; the seconds we measured, or measure now.
""")
code("""
import faiss

def seconds(call, times):
    took = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return float(np.median(took))

""")
code("""
many = np.random.default_rng(0).standard_normal((100_000, 384), dtype=np.float32)
flat = faiss.IndexFlatIP(384)
flat.add(many)
compare = seconds(lambda: flat.search(many[:1], 10), 20) / len(many)
question = seconds(lambda: embedder.encode([texts[0]]), 20)
del many, flat
""")
code("""
payload = np.mean([len(str(node.to_dict())) for node in nodes])
item = sizing.Costs(chunks_per_page=len(nodes) / len(pages), dimension=384, payload_bytes=payload,
                    embed_seconds=1 / speed[1], compare_seconds=compare, question_seconds=question)
print(f"{item.chunks_per_page:.2f} chunks a page; one core embeds a chunk in {item.embed_seconds * 1000:.0f} ms")
print(f"comparing takes {item.compare_seconds * 1e9:.0f} ns a vector, a question {question * 1000:.0f} ms")
""", IGN)
md("""
From these follow the rest, by multiplication. (Prices are examples, 0.05 USD for an hour of one core and 4 USD for a month of one GB of memory: put in yours.) **Predict.** From 500 pages to 50 million is a factor of 100,000. What gives out first?
""")
code("""
from IPython.display import Markdown

at = sizing.limits(item)
rows = [sizing.sizes(500 * 10**power, item) for power in range(6)]
cells = [[*sizing.row(made), (sizing.broken(made, at) or [""])[-1].split(":")[0]] for made in rows]
lines = [[*sizing.HEADS, "gave out last"], ["---"] * 10, *cells]
Markdown("\\n".join("| " + " | ".join(line) + " |" for line in lines))
""", IGN)
code("""
span = np.logspace(2.7, 7.7, 60)
sized = [sizing.sizes(n, item) for n in span]
series = {"hours to embed, two cores": [s.embed_hours for s in sized],
          "GB of vectors": [s.vector_bytes / 1e9 for s in sized],
          "USD a month": [s.month_usd for s in sized]}
""")
code("""
marks = {words.split(":")[0].split(",")[0]: count for words, count in at.items()}
alt = "Lines over the pages, both axes logarithmic: hours, gigabytes and dollars grow in step; marks show what gives out where."
plots.curves(span, series, marks, "pages", "amount", alt)
""")
md("""
Everything grows in step with the pages, so no line tells you when to move; the marks do. What gives out first is convenience: the embedded database, and exact search, which HNSW mends. What gives out last are the night in which you used to re-embed everything, and one machine's memory, which vectors of one byte put off by a factor of four. What is not in the table is what your people do: a new embedding model means all of the hours again, with both indexes in memory meanwhile.
""")
code("""
embedded, exact, night, memory = (at[words] for word in ("embedded", "exact", "night", "memory")
                                  for words in at if word in words)
claim("X05.embedded", "Pages at which the embedded database ends", embedded, holds=embedded < 10_000)
claim("X05.order", "Pages at which the third thing gives out, to those at which the second does",
      min(night, memory) / max(embedded, exact), holds=min(night, memory) > max(embedded, exact))
claim("X05.memory", "Pages at which 16 GB of memory are full of float32 vectors", memory,
      holds=1e6 < memory < 2e6)
last = rows[-1]
claim("X05.hours", "Core hours to embed 50 million pages once", last.embed_hours * 2,
      holds=last.embed_hours * 2 > 500);
""", IGN)
md("""
## Explore: pages, workers, memory

Look for three things: how many workers bring five million pages into one night, from where on one machine of 256 GB is not enough, and what one byte in place of four changes.
""")
code("""
widgets.size_calculator(item)
""")
md("## What this notebook measured")
code("table()", IGN)
md("""
## Exercises

Your answers are kept on this computer, so running a cell again brings them back. The best answer counts; a hint costs a tenth of the points. Where a cell has `...`, put your code in its place, run the cell, and press Check. With the keyboard: Tab moves, Space presses.
""")
code("""
from course_utils.grading.dashboard import dashboard
from course_utils.grading.view import exercise
""")
code('exercise("10-moved")')
code('''
def place(page, machines):
    ...

exercise("10-place")
''')
code('exercise("10-twice")')
code('exercise("10-order")')
code('exercise("10-machines")')
code('dashboard("10")')
md(f"""
## What to take away

- Losing nothing means doing some things twice. Give everything a place that follows from its id, and twice does no harm.
- Ray, Qdrant{" and torchrun" if TRAINING else ""} take an address; the code stays. Test with processes that you kill, here, before machines do it there.
- The rankings stay the same, so what you chose on dev questions stays chosen. Check it with your own questions; it takes a minute.
- Update by writing the new and then deleting the old; a reader then never misses a page and never sees an old one afterwards.
- A filter is part of the database's dialect. Test it with pages that lack the field.
- The first things to give out are the embedded database and exact search; the night for embedding and memory come long after.

**Try it yourself.** Kill the node after the first batch, or both nodes: what does Ray do when no machine is left? (Interrupt the kernel when you have seen enough.) Then start a Qdrant server, put its address in place of the folder, and run the parity cells again.
""")
nb = nbformat.v4.new_notebook(cells=cells)
for i, c in enumerate(nb.cells): c["id"] = f"cell-{i:02d}"
nb.metadata = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}, "language_info": {"codemirror_mode": {"name": "ipython", "version": 3}, "file_extension": ".py", "mimetype": "text/x-python", "name": "python", "nbconvert_exporter": "python", "pygments_lexer": "ipython3", "version": "3.11.7"}}
nbformat.write(nb, OUT)
import statistics
cc = [c for c in nb.cells if c.cell_type == "code"]
ln = [sum(bool(l.strip()) for l in c.source.splitlines()) for c in cc]
print(len(cc), "code cells, median", statistics.median(ln), "max", max(ln), "ignored", sum(IGN in c.metadata.get("tags", []) for c in cc), [(c.id, n) for c, n in zip(cc, ln) if n > 13])
