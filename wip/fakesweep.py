import sys, time, json
sys.path.insert(0,'/tmp/wt7/tests/unit')
import importlib.util
spec=importlib.util.spec_from_file_location('cf','/tmp/wt7/tests/unit/conftest.py'); cf=importlib.util.module_from_spec(spec); spec.loader.exec_module(cf)
llm=cf.llm.__wrapped__() if hasattr(cf.llm,'__wrapped__') else cf.llm._get_wrapped_function()()
import os, tempfile
from course_utils import sweeps, models
from course_utils.models import load_embedder
sweeps.load_generator=lambda: llm
for name in sys.argv[1:]:
    t=time.time()
    lab=sweeps.Lab(True)
    for label, arm in sweeps.SWEEPS[name](lab):
        made=arm(); print(label, {k:(len(v) if isinstance(v,list) else v) for k,v in made['scores'].items()}, {k:v for k,v in made.items() if k!='scores'}, round(time.time()-t,1), flush=True)
        assert {len(v) for v in made['scores'].values()}=={4}
