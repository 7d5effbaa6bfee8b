"""Graded exercises: what is asked, how an answer is judged, where answers are kept.

``exercises`` reads the definitions, ``check`` judges an answer, ``store`` keeps answers on disk,
``view`` and ``dashboard`` show them in a notebook, ``collect`` grades exported files.
"""
