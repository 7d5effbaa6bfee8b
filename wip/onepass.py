import time, torch; torch.set_num_threads(1)
from course_utils import finetuning, tasks, sweeps, claims
from course_utils.corpus import *
from course_utils.models import load_generator
llm=load_generator(); print('loaded', claims.peak_bytes()/1e9)
learn=load_case_questions('train'); r=tasks.find_cases([q.question for q in learn],load_cases())
import sys; L=tasks.law_lessons(learn,r,together=int(sys.argv[1])); sizes=[len(finetuning.encode(llm,c).ids) for c in L]
big=[c for _,c in sorted(zip(sizes,L),key=lambda x:-x[0])][:1]
print(sorted(sizes)[-2:], 'before', claims.peak_bytes()/1e9)
t=time.process_time(); a=finetuning.train(llm,big,sweeps.LONG); t=time.process_time()-t
print('recompute', a.tokens, 'tokens', round(t,1),'cpu s', round(a.tokens/t,1),'tokens/s', 'peak', claims.peak_bytes()/1e9, a.history)
