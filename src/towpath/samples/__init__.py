"""Two sample endpoints, go#ep1 and go#ep2, so that there is something to transfer from and to.

Each is a GridFTP server of our own with read-only example data in `/share/godata`, and a home for
each user of the deployment, who needs no credential of his own.
"""
