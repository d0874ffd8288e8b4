"""How much a fleet asks of the Config Service and of Redis: ``python -m benchmarks.capacity``.

``fleet`` simulates the processes of a site, request by request, by the rules of the package.
``check`` runs a real fleet, with a real Redis and a real service, and compares.
"""
