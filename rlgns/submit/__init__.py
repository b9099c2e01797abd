"""`rlgns submit`: a command of ours as a Ray job. Packs it, follows its log, stops it, returns its exit status."""
