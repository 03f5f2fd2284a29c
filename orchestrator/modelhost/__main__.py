"""The model host: `python -m orchestrator.modelhost`."""

import logging.config
import os
import sys

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")

from django.conf import settings

from orchestrator.env import BadSetting
from orchestrator.modelhost.host import run

if __name__ == "__main__":
    try:
        logging.config.dictConfig(settings.LOGGING)
        run()
    except BadSetting as error:
        print(f"orchestrator: {error}", file=sys.stderr)  # noqa: T201 - the log is not set up
        sys.exit(BadSetting.exit_code)
