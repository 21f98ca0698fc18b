"""Benches: what Chimeway costs and carries. `make bench` runs all; `chimeway bench` what a user needs.

The wheel carries some of it as `chimeway.bench` (docs/design.md says why, pyproject.toml what): those modules
import each other relatively. All else here needs a checkout.
"""
