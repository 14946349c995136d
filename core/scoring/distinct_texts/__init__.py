"""Runs what a model makes of texts alone once for each distinct text of a batch, instead of once for each row.

A model looks texts up in vocabularies, hashes and crosses them, and fetches their embeddings. A batch holds a few
hundred distinct ones: that part of the graph is run on these, and each row fetches its result by number. The rest is
the model's own graph, operation for operation.

The graph decides what is lifted: only operations that work on each row by itself. One that does anything but compute,
such as keep state, is left as it is. TensorFlow may still compile the rest to sums in another order than the whole, by
which the last bits of predictions differ: whoever promises the model's own bits compares them before (`Scorer` does).
"""
