"""`/v1`: what programs and front ends ask of a node, by HTTP. Its description is at `/v1/openapi.json`."""
