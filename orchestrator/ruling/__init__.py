"""The rules that operators publish: the draft they work on, versions, and what each process goes by."""
