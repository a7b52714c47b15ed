"""Many cameras, one model: whose turn it is, what is asked when, and the loop that answers."""
