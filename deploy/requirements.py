"""Print what pyproject.toml asks for, one requirement a line: `requirements.py [--only] [EXTRA…]`.

The project runs from its own folder, so what it requires is installed and it itself is not.
`--only` leaves out what it always requires.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
extras = [argument for argument in sys.argv[1:] if argument != "--only"]
groups = [] if "--only" in sys.argv else [project["dependencies"]]
for group in groups + [project["optional-dependencies"][extra] for extra in extras]:
    print(*group, sep="\n")  # noqa: T201  # this is what it is for
