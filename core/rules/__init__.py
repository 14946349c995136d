"""Rules of a Problem's columns: types, bounds, vocabularies and missing values, the same wherever rows are read.

`column` judges a whole column that an edge (Arrow, JSON) has parsed; `model` reads the rules that a Model carries;
`counts` adds up what was refused and what was let through. All of it is free of pyarrow and TensorFlow.
"""
