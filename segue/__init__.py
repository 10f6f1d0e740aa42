"""segue moves running virtual machines between hosts while their clients keep talking to them."""

__version__ = "0.1.0"
