"""What an extract would do: its options, the settings that come with the data, and the plan made of them."""
