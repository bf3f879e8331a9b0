"""Process models of ours for stock processes, equal bit for bit to the stock models and faster."""
