"""Money: what was spent and saved, by days and by what."""
