"""Run a notebook's code cells with a tiny model and made-up sweeps: does the code hang together?"""
import sys, json, pathlib, traceback, importlib.util, time
spec=importlib.util.spec_from_file_location('cf','/tmp/wt7/tests/unit/conftest.py'); cf=importlib.util.module_from_spec(spec); spec.loader.exec_module(cf)
tiny=cf.llm._get_wrapped_function()()
from course_utils import models, sweeps, claims
models.load_generator=lambda *a,**k: tiny
sweeps.STORED=pathlib.Path('/tmp/w7/fake_sweeps')
real=claims.claim
def soft(*a,holds=None,**k):
    if not holds: print('   DOES NOT HOLD (fake data):',a[0])
    return real(*a,holds=True,**k)
claims.claim=soft
import matplotlib; matplotlib.use('Agg')
from IPython.display import Image
nb=json.load(open(sys.argv[1])); ns={}
skip=set(sys.argv[2:])
import ast
for c in nb['cells']:
    if c['cell_type']!='code' or c['id'] in skip: continue
    src=''.join(c['source'])
    if 'exercise(' in src or 'dashboard' in src: continue
    t=time.time(); print('---',c['id'])
    try:
        tree=ast.parse(src); last=tree.body[-1] if isinstance(tree.body[-1],ast.Expr) else None
        if last: tree.body=tree.body[:-1]
        exec(compile(tree,c['id'],'exec'),ns)
        if last:
            v=eval(compile(ast.Expression(last.value),c['id'],'eval'),ns)
            if v is not None and not src.rstrip().endswith(';'): print('>>',repr(v)[:200])
            if isinstance(v,Image): pathlib.Path(f"/tmp/w7/fig_{pathlib.Path(sys.argv[1]).stem[:2]}_{c['id']}.png").write_bytes(v.data)
    except Exception: traceback.print_exc(limit=3); print(src)
    if time.time()-t>5: print('   seconds',round(time.time()-t,1))
