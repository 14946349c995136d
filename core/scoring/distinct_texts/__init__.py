"""Scores a Model with its texts looked up once per distinct text of a batch, instead of once per row.

A Model looks texts up in vocabularies, hashes and crosses them. A batch holds a few hundred distinct ones: `train`
exports two signatures, of which one makes tables of these, and the other fetches each row's entries by number and does
the rest. They give the serving signature's predictions, bit by bit, which `Scorer` checks before it calls them. A
SavedModel without them, such as one of another origin, is called whole.
"""
