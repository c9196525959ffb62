"""The front end: text to Model."""
