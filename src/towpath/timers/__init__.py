"""Timers: transfers that are made at set times, for people who are not there then."""
