"""The live version brought up to date: compare with the corpus, then apply the difference."""
