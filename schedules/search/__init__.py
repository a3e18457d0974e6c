"""The search for faster schedules: spaces, candidates, a cost model, and a budget over tasks."""
