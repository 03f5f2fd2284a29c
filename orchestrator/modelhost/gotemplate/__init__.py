"""The part of Go's `text/template` that chat templates are written in: read, and run within bounds.

    syntax.py      text becomes a tree
    functions.py   what may be called, and how values are written
    running.py     the tree and the values become text

A template comes from a stranger, be it a model's author or a caller. It can reach nothing but the values
it is given, ends after a bounded number of steps, and whatever goes wrong is a `TemplateError`. Left out
are `define`, `template`, `block` and `call`, which no chat template needs.
Source: the documentation of Go's packages text/template and fmt.
"""
