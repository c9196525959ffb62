"""What published papers counted, beside what bnnc plans: gates and memory."""
