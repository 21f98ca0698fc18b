"""Seeded simulation: many nodes, any crash, and a reference model that looks at every step."""
