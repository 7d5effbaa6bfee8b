"""The long trainings whose results the notebooks read: code here, results in ``results/``."""
