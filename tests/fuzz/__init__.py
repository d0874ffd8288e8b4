"""A coverage-guided fuzzer on what reads bytes of others: ``tox run -e fuzz``.

``targets.py`` says what is fed to what, and what has to hold. ``corpus/`` keeps inputs that reach
different branches, a folder for each target; ``tests/units/test_fuzz.py`` feeds them to the targets
in each run of the tests, without the fuzzer.
"""
