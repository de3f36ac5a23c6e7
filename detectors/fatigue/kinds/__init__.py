"""The kinds of alert fatigue, one file each."""
