"""The Triton backend: the kernels of a Plan as Triton functions, for a Python trainer and for a program without
Python.
"""
