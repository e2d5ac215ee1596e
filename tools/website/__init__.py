"""The site: `python -m tools.website` gathers its pages from docs/, README, the cards and the code, and builds them offline."""
