"""Cells of CSV that are opened by a spreadsheet."""

# A spreadsheet takes a cell for a formula that begins so, also in the wide forms of East Asian writing.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def harmless(cell: object) -> object:
    """The same, with an apostrophe before text that would be reckoned with."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell
