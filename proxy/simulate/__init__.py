"""What if: recorded flows by other rules, pipelines before they run, the rules that flows would need."""
