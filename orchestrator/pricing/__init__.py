"""What models charge: as an operator says, as their provider lists it, or by a table that comes with us."""
