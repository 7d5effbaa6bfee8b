"""The shared package of the course "RAG or fine-tuning? Measure it."

One module is one step of the pipeline, and imports run from right to left only::

    corpus - chunking - retrieval - generation - evaluation - claims
                            |
                          models - finetuning

Read the modules in that order to have read the course's code. ``tasks`` says how each fine-tuning
task is put and scored, and ``sweeps`` runs the long experiments on them. ``report`` is the
evaluation for a folder of anybody's documents. ``costs`` and ``decision`` stand behind ``claims``:
they need no model, only what was measured.
"""
