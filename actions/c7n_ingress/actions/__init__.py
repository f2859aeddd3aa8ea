"""The actions, one file each, named as in YAML."""
