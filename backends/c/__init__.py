"""The C backend: C11 with GCC vector extensions, for the host (and every target that has a C compiler)."""
