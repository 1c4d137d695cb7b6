"""Services that use Notifier."""
