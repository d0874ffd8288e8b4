"""The demo: real servers on free ports, a story told to them over HTTP, and nothing left behind."""
