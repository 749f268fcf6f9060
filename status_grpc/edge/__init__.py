"""What both edges share: from requests to use cases, and from their results to responses."""
