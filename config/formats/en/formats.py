"""How the admin writes times: to the second, for things that happen seconds apart, and with their zone."""

DATETIME_FORMAT = "Y-m-d H:i:s e"
DATE_FORMAT = "Y-m-d"
