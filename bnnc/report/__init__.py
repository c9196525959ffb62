"""A run, or a plan, as one HTML page that needs nothing else: no network, no library, no file beside it."""
