"""Backends: each turns a Plan into source text, and source into a program.  One package a backend."""
