import time
from course_utils.faults import *
from course_utils.corpus import *
from course_utils.models import load_embedder
from course_utils.sweeps import BROKEN
pages=load_handbook(); e=load_embedder()
made=workshop(pages,e); dev=[q for q in load_questions('dev') if q.answerable]
for name,f in BROKEN.items():
    t=time.time()
    try: s=made(f)
    except Exception as x: print(name,x); continue
    t1=time.time()-t; t=time.time()
    print(name, {k:str(v) for k,v in symptoms(s,dev).items()}, round(t1,1), round(time.time()-t,1), flush=True)
    if f.large_chunks: print('mean len', sum(len(n.text) for n in s.nodes)/len(s.nodes), len(s.nodes))
