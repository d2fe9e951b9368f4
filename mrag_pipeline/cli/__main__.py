"""`python -m mrag_pipeline.cli`."""

from mrag_pipeline.cli import main

main()
