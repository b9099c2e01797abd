"""The noise scale of policies that another library trains; a module per host, which imports that host alone."""
