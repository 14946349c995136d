"""Derived columns: expressions that a Problem declares once, and each step computes by the library that it runs on.

`functions` and `nodes` are what a Problem file writes; `binding` puts derived columns together; `evaluate` says what
each operation means, and the `lower_` modules compute it on Arrow, numpy and TensorFlow.
"""
