"""How fast a call or a service answers: timing, load, saturation and queueing theory."""
