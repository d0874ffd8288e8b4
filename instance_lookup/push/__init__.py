"""Changes that the Config Service tells of by itself, instead of being asked.

``changes``: what an event means, and what is done about it.
``signature``: whether a delivery is from the Config Service (Standard Webhooks).
``deliveries``: each has one effect. ``limits``: how many one sender may make.
``receiver``: the order in which a delivery is looked at, and what it is answered with.
``stream``: one process of all that share a cache listens to the events of the Config Service.
``stream_lease``: which one, and where it got to. ``stream_listener``: what an event brings about.
``stream_connection``, ``stream_parser``: how it comes over HTTP.

An event carries an id and never a configuration: the most that it can do is have the Config Service
asked again. Not here: the view that is delivered to (``endpoints``), and what invalidating means
(``cache``).
"""
