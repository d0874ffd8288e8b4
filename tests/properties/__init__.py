"""What holds for any input: any header, any document of the service, any bytes in the cache.

Each property is tried with the same examples every time, a few hundred of them. To try new ones:
``INSTANCE_LOOKUP_EXAMPLES=5000 pytest tests/properties``.
"""
