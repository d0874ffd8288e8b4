"""Mutation testing: ``tox run -e mutants``.

Each line of what decides (which instance, who may have it, the order of things in a lookup) is
changed in every way that mutmut knows, and some test has to fail. ``accepted.toml`` lists the
changes that no test can or need notice, each with its reason. ``[tool.mutmut]`` in pyproject.toml
names the modules, and the quick tests that are about them.
"""
