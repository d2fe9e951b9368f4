"""The kit of benchmarks/torture/, tried on pipelines whose faults are known."""
