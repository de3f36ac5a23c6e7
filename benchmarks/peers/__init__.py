"""What a user would pick instead of Gnomon, doing the same job: decode, join by id, watch four segments, say when one drifts."""
