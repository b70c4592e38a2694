"""What any process of the server is made of: its start, its signals, who may connect."""
