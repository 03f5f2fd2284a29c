"""Asks the places of a route in turn, until one gives the first piece of an answer."""
