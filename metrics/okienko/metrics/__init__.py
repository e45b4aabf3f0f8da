"""Every Prometheus metric of okienko, and the figures behind them."""
