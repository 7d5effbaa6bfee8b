from course_utils import corpus, retrieval
from course_utils.corpus import *
from course_utils.models import cache_dir
from transformers import AutoTokenizer
from collections import Counter
import numpy as np
tok=AutoTokenizer.from_pretrained(cache_dir()/'models'/'SmolLM2-135M-Instruct')
n=lambda t: len(tok(t,add_special_tokens=False)['input_ids'])
cases={c.id:c for c in load_cases()}
qs=load_case_questions()
head=lambda c: f"{c.name} {c.citation}. {c.rule} Won: the {c.outcome}."
H=[n(head(c)) for c in cases.values()]; print('head',np.mean(H),max(H))
Q=[n(q.question) for q in qs]; A=[n(q.answer) for q in qs]; print('q',np.mean(Q),max(Q),'a',np.mean(A),max(A))
same=Counter((q.outcome==cases[q.case].outcome) for q in qs if q.case); print('outcome same as case',same)
for split in ('train','dev','test'):
    s=[q for q in qs if q.split==split]
    print(split, Counter('open' if not q.case else 'overruled' if cases[q.case].overrules else 'plain' for q in s), len({q.case for q in s}))
ov=[q for q in qs if q.case and cases[q.case].overrules]
print('old outcome same', Counter(cases[cases[q.case].overrules].outcome==q.outcome for q in ov))
tr={q.case for q in qs if q.split=='train'}
print('test cases in train', Counter((q.case in tr, bool(q.case and cases[q.case].overrules)) for q in qs if q.split=='test'))
b=retrieval.BM25Retriever(case_documents())
for split in ('train','dev','test'):
    s=[q for q in qs if q.split==split and q.case]
    f=b.search([q.question for q in s],10)
    ranks=[next((i for i,h in enumerate(hits) if h.node_id==q.case),99) for q,hits in zip(s,f)]
    print(split,{k:round(np.mean([r<k for r in ranks]),2) for k in (1,3,4,5,6,10)})
    old=[next((i for i,h in enumerate(hits) if h.node_id==cases[q.case].overrules),99) for q,hits in zip(s,f)]
    o=[(r,x) for q,r,x in zip(s,ranks,old) if cases[q.case].overrules]
    print('  overruled: new first', sum(r<x for r,x in o), 'old first', sum(x<r for r,x in o), 'both in 5', sum(r<5 and x<5 for r,x in o), len(o), 'only old', sum(r>=5 and x<5 for r,x in o))
print(Counter(c.outcome for c in cases.values()))
for q in qs[:3]: print(q)
print(head(cases['hb-2017-42']) if 'hb-2017-42' in cases else head(list(cases.values())[0]))
print([q.answer for q in qs if not q.case][:4])
c=next(c for c in cases.values() if c.overrules); print(c); print(cases[c.overrules])
