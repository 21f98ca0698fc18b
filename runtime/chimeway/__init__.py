"""Chimeway: durable notification journeys on PostgreSQL."""
