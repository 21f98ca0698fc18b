"""Calling URLs that strangers gave, so that none of them reaches what is inside: no SSRF.

`targets` reads a URL in one strict way; `networks` says which addresses are outside; `names` asks for
the addresses of a name; `connecting` asks once, looks at every answer and connects to just what it
looked at; `streams` bounds what comes back. Whoever calls has no other way to the network.
"""
