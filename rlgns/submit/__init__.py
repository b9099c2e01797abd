"""`rlgns submit`: runs a command of rlgns as a Ray job: packs it, follows its log, stops it, returns its status."""
