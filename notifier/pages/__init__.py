"""What customers see in a browser."""
