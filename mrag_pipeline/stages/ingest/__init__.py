"""A new version by phases: plan, embed, reconcile, load, verify, gate, publish."""
