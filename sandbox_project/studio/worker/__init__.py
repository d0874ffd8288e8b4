"""A worker: a tiny server of its own that takes jobs from those who have a key."""
