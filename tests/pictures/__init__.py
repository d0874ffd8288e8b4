"""The pictures of docs/explanation, drawn from what the package does: ``python -m tests.pictures``.

``ages`` and ``route`` ask a real resolver and write down what it did; ``freshness`` and
``request_path`` draw that. A test draws them again and compares.
"""
