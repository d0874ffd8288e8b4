"""A site that uses ``instance_lookup``: pages, and an API that routes jobs to workers."""
