"""The measurements of script/bench: how fast the product is, and what that costs."""
