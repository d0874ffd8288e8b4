"""A site that uses ``instance_lookup``: pages, an API that routes jobs to workers, and the demo."""
