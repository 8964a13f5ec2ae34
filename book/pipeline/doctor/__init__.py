"""What is wrong with this machine or its environment, and what to do about it."""
