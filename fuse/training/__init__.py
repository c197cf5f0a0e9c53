"""Training: plan the runs, train them, write their folders."""
