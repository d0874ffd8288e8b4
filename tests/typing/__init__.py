"""A site's views, for ``mypy``: nothing in them is to be run, and each error is one that is meant.

``views``: the example of docs/how-to/extending.md, to the letter. ``kinds``: each kind of view,
with the types that its request has. ``tasks``: Django Tasks, and blocks. A ``type: ignore`` that
hides no error is an error itself.
"""
