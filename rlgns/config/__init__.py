"""The configuration: typed sections, YAML files, command-line overrides."""
