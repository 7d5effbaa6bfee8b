import numpy as np, time
from types import SimpleNamespace
from course_utils import tasks, finetuning
from course_utils.corpus import *
from course_utils.models import cache_dir, load_embedder
from course_utils.retrieval import *
from course_utils.chunking import SpanSplitter, packed_blocks
from transformers import AutoTokenizer
from course_utils.formats import cases as law
tok=AutoTokenizer.from_pretrained(cache_dir()/'models'/'SmolLM2-135M-Instruct')
llm=SimpleNamespace(tokenizer=tok)
size=lambda chats:[len(finetuning.encode(llm,c).ids) for c in chats]
learned=lambda chats:[sum(finetuning.encode(llm,c).learned) for c in chats]
C=load_cases(); T={s:load_case_questions(s) for s in ('train','dev','test')}
R={s:tasks.find_cases([q.question for q in T[s]],C) for s in T}
B={s:tasks.find_cases([q.question for q in T[s]],C,overruled=True) for s in T}
for s in T:
    g=[(q,r) for q,r in zip(T[s],R[s]) if q.case]
    print(s,{k:round(np.mean([q.case in [c.id for c in r[:k]] for q,r in g]),2) for k in (1,3,5,6,10)}, len(R[s][0]), min(len(r) for r in R[s]), min(len(r) for r in B[s]))
for seed in range(3):
    L=tasks.law_lessons(T['train'],R['train'],seed=seed); z=size(L); print('law lessons',len(L),sum(z),max(z),sum(learned(L)), 'no case share', np.mean([m['content'].count(law.NO_RULE) for c in L for m in c if m['role']=='assistant']))
old=[tasks.as_before(q,C) for q in T['train']]
L2=tasks.law_lessons(old,B['train']); print('before',sum(size(L2)),max(size(L2)))
one=[tasks.law_chat([q.question],r[:5],[q.answer]) for q,r in zip(T['train'],R['train'])]; print('one',sum(size(one)),max(size(one)))
closed=[tasks.law_chat([q.question],(),[q.answer]) for q in T['train']]; print('closed',sum(size(closed)),max(size(closed)))
ins=[tasks.instructed_law_chat(q.question,r[:5]) for q,r in zip(T['test'],R['test'])]; print('instructed', np.mean([len(tok.apply_chat_template(c)['input_ids']) for c in ins]))
print(L[0]); 
bad=[law.complaints(m['content']) for c in [*L,*L2,*closed] for m in c if m['role']=='assistant' and law.complaints(m['content'])]; print('bad',len(bad),bad[:3])
for s in T:
    sc=tasks.score_law([q.answer for q in T[s]],T[s],C,[r[:5] for r in R[s]]); print({k:np.mean(v) for k,v in sc.items()})
# reader
emb=load_embedder(); nodes=SpanSplitter(packed_blocks(emb.tokenizer,96)).get_nodes_from_documents(load_handbook())
search=FusedRetriever([BM25Retriever(nodes),DenseRetriever(nodes,emb)],k=10)
W={s:load_questions(s) for s in ('train','dev','test')}
F={s:search.search([q.text for q in W[s]],50) for s in W}
t0=time.time()
L=tasks.reading_lessons(W['train'],F['train'],nodes); z=size(L); print('reading',len(L),sum(z),max(z),sum(learned(L)),time.time()-t0, sum(m['content']==tasks.NOT_FOUND for c in L for m in c if m['role']=='assistant'))
for m in L[3]: print(m['role'],':',m['content'][:1500])
apart={s.page for q in W['dev']+W['test'] for s in q.gold}
D=tasks.row_lessons(nodes,apart,60); z=size(D); print('rows',len(D),sum(z),max(z),sum(learned(D)),sum(len(c)//2 for c in D))
for c in D[:3]:
    for m in c: print(m['role'],':',m['content'][:1500])
q=W['test']; ch=[tasks.reading_chat([x.text],[h.node for h in f[:3]]) for x,f in zip(q,F['test'])]; print('test prompt',np.mean([len(tok.apply_chat_template(c)['input_ids']) for c in ch]))
for k in (3,5,50): print(k,{s:round(np.mean([tasks.bears_answer(f[:k],x) for x,f in zip(W[s],F[s]) if x.answerable]),3) for s in W})
