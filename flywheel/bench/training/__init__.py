"""make bench-train: what training costs and wins, beside TRL and plain transformers in the same run."""
