"""Is the Config Service what the contract asks for, and is the cache set up for it.

``examine`` in ``examination`` runs all probes, in their order. ``findings``: what a probe found.
``wire``: name, connection, TLS and one answer over HTTP. ``service``: what any backend is asked.
``documents`` and ``measures``: what answers and times mean; pure. ``cache``: the cache alias.

Nothing here changes what a site uses: the service is only asked, by GET, and the cache gets a key
of its own, which is deleted. No finding holds a secret or a value of a configuration.
"""
