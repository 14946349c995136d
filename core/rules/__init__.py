"""Rules of a Problem's columns: types, bounds, vocabularies and missing values, the same wherever rows are read.

`column` checks a whole column that Arrow or JSON code has parsed. `model` reads the rules of a Model. `counts` counts
refused rows and rows that were predicted nevertheless. The package imports neither pyarrow nor TensorFlow.
"""
