"""The shared package of the course "RAG or fine-tuning? Measure it."

One module is one step of the pipeline, and imports run from right to left only::

    corpus - chunking - retrieval - generation - evaluation - claims
                            |
                          models

Read the modules in that order to have read the course's code.
``report`` is the evaluation for a folder of anybody's documents.
"""
