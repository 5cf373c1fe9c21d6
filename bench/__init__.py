"""The bench room: how fast we are, told as ratios to others in the same rounds on this machine."""
