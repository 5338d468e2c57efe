"""Models: shapes read from a config.json, parameters counted from shapes, and a tiny model made on the spot."""
