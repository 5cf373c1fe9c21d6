"""The SDK's example answers against ours: its own requests, and answers of the same shapes."""
