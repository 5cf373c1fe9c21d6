"""What looks again and again, and makes tasks fit what has changed elsewhere: accounts, groups,
consents, pause rules, and credentials that will be over."""
