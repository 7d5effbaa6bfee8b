import sys; sys.path.insert(0,'/tmp/w7')
from course_utils import widgets, corpus, retrieval
from course_utils.faults import *
from course_utils.models import load_embedder
from course_utils.generation import Answer
e=load_embedder(); s=workshop(corpus.load_handbook(),e); q=[x for x in corpus.load_questions('test') if x.answerable]
words=retrieval.BM25Retriever(s(Faults()).nodes)
looked={}
for name,f in {'healthy':Faults(),'other':Faults(other_embedder=True),'thr':Faults(high_threshold=True),'rev':Faults(reversed_scores=True)}.items():
    a=symptoms(s(f),q); b=symptoms(retrieval.FusedRetriever([words,s(f)],3,k=10),q)
    print(name,'alone',a['recall@10 of pages'],a['answer in the sources'],'fused',b['recall@10 of pages'],b['answer in the sources'])
v=widgets.broken_pipeline_explorer(s,q,lambda t,f:[Answer('x')])
print(repr(v)); print(v.children[4].value[:400])
v.children[3].value=True; print(v.children[4].value[:1500])
v.children[6].click(); print(v.children[7].value[:600])
v.children[1].value=True; v.children[0].value=True; print(v.children[4].value[:300])
