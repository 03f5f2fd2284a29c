"""Everything that leaves this process by HTTP, and nobody else's way out: an import rule keeps it so.

`connection` and `transport` lead to addresses an operator wrote down: providers. Their keys are bound to the
address's origin, and a redirect is an answer like any other. `local` and `probe` stay on this machine: the model
host's socket, and our own port. `fetch` is for addresses that somebody else names, in a request, a page or a
redirect: it goes nowhere but to the public internet, and takes nothing along.
"""
