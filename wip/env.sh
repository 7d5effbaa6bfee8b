cd /tmp/wt7; export PYTHONPATH=/tmp/wt7 COURSE_CACHE=/tmp/w7/cache COURSE_PROGRESS=0 OMP_NUM_THREADS=1 PYTHONWARNINGS=ignore
PY="nice -n 15 /tmp/env/v/bin/python"
