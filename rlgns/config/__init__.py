"""The resolved configuration: typed sections, YAML files, command-line overrides."""
