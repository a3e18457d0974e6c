"""Tests of what is known of phones, without a phone."""
