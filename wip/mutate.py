import subprocess, shutil, os, sys
src='/tmp/wt7'; dst='/tmp/w7/mut'
shutil.rmtree(dst,ignore_errors=True); os.makedirs(dst)
for d in ('course_utils','tests','datasets','pyproject.toml','notebooks'): 
    (shutil.copytree if os.path.isdir(f'{src}/{d}') else shutil.copy)(f'{src}/{d}',f'{dst}/{d}')
M=[('tasks','hit.node_id if overruled else in_force(known, hit.node_id)','hit.node_id'),
('tasks','if draw.random() < present}','if True}'),
('tasks','if node.ref_doc_id not in apart and','if'),
('tasks','sources.index(gold[i][0].node) + 1','sources.index(gold[i][0].node)'),
('tasks','        return Answer("")\n','        return Answer(NOT_FOUND)\n'),
('tasks','    if new is None or not new.overrules:','    if True:'),
('tasks','known[old].citation in text','known[question.case].citation in text'),
('tasks','and not any(answering(questions[i], [hit]) for i in group)',''),
('tasks','if context and turn == 0','if context'),
('tasks','if absent.metadata["title"] not in titles:','if False:'),
('faults','best = best[::-1]','pass'),
('faults','best = best[cosines[best] >= THRESHOLD]','pass'),
('faults','other() if faults.other_embedder else embedder','embedder'),
('faults','return 1 if self.large_chunks else 3','return 3'),
]
for mod,a,b in M:
    p=f'{dst}/course_utils/{mod}.py'; t=open(f'{src}/course_utils/{mod}.py').read()
    if a not in t: print('MISSING',a); continue
    open(p,'w').write(t.replace(a,b))
    r=subprocess.run(['nice','-n','15','/tmp/env/v/bin/python','-m','pytest','-q','-x','tests/unit/test_law_and_reading.py' if mod=='tasks' else 'tests/unit/test_faults.py'],cwd=dst,env={**os.environ,'PYTHONPATH':dst},capture_output=True,text=True)
    print('caught' if r.returncode==1 else f'NOT CAUGHT {r.returncode}', a[:60], [l for l in r.stdout.splitlines() if l.startswith('FAILED')][:1], flush=True)
    shutil.copy(f'{src}/course_utils/{mod}.py',p)
