"""Text to unit vectors: tokenisers, encoders, pooling, static tables."""
