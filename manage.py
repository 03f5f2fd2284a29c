#!/usr/bin/env python
"""The command line; `python manage.py help` lists the commands."""

import os
import sys


def main() -> None:
    """Run one command; a bad setting ends it with a line that names the remedy."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    from django.core.management import execute_from_command_line

    from orchestrator.env import BadSetting

    try:
        execute_from_command_line(sys.argv)
    except BadSetting as error:
        print(f"orchestrator: {error}", file=sys.stderr)
        sys.exit(BadSetting.exit_code)


if __name__ == "__main__":
    main()
