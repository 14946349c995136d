"""Distinct texts: scores a Model with one lookup per distinct text of a batch, instead of one per row.

A Model looks texts up in vocabularies, hashes and crosses them. A batch holds a few hundred distinct ones. So `train`
exports two signatures: one makes tables of the distinct texts, the other gathers each row's entries by number and
computes the rest. Their predictions are those of the serving signature, bit by bit, which `Scorer` checks before use.
For a SavedModel without them, such as one of another origin, the serving signature is called.
"""
