"""What a person may give: names, numbers, places, and foreign exceptions as one line."""
