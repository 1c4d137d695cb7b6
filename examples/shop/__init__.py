"""A little order service that tells Notifier what happens to its orders."""
