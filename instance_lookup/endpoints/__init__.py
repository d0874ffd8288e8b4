"""The views that ``urls`` serves: to monitors and load balancers, not to users.

``health``: how this process is doing.

Not here: what they answer with (``operations``), and the admin's pages (``contrib.admin``).
"""
