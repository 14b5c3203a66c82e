"""Benchmarks: what the runtime costs per event, layer by layer.  `python -m bench --help`."""
