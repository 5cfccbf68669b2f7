"""What the library shows of itself: the mathematics in pictures, from exact fields, and the whole path on digits."""
