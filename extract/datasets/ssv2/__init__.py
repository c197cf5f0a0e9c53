"""Something-Something V2, and Something-Else, its boxes and splits."""
