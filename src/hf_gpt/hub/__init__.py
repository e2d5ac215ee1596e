"""What is sent to the Hub; nothing else sends anything away."""
