"""Explorers: thin widgets over a real computation.

A view shows what the functions below it return and holds no logic of its own. Every callback
reports its error in the view, because JupyterLab shows a callback's exception nowhere.
"""

from course_utils.lab.explorers.answers import (
    adapter_explorer,
    broken_pipeline_explorer,
    failure_browser,
)
from course_utils.lab.explorers.planning import cost_calculator, scenario_explorer, size_calculator
from course_utils.lab.explorers.search import (
    chunk_explorer,
    fusion_explorer,
    rag_explorer,
    rerank_explorer,
)

__all__ = [
    "adapter_explorer",
    "broken_pipeline_explorer",
    "chunk_explorer",
    "cost_calculator",
    "failure_browser",
    "fusion_explorer",
    "rag_explorer",
    "rerank_explorer",
    "scenario_explorer",
    "size_calculator",
]
