"""What operators see and steer, for commands, pages and metrics alike.

Each module is one question of theirs, and a function that answers it. The doors (``management``,
``contrib``, ``endpoints``) only show the answers. Nothing here is imported by a lookup.

``listing``: which instances does the Config Service list, page by page?
``compare``: does the cache hold what the Config Service says?
``explain``: why does a user get what they get? ``callers``: the same for a user by name;
``explanation``: what it says; ``outlook``: what a lookup of one id would get.
``doctor``: is the service what the contract asks for? ``calls``: what is sent to it.
``gauges``: what do metrics need to know beside the events?
How is the site doing: ``status``, made of ``condition`` (this process) and ``reports`` (all of
them). Behind the reports: ``reporter`` writes them, from what ``recorder`` counted; ``index`` has
the instances, ``stored`` the form and the bounds.

Not here: what happens inside (``events``), and what the cache holds of one instance
(``inspection``).
"""
