"""The pages."""

from dashboard.views.cache import cache, purge
from dashboard.views.overview import overview, series_csv

__all__ = ["cache", "overview", "purge", "series_csv"]
