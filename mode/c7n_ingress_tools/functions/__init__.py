"""Run a deployed zip as Lambda does."""
