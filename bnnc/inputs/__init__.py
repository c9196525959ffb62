"""What samples become before a network reads them."""
