"""torch and transformers: texts to head embeddings."""
