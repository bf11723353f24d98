"""What a request means. Decoders are pure: None = not mine, a value = mine, IntentError = mine but broken (deny)."""
