"""Peers, each in an environment of its own and driven by a small adapter; see docs/benchmarks/peers.md."""
