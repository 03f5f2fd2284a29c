"""Django's admin, as the part of the console where every record can be looked up."""
