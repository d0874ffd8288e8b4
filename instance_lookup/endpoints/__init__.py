"""The views that ``urls`` serves: to monitors, load balancers and the Config Service, not to users.

``health``: how this process is doing. ``webhook``: the Config Service tells of changes.
``exempt``: what such views are exempt from. ``checks``: whether the webhook is set up.

Not here: what they answer with (``operations``, ``push``), and the admin's pages
(``contrib.admin``).
"""
