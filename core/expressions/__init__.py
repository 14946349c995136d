"""Derived columns: expressions that a Problem declares once, and that each step computes with its own library.

Problem files use `functions` and `nodes`; `binding` combines derived columns; `evaluate` defines each operation, and
the `lower_` modules compute it on Arrow, numpy and TensorFlow.
"""
