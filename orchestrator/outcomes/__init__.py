"""How answers turned out: what people, models and later questions say of them, and what is learned of that."""
