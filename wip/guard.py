import sys; sys.path.insert(0,'/tmp/wt7')
import nbformat, pathlib
from tests.notebooks.test_guard import complaints
for n in ('07_hybrid_pattern','08_common_mistakes'):
    print(n,complaints(nbformat.read(f'/tmp/wt7/notebooks/{n}.ipynb',as_version=4)))
