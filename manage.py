#!/usr/bin/env python
"""The command line; `python manage.py help` lists the commands."""

import os
import sys


def main() -> None:
    """Run one command; a bad setting ends it with a line that names the remedy."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    # Before numpy is loaded: its products are small here, and threads that share them wait for each other.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from django.core.management import execute_from_command_line

    from orchestrator.env import BadSetting

    try:
        execute_from_command_line(sys.argv)
    except BadSetting as error:
        if sys.argv[1:2] == ["doctor"]:
            from orchestrator.checks.finding import FATAL, as_json, as_text, fatal

            found = [fatal(0, f"It cannot start: {error}", "Correct that, and ask again: the rest is not known yet.")]
            print(as_json(found, {"running": []}) if "--json" in sys.argv else as_text(found, 100))
            sys.exit(FATAL)
        print(f"orchestrator: {error}", file=sys.stderr)
        sys.exit(BadSetting.exit_code)


if __name__ == "__main__":
    main()
