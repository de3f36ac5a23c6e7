"""What is on the wire: records, their limits, their encoding. No input or output, and nothing of ours is imported."""
